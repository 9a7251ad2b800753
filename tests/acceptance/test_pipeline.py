"""Another pipeline on the same dataset: only what follows is redone, and the old is forgotten."""

from fibstream.core.dataset import RECORD
from fibstream.core.keys import canonical
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..inference.net import write_net
from ..support.command import inside
from ..support.scene import CHUNK, GEOMETRY, blobs, bright_unless_white, save, whole
from ..support.services import rerun

ONE = "models: [{model}]\norganelles:\n  - recipe: mito\n    set: {{min_volume_nm3: 2.0e5}}\n"


def test_another_parameter_redoes_only_what_follows_from_it(scene, copy) -> None:
    out = copy()
    dataset = read_dataset(LocalFiles(out))
    generic, mito = dataset.organelles
    strict = mito.model_copy(update={"settings": {**mito.settings, "min_volume_nm3": 2.0e5}})
    changed = dataset.model_copy(update={"organelles": (generic, strict)})
    LocalFiles(out).put(RECORD, canonical(changed.model_dump(mode="json")))
    report, computed = rerun(out, scene.raw)
    assert {stage for stage, _ in computed} == {"labels/mito", "measures/mito", "tables/mito"}
    assert (report.labels_hash, report.tables_hash) == whole(blobs(), out)


def test_an_organelle_that_is_dropped_is_neither_hashed_nor_damaged(scene, copy, tmp_path) -> None:
    pipeline = tmp_path / "one.yaml"
    pipeline.write_text(ONE.format(model=scene.model))
    old, new = copy(), tmp_path / "new.zarr"
    chunk = ",".join(map(str, CHUNK))
    hashes = {
        inside("run", "--raw", scene.raw, "--pipeline", pipeline, "--out", out, "--chunk", chunk,
               "--bus", "memory:", "--json").hashes
        for out in (old, new)
    }  # fmt: skip
    assert hashes == {whole(blobs(), new)}
    assert inside("verify", old).code == 0


def test_a_failure_of_an_earlier_network_is_forgotten(scene, tmp_path) -> None:
    raw = blobs()
    raw[5:15, 5:15, 5:15] = 255
    out, path = tmp_path / "a.zarr", save(tmp_path / "white.npz", raw)
    (tmp_path / "nan.yaml").write_text(
        ONE.format(
            model=write_net(tmp_path / "nan.onnx", body=bright_unless_white, channels=1, **GEOMETRY)
        )
    )
    given = ["run", "--raw", path, "--out", out, "--bus", "memory:", "--pipeline"]
    assert inside(*given, tmp_path / "nan.yaml").code == 1
    assert len(rerun(out, path)[0].failed) == 1  # and its log says so
    assert inside(*given, scene.pipeline).code == 0
    report, _ = rerun(out, path)
    assert report.failed == []
    assert (report.labels_hash, report.tables_hash) == whole(raw, out)
