"""Twenty organelles of a small phantom, its truth as predictions: time, memory, events, turns.

Run: ``python bench/organelles.py [--size N]``. It streams once with processes, whose largest memory
it prints, and once in this process, where it times the turns of planners; the ratio is that of the
run to one with a single organelle.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from itertools import cycle
from pathlib import Path
from typing import Any

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.runtime.loops import PlannerLoop
from fibstream.runtime.root import bus_path

COUNT = 20
LOOK_S = 0.2
PROGRAM = str(Path(sys.executable).with_name("fibstream"))


def pipeline(phantom: Path, count: int) -> str:
    """Return a pipeline of ``count`` organelles; names repeat with another threshold."""
    groups = sorted(p.name for p in (phantom / "labels").iterdir() if (p / "s0").is_dir())
    truths = [name for name in groups if name != "fine"][:count]
    lines = ["models: []", "predictions:"]
    source = "  - {{name: {0}, from: '{1}#labels/{0}', as: distance}}"
    lines += [source.format(name, phantom) for name in truths]
    lines.append("organelles:")
    for number, name in zip(range(count), cycle(truths), strict=False):
        rule = f"set: {{threshold_nm: {number // len(truths) * 4}}}"
        lines.append(f"  - {{name: {name}.{number}, recipe: generic, from: {name}, {rule}}}")
    return "\n".join(lines) + "\n"


def largest(out: Path, found: dict[str, float], done: threading.Event) -> None:
    """Note the peak memory of each process of a run, in MiB."""
    while not done.wait(LOOK_S):
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                words = (folder / "cmdline").read_text().split("\0")
                status = (folder / "status").read_text()
            except OSError:
                continue
            if str(out) in words and "-m" in words:
                role = " ".join(words[words.index("-m") + 1 :][:2]).removeprefix("fibstream.")
                peak = next(x for x in status.splitlines() if x.startswith("VmHWM"))
                found[role] = max(found[role], int(peak.split()[1]) / 1024)


def streamed(phantom: Path, text: str, out: Path, *more: str) -> float:
    """Stream the phantom through a pipeline; return the seconds."""
    file = out.with_suffix(".yaml")
    file.write_text(text)
    begun = time.perf_counter()
    line = ["run", "--raw", str(phantom), "--pipeline", str(file), "--out", str(out)]
    subprocess.run([PROGRAM, *line, "--chunk", "64", *more], check=True, capture_output=True)
    return time.perf_counter() - begun


def turns(phantom: Path, file: Path, out: Path) -> list[float]:
    """Return how long each turn of a planner takes, all services in this process."""
    import fibstream.cli.main  # noqa: F401  (all commands)
    from fibstream.cli.app import app

    found: list[float] = []
    turn = PlannerLoop.turn

    def timed(loop: PlannerLoop) -> None:
        begun = time.perf_counter()
        turn(loop)
        found.append(time.perf_counter() - begun)

    loop: Any = PlannerLoop
    loop.turn = timed
    line = ["run", "--raw", str(phantom), "--pipeline", str(file), "--out", str(out)]
    try:
        app([*line, "--chunk", "64", "--bus", "memory:"], standalone_mode=False)
    finally:
        loop.turn = turn
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", default="96,128,128")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        phantom, out = Path(folder, "phantom.zarr"), Path(folder, "many.zarr")
        made = ["phantom", "--out", str(phantom), "--size", given.size, "--voxel-size-nm", "8"]
        subprocess.run([PROGRAM, *made], check=True, capture_output=True)
        one = streamed(phantom, pipeline(phantom, 1), Path(folder, "one.zarr"))
        memory: dict[str, float] = defaultdict(float)
        done = threading.Event()
        watching = threading.Thread(target=largest, args=(out, memory, done))
        watching.start()
        many = streamed(phantom, pipeline(phantom, COUNT), out)
        done.set()
        watching.join()
        print(f"{COUNT} organelles: {many:.1f} s, {many / one:.1f} times one organelle")
        for role, peak in sorted(memory.items()):
            print(f"  memory {role}: {peak:.0f} MiB")
        bus = SqliteBus(bus_path(out), read_only=True)
        for what, topics in (("ledger", wire.ledger_topics()), ("objects", (wire.OBJECTS,))):
            print(f"  {what}: {len(bus.read(topics, 0, 1 << 30))} entries")
        spent = turns(phantom, out.with_suffix(".yaml"), Path(folder, "memory.zarr"))
        long = sum(turn > 1 for turn in spent)
        print(f"  turns of planners: {len(spent)}, longest {max(spent):.2f} s, {long} over 1 s")


if __name__ == "__main__":
    main()
