"""Another pipeline for datasets of running services whose bus is a real Kafka."""

import numpy as np
import pytest

from fibstream.cli.landing import Given

from ..support.command import inside
from ..support.scene import SHAPE, VOXEL_NM, save
from .conftest import CHUNK, CHUNKS, create, land_all, truth_of

OTHER = """\
models: [bright]
organelles: [{recipe: mito, set: {smooth_nm: 8, min_volume_nm3: 3.0e5}}]
"""
BESIDE = """\
models: [{model}]
predictions: [{{name: p, {p}}}]
organelles:
  - {{name: a, recipe: generic, from: p, set: {{min_volume_nm3: {least}}}}}
"""


@pytest.fixture(scope="module")
def bus(request: pytest.FixtureRequest) -> str:
    """Only Kafka: the embedded bus has tests of its own."""
    return f"kafka://{request.getfixturevalue('broker').servers}"


def test_a_dataset_is_updated_while_it_lands_and_once_it_is_complete(cluster, scene) -> None:
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene, limit=CHUNKS // 2, seal=False)
        assert client.update("cell", OTHER) == (True, [])
        land_all(client, "cell", scene)
        assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        before = {each.id for each in client.objects("cell", "mito")}
        client.update("cell", OTHER.replace("3.0e5", "1.0e3"))
        # From the moment of the answer: what is listed is of the new settings, if anything is.
        listed = list(client.objects("cell", "mito"))
        assert client.wait("cell").failed_count == 0
        assert cluster.hashes("cell") == truth_of(cluster, "cell")
        after = {each.id: each for each in client.objects("cell", "mito")}
        assert len(after) > len(before) > 0
        assert {each.rule for each in listed} <= {each.rule for each in after.values()}
        assert {each.kind for each in after.values()} == {"final"}
        rows = client.query("cell", "SELECT id FROM mito").column("id").to_pylist()
        assert sorted(rows) == sorted(after)


def test_predictions_that_a_client_landed_stay_when_the_pipeline_changes(
    cluster, scene, tmp_path
) -> None:
    p = np.random.default_rng(1).integers(100, 160, SHAPE, np.uint8)
    path = f"{save(tmp_path / 'p.npz', p)}#raw"
    given = tmp_path / "p.yaml"
    given.write_text(BESIDE.format(model=scene.model, p=f"from: '{path}'", least=2.0e4))
    run = inside(*scene.run(tmp_path / "a.zarr", "--bus", "memory:", pipeline=given))
    assert run.code == 0, run.err
    with cluster.client() as client:
        first, second = (
            BESIDE.format(model="bright", p="squash_nm: 50", least=least) for least in (0, 2.0e4)
        )
        client.create("cell", SHAPE, voxel_size_nm=(VOXEL_NM,) * 3, chunk=CHUNK, pipeline=first)
        more = [Given("p", path, labels=False)]
        assert land_all(client, "cell", scene, given=more) == {"written": 2 * CHUNKS}
        client.wait("cell")
        assert client.update("cell", second) == (True, [])
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == tuple(run.hashes)
