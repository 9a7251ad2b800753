"""What cannot be made fails alone: a network that yields NaN, a task that kills, a full disk."""

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from fibstream.bus.sqlite import SqliteBus
from fibstream.core.grid import Grid, Halo
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import bus_path
from fibstream.store.local import LocalFiles
from fibstream.store.store import Store

from ..inference.net import write_net
from ..support.command import Answer, finish, inside, start
from ..support.processes import deaths, holders, kill, records, services, stopped, wait_for
from ..support.scene import (
    GEOMETRY,
    PIPELINE,
    SHAPE,
    blobs,
    bright_but_slow,
    bright_unless_white,
    save,
)
from ..support.services import rerun

WHITE = (0, 1, 1)  # the chunk where the network fails
GRID = Grid(SHAPE, (12, 22, 26))


def whitened() -> np.ndarray:
    """Return the volume with a white cube in the middle of one chunk."""
    raw = blobs()
    raw[GRID.box(WHITE).grow(Halo((-2, -7, -9), (-2, -7, -9))).slices()] = 255
    return raw


@pytest.fixture
def run(tmp_path: Path) -> Callable[[Path, Path], Answer]:
    """Run a volume through a network that yields NaN where all that it sees is white."""
    pipeline = tmp_path / "nan.yaml"
    model = write_net(tmp_path / "nan.onnx", body=bright_unless_white, channels=1, **GEOMETRY)
    pipeline.write_text(PIPELINE.format(model=model))
    chunk = ",".join(map(str, GRID.chunk))

    def call(raw: Path, out: Path) -> Answer:
        return inside("run", "--raw", raw, "--pipeline", pipeline, "--out", out, "--json",
                      "--chunk", chunk, "--bus", "memory:")  # fmt: skip

    return call


def test_a_network_that_yields_nan_fails_one_chunk(run, tmp_path) -> None:
    raw, out = save(tmp_path / "white.npz", whitened()), tmp_path / "a.zarr"
    for _ in range(2):
        answer = run(raw, out)
        assert answer.code == 1
        (failed,) = answer.report["failed"]
        assert (failed["stage"], tuple(failed["chunk"])) == ("prediction/nan", WHITE)
        assert "not finite" in failed["reason"]
        assert answer.report["labels_hash"] is answer.report["tables_hash"] is None
        assert "failed: prediction/nan chunk 0,1,1: " in answer.err
        chunks = Store(LocalFiles(out), GRID).chunks("predictions/mito")
        assert set(chunks) == set(GRID.indices()) - {WHITE}
        # The last slab is beyond the reach of every halo: there the run went on to the end.
        far = [index for index in GRID.indices() if index[0] == 2]
        assert all((out / f"summaries/measures/mito/{z}.{y}.{x}").is_file() for z, y, x in far)


def test_a_failed_chunk_succeeds_when_it_is_acquired_again(scene, run, tmp_path) -> None:
    """And its dataset is then what it would have been."""
    raw, out = save(tmp_path / "white.npz", whitened()), tmp_path / "a.zarr"
    assert run(raw, out).code == 1
    # A bus in memory leaves no log: whether a chunk was never made, or is gone, nothing tells.
    unfinished = inside("verify", out, "--rebuild", "--hash")
    assert unfinished.code == 1 and "damaged: prediction/nan chunk 0,1,1" in unfinished.out
    assert "labels " not in unfinished.out and "intact" not in unfinished.out
    report, _ = rerun(out, raw)
    assert [item["stage"] for item in report.failed] == ["prediction/nan"]
    status = json.loads(inside("status", out, "--json").out)
    assert [tuple(item["chunk"]) for item in status["failed"]] == [WHITE]
    report, _ = rerun(out, scene.raw)
    fresh = run(scene.raw, tmp_path / "b.zarr")
    assert report.failed == [] and fresh.code == 0
    assert (report.labels_hash, report.tables_hash) == fresh.hashes


def test_a_task_that_kills_its_worker_is_parked_and_tried_again_by_the_next_run(
    scene, truth, tmp_path
) -> None:
    out, pipeline = tmp_path / "a.zarr", tmp_path / "slow.yaml"
    model = write_net(tmp_path / "bright.onnx", body=bright_but_slow, channels=1, **GEOMETRY)
    pipeline.write_text(PIPELINE.format(model=model))
    # Two chunks of 18 tiles: a prediction takes longer than a look at who holds it.
    process = start(*scene.run(out, "--chunk", "36,44,26", pipeline=pipeline))
    wait_for(lambda: records(out), "a first record", process)
    bus, victims = SqliteBus(bus_path(out)), set()

    def ended() -> bool:
        """Kill whoever is in the middle of the prediction of the first chunk."""
        for worker, key in holders(bus).items():
            if not key.endswith("prediction/bright/0.0.0") or worker in victims:
                continue
            if deaths(bus, key) == 3:
                continue  # it parks the task
            with stopped(worker):  # what it holds now, it holds until it is killed
                made = {(r.stage, r.subject) for r in ledger(bus, "a") if r.status == "ready"}
                if holders(bus).get(worker) == key and ("prediction/bright", (0, 0, 0)) not in made:
                    kill(worker)
                    victims.add(worker)
        return process.poll() is not None

    # A reconcile may have sent the task once more while it was held: that copy kills as well.
    wait_for(ended, "the end of a run whose workers die at one task")
    assert len(victims) in (3, 6)
    bus.close()
    answer = finish(process)
    assert answer.code == 1
    (failed,) = answer.report["failed"]
    assert (failed["stage"], failed["chunk"]) == ("prediction/bright", [0, 0, 0])
    assert "worker died 3 times" in failed["reason"]
    assert ("prediction/bright", (0, 0, 1)) in {
        (r.stage, r.subject) for r in records(out) if r.status == "ready"
    }
    again = rerun(out, scene.raw)[0]
    assert (again.failed, again.labels_hash, again.tables_hash) == ([], *truth)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a small disk of its own."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size: str) -> Path:
        line = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        if subprocess.run(line, capture_output=True, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        return folder

    yield mount
    subprocess.run(["umount", "--lazy", str(folder)], capture_output=True, check=False)


def fill(folder: Path) -> Path:
    """Write a file until no byte of room is left."""
    path = folder / "filler"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def test_a_run_that_will_not_fit_is_refused(scene, disk) -> None:
    folder = disk("128k")
    answer = inside(*scene.run(folder / "a.zarr"))
    assert answer.code == 2
    (line,) = answer.err.splitlines()
    assert "needs about" in line and "are free" in line
    assert list(folder.iterdir()) == []


def test_a_disk_that_fills_up_stops_the_run_and_room_lets_it_go_on(scene, truth, disk) -> None:
    folder = disk("64m")
    out = folder / "a.zarr"
    process = start(*scene.run(out, "--chunk", "16,16,16"))
    wait_for(lambda: len(records(out)) >= 60, "60 records", process)
    filler = fill(folder)
    answer = finish(process)
    assert answer.code == 2, answer.err
    lines = [line for line in answer.err.splitlines() if line.startswith("fibstream: ")]
    assert len(lines) == 1 and "no space left" in lines[0], answer.err
    assert answer.err.splitlines()[-1] == lines[0] and "Traceback" not in answer.err
    assert not services(out)
    filler.unlink()
    again = rerun(out, scene.raw)[0]
    assert (again.failed, again.labels_hash, again.tables_hash) == ([], *truth)
