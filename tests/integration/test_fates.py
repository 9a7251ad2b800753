"""What cannot be made is named, parked with its cause, and put back when it can be made."""

import os
from typing import cast

from fibstream.bus import wire
from fibstream.core.events import DeadLetter
from fibstream.runtime.root import Root

from ..acceptance.test_failures import GRID, WHITE, whitened
from ..inference.net import write_net
from ..support.command import apart
from ..support.patience import eventually
from ..support.scene import GEOMETRY, PIPELINE, SHAPE, VOXEL_NM, blobs, bright_unless_white, save
from .conftest import CHUNKS, create, land_all, truth_of


def letters(root: Root, name: str) -> list[DeadLetter]:
    """Return what inference gave up."""
    with root.open(name) as (_, site):
        entries = site.bus.read([wire.dead_letter_topic("inference")], 0)
        return [cast("DeadLetter", wire.decode(entry.value)) for entry in entries]


def test_a_network_that_yields_nan_is_a_dead_letter_and_is_replayed(start, bus, tmp_path) -> None:
    cluster = start(bus)
    write_net(
        cluster.root / "models" / "nan.onnx", body=bright_unless_white, channels=1, **GEOMETRY
    )
    raw = save(tmp_path / "white.npz", whitened())
    with cluster.client() as client:
        client.create(
            "cell", SHAPE, voxel_size_nm=(VOXEL_NM,) * 3, chunk=GRID.chunk,
            pipeline=PIPELINE.format(model="nan"),
        )  # fmt: skip
        answer = apart("land", "cell", "--raw", raw, "--seal", "--wait", "--server", cluster.server)
        assert answer.code == 1
        assert "failed: prediction/nan chunk 0,1,1: " in answer.err and "finite" in answer.err
        (letter,) = letters(Root(str(cluster.root), bus), "cell")
        assert (letter.task.stage, letter.task.subject) == ("prediction/nan", WHITE)
        assert "not finite" in letter.cause and letter.crashes == 0
        # Put back it fails again: nothing has changed.
        assert client.replay("cell") == [("prediction/nan", WHITE)]
        eventually(lambda: client.wait("cell").failed_count == 1, "the same failure")
        # Acquired again it succeeds, and nothing is left of the failure.
        with_fault, sound = whitened(), blobs()
        box = GRID.box(WHITE).slices()
        assert (with_fault[box] != sound[box]).any()
        assert client.land("cell", WHITE, sound[box]) == "written"
        eventually(lambda: client.wait("cell").failed_count == 0, "success")
    assert cluster.hashes("cell") == truth_of(cluster, "cell")


def test_a_truncated_raw_shard_is_named_and_landed_again(start, scene) -> None:
    cluster = start(None)
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene)
        client.wait("cell")
        shard = next((cluster.root / "cell.zarr" / "raw" / "s0").rglob("0/1/1"))
        os.truncate(shard, shard.stat().st_size // 2)

        def named() -> bool:
            (answer,) = client.watch("cell", once=True)
            return [(f.stage, wire.subject_of(f.subject)) for f in answer.failed] == [
                ("raw", (0, 1, 1))
            ]

        eventually(named, "the damage named by a reconcile")
        assert land_all(client, "cell", scene) == {"written": 1, "unchanged": CHUNKS - 1}
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == truth_of(cluster, "cell")
