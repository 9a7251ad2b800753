"""Runs with other limits, one after the other: what status calls final is what the tables hold."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from fibstream.core.dataset import RECORD
from fibstream.core.keys import canonical
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import inside
from ..support.scene import Scene
from ..support.services import bus_of, news, rerun

LIMITS = (2e4, 4e5, 1e6, 1e12)  # nm3: all, some, few and none of the objects


def set_limit(out: Path, nm3: float) -> None:
    """Change the record as `fibstream run` with another pipeline does."""
    files = LocalFiles(out)
    record = read_dataset(files).model_dump(mode="json")
    for organelle in record["organelles"]:
        organelle["settings"]["min_volume_nm3"] = nm3
    files.put(RECORD, canonical(record))


def rows(out: Path) -> dict[str, set[int]]:
    """Return the ids of each table."""
    return {p.stem: set(pq.read_table(p)["id"].to_pylist()) for p in (out / "tables").iterdir()}


def final(out: Path) -> dict[str, set[int]]:
    """Return the ids of the objects that were last said to be final."""
    with bus_of(out) as bus:
        told = news(bus).values()
    assert {each.kind for each in told} <= {"final", "withdrawn", "merged_into"}
    return {n: {e.id for e in told if (e.organelle, e.kind) == (n, "final")} for n in rows(out)}


@pytest.mark.parametrize("first", LIMITS[:2])
def test_objects_of_earlier_limits_are_withdrawn(
    scene: Scene, copy: Callable[[], Path], first: float
) -> None:
    out, sizes = copy(), set()
    for nm3 in itertools.chain([first], LIMITS[1:], LIMITS[:1]):
        set_limit(out, nm3)
        rerun(out, scene.raw)
        assert final(out) == rows(out)
        sizes.add(len(rows(out)["mito"]))
        status = json.loads(inside("status", out, "--json").out)
        for name, ids in rows(out).items():
            assert status["objects"].get(name, {}).get("final", 0) == len(ids)
    assert len(sizes) >= 3 and 0 in sizes
