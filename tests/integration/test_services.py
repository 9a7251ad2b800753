"""Clients of running services get what the whole volume gives, whatever dies meanwhile."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from fibstream import registry
from fibstream.cli.landing import Given
from fibstream.core.errors import NotFound, WrongUse

from ..support.broker import running, skip_or_fail
from ..support.command import apart, inside
from ..support.patience import eventually
from ..support.scene import SHAPE, VOXEL_NM, blobs, save
from .conftest import CHUNK, CHUNKS, create, land_all, truth_of


def test_a_volume_landed_by_a_client_gives_the_whole_volumes_hashes(cluster, scene) -> None:
    with cluster.client() as client:
        create(client, "cell")
        assert land_all(client, "cell", scene) == {"written": CHUNKS}
        assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        # Landing again changes nothing, and what is complete stays so.
        assert land_all(client, "cell", scene) == {"unchanged": CHUNKS}
        assert client.wait("cell").complete


PREDICTED = """\
predictions:
  - {{name: p, {p}}}
  - {{name: truth, {truth}}}
organelles:
  - {{name: a, recipe: generic, from: p, set: {{min_volume_nm3: 0}}}}
  - {{name: b, recipe: generic, from: truth, set: {{min_volume_nm3: 0}}}}
contacts: [{{a: a, b: b, distance_nm: 8}}]
"""


def test_predictions_landed_by_a_client_give_the_hashes_of_a_run(cluster, scene, tmp_path) -> None:
    rng = np.random.default_rng(1)
    p, ids = rng.integers(100, 160, SHAPE, np.uint8), (blobs() > 120).astype(np.uint16)
    paths = {n: f"{save(tmp_path / f'{n}.npz', v)}#raw" for n, v in (("p", p), ("truth", ids))}
    given = tmp_path / "p.yaml"
    given.write_text(PREDICTED.format(
        p=f"from: '{paths['p']}'", truth=f"from: '{paths['truth']}', as: distance"
    ))  # fmt: skip
    run = inside(*scene.run(tmp_path / "a.zarr", "--bus", "memory:", pipeline=given))
    assert run.code == 0, run.err
    with cluster.client() as client:
        squash = "squash_nm: 50"
        client.create("cell", SHAPE, voxel_size_nm=(VOXEL_NM,) * 3, chunk=CHUNK,
                      pipeline=PREDICTED.format(p=squash, truth=squash))  # fmt: skip
        more = [Given(name, path, name == "truth") for name, path in paths.items()]
        assert land_all(client, "cell", scene, given=more) == {"written": 3 * CHUNKS}
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == tuple(run.hashes)


def test_objects_close_while_the_extent_is_open(cluster, scene) -> None:
    """A live acquisition: layers land, objects far from the front close, then the volume ends."""
    with cluster.client() as client:
        create(client, "live", chunk=(6, 22, 26), z=None)
        raw = blobs()
        for index in np.ndindex(5, 2, 2):  # five of six layers
            client.land("live", index, cut(raw, index, (6, 22, 26)))

        def closed() -> bool:
            kinds = {o.kind for o in client.objects("live", "mito")}
            return bool(kinds & {"closed", "final"}) and bool(kinds & {"opened", "grown"})

        eventually(closed, "an object closed while another is open")
        assert client.info("live").shape == (None, 44, 52)
        for y, x in np.ndindex(2, 2):
            index = (5, y, x)
            client.land("live", index, cut(raw, index, (6, 22, 26)))
        assert client.seal("live") == SHAPE[0]
        client.wait("live")
    assert cluster.hashes("live") == truth_of(cluster, "live")


def cut(raw, index, chunk):
    """Return one chunk of a volume."""
    return raw[tuple(slice(i * c, (i + 1) * c) for i, c in zip(index, chunk, strict=True))]


def test_two_datasets_and_two_clients_do_not_disturb_each_other(start, bus, scene) -> None:
    """Two datasets at once, each landed by two clients at once in different orders."""
    cluster = start(bus)
    with cluster.client() as client:
        create(client, "a")
        create(client, "b", chunk=(20, 24, 28))
        for name in "ab":
            client.seal(name)

    def landing(name: str, seed: int) -> None:
        with cluster.client() as own:
            land_all(own, name, scene, seed=seed, seal=False)

    with ThreadPoolExecutor(4) as pool:
        for future in [pool.submit(landing, n, s) for n in "ab" for s in (1, 2)]:
            future.result()
    with cluster.client() as client:
        for name in "ab":
            assert client.wait(name).failed_count == 0
            assert cluster.hashes(name) == truth_of(cluster, name)
        client.delete("a")
        assert client.datasets() == ["b"]
        with pytest.raises(NotFound, match="'a'"):
            client.info("a")
        assert cluster.hashes("b") == truth_of(cluster, "b")
    assert not (cluster.root / "a.zarr").exists()


@pytest.mark.parametrize("bus", ["sqlite"], indirect=True)
def test_two_clients_with_other_content_end_with_one_of_both(cluster) -> None:
    one, other = np.full((2, 20, 24, 28), [[[[1]]], [[[2]]]], np.uint8)
    with cluster.client() as client:
        create(client, "cell", chunk=(20, 24, 28))

    def landing(voxels) -> None:
        with cluster.client() as own:
            for _ in range(20):
                own.land("cell", (0, 0, 0), voxels)

    threads = [threading.Thread(target=landing, args=(v,)) for v in (one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with cluster.client() as client:
        assert client.land("cell", (0, 0, 0), one, revision=10**6) == "written"
        assert client.land("cell", (0, 0, 0), other, revision=10) == "older"
        assert client.land("cell", (0, 0, 0), one, revision=10**6) == "unchanged"
        with pytest.raises(WrongUse, match="already has other content"):
            client.land("cell", (0, 0, 0), other, revision=10**6)


def test_kills_in_the_middle_change_nothing(start, bus, scene):
    """A worker, the planner and the first process of each service die between two landings."""
    cluster = start(bus)
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene, limit=2)
        for number, name in enumerate(registry.names()):
            cluster.kill(name, "work")
            land_all(client, "cell", scene, limit=3 + 2 * number)
            cluster.kill(name, "plan")
            land_all(client, "cell", scene, limit=4 + 2 * number)
            cluster.kill(name)
            cluster.start(name)
        land_all(client, "cell", scene)
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == truth_of(cluster, "cell")


def test_the_broker_may_be_killed(start, scene) -> None:
    skip_or_fail()
    with running() as own:
        cluster = start(f"kafka://{own.servers}")
        with cluster.client() as client:
            create(client, "cell")
            land_all(client, "cell", scene, limit=4)
            own.kill()
            own.start()
            land_all(client, "cell", scene)
            assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        cluster.close()


def test_run_on_kafka_gives_the_hashes_of_the_embedded_bus(broker, scene, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    url = f"kafka://{broker.servers}"
    chunk = ",".join(map(str, CHUNK))
    arguments = scene.run(out, "--chunk", chunk, "--bus", url, "--order", "random")
    answer = apart(*arguments)
    assert answer.code == 0, answer.err
    assert answer.hashes == truth_of_run(out)
    again = apart(*arguments)
    assert (again.code, again.report["chunks_computed"]) == (0, 0)
    assert again.hashes == answer.hashes


def truth_of_run(out):
    from ..support.scene import whole

    return whole(blobs(), out)
