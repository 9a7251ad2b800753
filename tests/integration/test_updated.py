"""A dataset of running services is given another pipeline: what follows is that of a fresh run."""

from collections import Counter
from collections.abc import Mapping

import pytest

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.errors import WrongUse
from fibstream.core.events import Record
from fibstream.runtime.root import bus_path

from ..support.scene import SHAPE
from .conftest import CHUNK, CHUNKS, create, land_all, truth_of

ONE = """\
models: [bright]
organelles: [{recipe: mito, set: {min_volume_nm3: 2.0e4}}]
"""
TWO = """\
models: [bright]
organelles:
  - {recipe: generic, set: {fill_holes: all, connectivity: 26, min_volume_nm3: 1.0e4}}
  - {recipe: mito, set: {smooth_nm: 8, min_volume_nm3: 2.0e4}}
"""


@pytest.fixture(scope="module")
def bus() -> None:
    """Only the embedded bus: what is tested lies in the record and the hosts."""


def work(cluster, since: int = 0) -> tuple[Mapping[str, int], int]:
    """Return how many outputs of each family were computed since an offset, and the next one."""
    bus = SqliteBus(bus_path(cluster.root / "cell.zarr"))
    entries, end = bus.read([wire.WORK], since, limit=1 << 20), bus.end([wire.WORK])
    bus.close()
    return Counter(entry.key.split("/")[1] for entry in entries), end


def test_a_landed_dataset_is_given_other_settings_and_a_second_organelle(cluster, scene) -> None:
    with cluster.client() as client:
        client.create("cell", SHAPE, voxel_size_nm=(8,) * 3, chunk=CHUNK, pipeline=ONE)
        land_all(client, "cell", scene)
        client.wait("cell")
        landed, offset = work(cluster)
        assert landed["prediction"] == CHUNKS
        assert client.update("cell", TWO) == (True, [])
        assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        done, offset = work(cluster, offset)
        assert done["fragments"] == 2 * CHUNKS
        assert not done.keys() & {"raw", "pyramid", "prediction"}
        with pytest.raises(WrongUse, match="nosuch"):
            client.update("cell", TWO.replace("bright", "nosuch"))
        assert client.update("cell", TWO) == (False, [])
        assert client.wait("cell").failed_count == 0
        assert work(cluster, offset)[0] == {}


def test_a_dataset_is_updated_twice_while_it_lands(cluster, scene) -> None:
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene, limit=CHUNKS // 2, seal=False)
        client.update("cell", ONE)
        client.update("cell", TWO)
        land_all(client, "cell", scene)
        assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        assert work(cluster)[0]["prediction"] == CHUNKS


def test_what_failed_under_an_earlier_pipeline_does_not_count(cluster, scene) -> None:
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene)
        client.wait("cell")
        bus = SqliteBus(bus_path(cluster.root / "cell.zarr"))
        failed = Record("fragments/generic", (0, 0, 0), "failed", "k", reason="of old")
        key = wire.record_key("cell", failed.stage, failed.subject)
        client.update("cell", ONE)
        client.wait("cell")
        bus.publish(wire.ledger_topic(failed.stage), key, wire.encode(failed))
        bus.close()
        assert client.wait("cell").failed_count == 0
        assert client.replay("cell") == []
