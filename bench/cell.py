"""Every organelle of a phantom, from raw to tables: what ``fibstream run --pipeline cell`` takes.

Run: ``python -m bench.cell [--size N] [--voxel-size-nm NM] [--chunk N] [--keep FOLDER]``. The
phantom with its predictions is made before, and measured apart; one in FOLDER is taken again. Of
the run: seconds by the clock and of CPU, by process and by stage, the peak memory of all processes
together (shared pages counted once), and the bytes on the disk.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from fibstream.app.folder import open_dataset
from fibstream.app.housekeeping import size_text, usage
from fibstream.bus import wire
from fibstream.bus.reading import entries_of
from fibstream.bus.sqlite import SqliteBus
from fibstream.runtime.root import bus_path

LOOK_S = 2.0
SLOWEST = 8  # stages that are listed
MIB = 2**20
TICKS = os.sysconf("SC_CLK_TCK")  # of a second of CPU
PROGRAM = str(Path(sys.executable).with_name("fibstream"))


@dataclass
class Process:
    """What a process has taken."""

    cpu_s: float = 0.0
    peak: float = 0.0  # MiB


@dataclass
class Watch:
    """Looks at the processes that have a path among their words, until it is left."""

    path: Path
    found: dict[str, Process] = field(default_factory=lambda: defaultdict(Process))
    peak: float = 0.0  # MiB, of all of them together
    _done: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> "Watch":
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _run(self) -> None:
        taken: dict[str, tuple[str, float]] = {}  # by number: workers are started again
        while not self._done.wait(LOOK_S):
            together = 0.0
            for folder in Path("/proc").glob("[0-9]*"):
                try:
                    words = (folder / "cmdline").read_text().split("\0")
                    if str(self.path) not in words:
                        continue
                    role, cpu_s, peak, now = looked_at(folder, words)
                except OSError:
                    continue
                taken[folder.name] = role, cpu_s
                self.found[role].peak = max(self.found[role].peak, peak)
                together += now
            self.peak = max(self.peak, together)
        for role, cpu_s in taken.values():
            self.found[role].cpu_s += cpu_s


def looked_at(folder: Path, words: list[str]) -> tuple[str, float, float, float]:
    """Return the role of a process, its CPU seconds, its peak and its share of memory in MiB."""
    role = " ".join(words[words.index("-m") + 1 :][:2] if "-m" in words else words[1:3])
    times = (folder / "stat").read_text().rpartition(")")[2].split()
    peak = value(folder / "status", "VmHWM:")
    return role.removeprefix("fibstream.").removeprefix("services."), (
        int(times[11]) + int(times[12])
    ) / TICKS, peak, value(folder / "smaps_rollup", "Pss:")  # fmt: skip


def value(path: Path, name: str) -> float:
    """Return a line of a file of the kernel in MiB."""
    line = next((x for x in path.read_text().splitlines() if x.startswith(name)), f"{name} 0 kB")
    return int(line.split()[1]) / 1024


def by_stage(out: Path) -> dict[str, tuple[int, float, float]]:
    """Return of each stage its tasks, their seconds by the clock and of CPU."""
    found: dict[str, tuple[int, float, float]] = defaultdict(lambda: (0, 0.0, 0.0))
    _, dataset = open_dataset(out)
    bus = SqliteBus(bus_path(out), read_only=True)
    for entry in entries_of(bus, [wire.WORK], dataset.name):
        key, begun, ended, cpu_s = json.loads(entry.value)
        count, clock, cpu = found[stage := "/".join(key.split("/")[1:-1])]
        found[stage] = count + 1, clock + ended - begun, cpu + cpu_s
    bus.close()
    return found


def measured(*line: str, path: Path) -> Watch:
    """Run a command, and print what it takes; ``path`` is a word of all its processes."""
    begun, before = time.perf_counter(), os.times()
    with Watch(path) as watch:
        done = subprocess.run([PROGRAM, *line], check=False, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr[-4000:])
    seconds, spent = time.perf_counter() - begun, sum(os.times()[2:4]) - sum(before[2:4])
    print(
        f"fibstream {line[0]}: {seconds:.0f} s by the clock, {spent:.0f} s of CPU,"
        f" {watch.peak:.0f} MiB of all processes together at most",
        flush=True,
    )
    return watch


def print_run(out: Path, watch: Watch, voxels: int) -> None:
    for role, each in sorted(watch.found.items()):
        print(f"  {role}: {each.cpu_s:.0f} s of CPU, {each.peak:.0f} MiB at most")
    stages = by_stage(out)
    families: dict[str, list[tuple[int, float, float]]] = defaultdict(list)
    for name, found in stages.items():
        families[name.partition("/")[0]].append(found)
    for name, found in sorted(families.items()):
        count, clock, cpu = map(sum, zip(*found, strict=True))
        print(f"  {name}: {count} tasks of {len(found)} stages, {clock:.0f} s by the clock,"
              f" {cpu:.1f} s of CPU")  # fmt: skip
    for name, (count, _, cpu) in sorted(stages.items(), key=lambda each: -each[1][2])[:SLOWEST]:
        print(f"    {name}: {count} tasks, {cpu:.1f} s of CPU, {voxels / cpu / 1e6:.1f} Mvoxel/s")
    groups = usage(out).groups
    print(f"  disk: {size_text(sum(groups.values()))}")
    for name, size in sorted(groups.items(), key=lambda each: -each[1]):
        print(f"    {name}: {size_text(size)}, {size / voxels:.2f} bytes a voxel")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--voxel-size-nm", type=float, default=8.0)
    parser.add_argument("--chunk", type=int, default=128)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep", type=Path, help="a folder that stays")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(parents=True, exist_ok=True)
        phantom = folder / f"phantom-{given.size}.zarr"
        if not (phantom / "truth.json").exists():
            size = ["--size", str(given.size), "--voxel-size-nm", str(given.voxel_size_nm)]
            more = ["--predictions", "--noise-nm", "8", "--out", str(phantom)]
            measured("phantom", *size, *more, path=phantom)
        out = folder / f"cell-{given.size}.zarr"
        what = ["--raw", str(phantom), "--pipeline", "cell", "--predictions", str(phantom)]
        how = ["--chunk", str(given.chunk), "--workers", str(given.workers), "--out", str(out)]
        watch = measured("run", *what, *how, path=out)
        print_run(out, watch, given.size**3)


if __name__ == "__main__":
    main()
