"""Services are told apart by name, port, family and word."""

from collections.abc import Sequence
from typing import Any

import pytest

from fibstream import registry
from fibstream.bus.memory import MemoryFiles
from fibstream.core.dataset import Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.service import Capability, Service
from fibstream.core.stage import Output, Stage
from fibstream.core.subject import Lattice
from fibstream.store import ngff

WIDE = Lattice((64, 64, 64))


def service(name: str, port: int, *families: str) -> Service:
    nothing: Any = None
    return Service(name, port, "made", (Capability(families, lambda *_: ()),), nothing)


def test_services_come_in_the_order_of_their_ports() -> None:
    found = [service("b", 2, "y"), service("a", 3), service("c", 1, "x")]
    assert [each.name for each in registry.distinct(found)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([service("a", 1), service("a", 2)], "two have the name a"),
        ([service("a", 1), service("b", 1)], "two have the port 1"),
        ([service("a", 1, "x"), service("b", 2, "x")], "two have the family x"),
        ([service("a", 1, "x", "x")], "two have the family x"),
        ([service("a", 1, "raw")], "two have the family raw"),
        ([service("a", 1, "dataset")], "two have the family dataset"),
    ],
)
def test_what_two_services_share_is_refused(found: Sequence[Service], reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        registry.distinct(found)


def test_coarser_levels_in_wider_cells_are_described_with_their_array() -> None:
    """The chunks hold three levels; cells of two chunks an edge hold the fourth."""
    fine, coarse = Output("labels/a", "uint64", "mode"), Output("labels/a", "uint64", "mode", 3)
    stages = (
        Stage("labels/a", 1, (), (fine,), {}, lambda _: {}),
        Stage("labels/coarse", 1, (), (coarse,), {}, lambda _: {}, subjects=WIDE),
    )
    nothing: Any = None
    made = Service("a", 1, "made", (Capability(("labels",), lambda *_: stages),), nothing)
    dataset = Dataset(
        name="d", shape=(70, 64, 64), chunk=(32, 32, 32), dtype="uint8", voxel_size_nm=(8, 8, 8),
        contrast=(0, 255),
    )  # fmt: skip
    found = ngff.documents(dataset, made.arrays(dataset, MemoryFiles()))
    shards = {
        path: document["chunk_grid"]["configuration"]["chunk_shape"]
        for path, document in found.items()
        if "chunk_grid" in document
    }
    edges = [[32] * 3, [16] * 3, [8] * 3, [8] * 3]
    assert shards == {f"labels/a/s{n}/zarr.json": edge for n, edge in enumerate(edges)}
    listed = found["labels/a/zarr.json"]["attributes"]["ome"]["multiscales"][0]["datasets"]
    assert [each["path"] for each in listed] == ["s0", "s1", "s2", "s3"]
