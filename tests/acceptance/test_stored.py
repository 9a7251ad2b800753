"""Stored predictions and label truth feed a run: they land beside raw, and go on from there."""

import re
from collections import Counter
from contextlib import closing
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import yaml
import zarr

from fibstream.app.design import design_request
from fibstream.core.errors import WrongUse
from fibstream.runtime.root import Root
from fibstream.services.ingest.edges.datasets import DatasetRequest
from fibstream.store.gate import FREE
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob, Store
from fibstream.volumes.sources import open_volume

from ..support.command import apart, inside
from ..support.scene import SHAPE, VOXEL_NM, blobs, save

CHUNK = "20,24,28"
GENERIC = {"recipe": "generic", "set": {"smooth_nm": 0, "min_volume_nm3": 0, "fill_holes": "none"}}


def truth() -> np.ndarray:
    """Return ids of the bright blobs."""
    return (blobs() > 120).astype(np.uint16) * 7


def volume(path: Path, array: np.ndarray, voxel_nm: float = VOXEL_NM) -> str:
    return f"{save(path, array, voxel_nm)}#raw"


def pipeline(folder: Path, *predictions: dict[str, str]) -> Path:
    organelles = [
        {"name": f"of-{p['name']}", "from": p["name"], **deepcopy(GENERIC)} for p in predictions
    ]  # of objects that are shared YAML would make aliases
    path = folder / "pipeline.yaml"
    content = {"models": [], "predictions": list(predictions), "organelles": organelles}
    path.write_text(yaml.safe_dump(content))
    return path


def run(scene, out: Path, given: Path, *more: object):
    return inside(*scene.run(out, "--bus", "memory:", "--chunk", CHUNK, *more, pipeline=given))


def labels(out: Path, name: str) -> np.ndarray:
    source = open_volume(f"{out}#labels/{name}", kind="labels")
    return source.read(read_dataset(LocalFiles(out)).grid.volume)


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    """A folder with truth, a prediction of it, and a pipeline that reads both."""
    folder = tmp_path_factory.mktemp("stored")
    ids, bytes_ = volume(folder / "ids.npz", truth()), volume(folder / "p.npz", prediction(1))
    pipeline(
        folder, {"name": "truth", "from": ids, "as": "distance"}, {"name": "p", "from": bytes_}
    )
    return folder


def prediction(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(100, 160, SHAPE, np.uint8)


@pytest.fixture(scope="module")
def streamed(scene, stored) -> Path:
    out = stored / "out.zarr"
    assert run(scene, out, stored / "pipeline.yaml").code == 0
    return out


def test_labels_of_truth_are_the_truth_without_a_network(streamed) -> None:
    assert np.array_equal(labels(streamed, "of-truth") > 0, truth() > 0)
    assert np.array_equal(labels(streamed, "of-p") > 0, prediction(1) >= 127)
    assert read_dataset(LocalFiles(streamed)).models == ()


@pytest.mark.parametrize(("chunk", "order"), [("36,44,52", "raster"), ("16,16,32", "random")])
def test_labels_are_those_of_any_chunk_and_order(
    scene, stored, streamed, tmp_path, chunk, order
) -> None:
    answer = run(scene, tmp_path / "b.zarr", stored / "pipeline.yaml", "--order", order)
    again = inside(*scene.run(tmp_path / "c.zarr", "--bus", "memory:", "--chunk", chunk,
                              pipeline=stored / "pipeline.yaml"))  # fmt: skip
    wanted = inside("verify", streamed, "--rebuild", "--hash")
    assert answer.hashes == again.hashes
    assert all(part in wanted.out for part in again.hashes)


def test_the_truth_of_a_phantom_is_streamed(tmp_path) -> None:
    cell, out = tmp_path / "cell.phantom", tmp_path / "a.zarr"
    assert inside("phantom", "--out", cell, "--size", 64, "--voxel-size-nm", "8,8,8", "--seed", 1,
                  "--organelles", "er").code == 0  # fmt: skip
    given = pipeline(tmp_path, {"name": "er", "from": f"{cell}#labels/er", "as": "distance"})
    assert inside("run", "--raw", cell, "--pipeline", given, "--out", out, "--chunk", "40,32,24",
                  "--bus", "memory:").code == 0  # fmt: skip
    test = f"{out}#labels/of-er"
    scores = inside("evaluate", "--truth", f"{cell}#labels/er", "--test", test,
                    "--out", tmp_path / "scores.json")  # fmt: skip
    assert "dice 1.0000" in scores.out


def test_status_and_verify_know_what_has_landed(streamed) -> None:
    assert inside("verify", streamed, "--rebuild").code == 0  # its bus in memory left no log
    status = inside("status", streamed)
    told = " ".join(status.out.split())
    assert " raw 8 of 8 " in told
    for kind in ("stored", "pyramid"):
        alike = re.search(rf" {kind}, \d of them 8 of 8 each: ([^:]*)", told)
        assert alike is not None and {"truth", "p"} <= set(re.split(r"[, ]+", alike[1]))
    assert inside("verify", streamed).code == 0


def test_a_report_names_what_is_stored_and_shows_it(streamed, tmp_path) -> None:
    assert inside("report", streamed, "--out", tmp_path / "report").code == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "<dt>prediction truth</dt><dd>landed beside raw, squash length 50 nm</dd>" in page


def test_a_stored_chunk_that_is_damaged_is_found_and_lands_again(scene, stored, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    first = run(scene, out, stored / "pipeline.yaml")
    path = out / "predictions/truth/s0/c/0/1/0"
    path.write_bytes(path.read_bytes()[:-9])
    damaged = inside("verify", out)
    assert damaged.code == 1
    assert "stored/truth" in damaged.out + damaged.err
    again = run(scene, out, stored / "pipeline.yaml")
    assert again.hashes == first.hashes
    assert inside("verify", out).code == 0


def test_processes_land_what_is_stored(scene, stored, streamed, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    answer = apart(*scene.run(out, "--chunk", CHUNK, pipeline=stored / "pipeline.yaml"))
    assert answer.code == 0, answer.err
    assert np.array_equal(labels(out, "of-truth"), labels(streamed, "of-truth"))


@pytest.mark.parametrize(
    ("array", "voxel_nm", "reason"),
    [
        (truth()[:9], VOXEL_NM, "prediction er must fit raw: .* is .9, 44, 52.;.*expected"),
        (truth(), 16.0, "prediction er must fit raw: .* has the voxel size 16"),
        (truth().astype(np.float32), VOXEL_NM, "prediction er must fit raw: .*float32"),
    ],
)
def test_what_does_not_fit_raw_is_one_line(scene, tmp_path, array, voxel_nm, reason) -> None:
    path = volume(tmp_path / "ids.npz", array, voxel_nm)
    given = pipeline(tmp_path, {"name": "er", "from": path, "as": "distance"})
    answer = run(scene, tmp_path / "a.zarr", given)
    assert answer.code == 2
    assert not (tmp_path / "a.zarr").exists()
    assert re.search(reason, answer.err.replace("\n", " ")), answer.err


def test_what_lies_elsewhere_is_refused(tmp_path) -> None:
    """The same shape and voxel size: only the place, which both files state, tells them apart."""
    paths = []
    for name, z in (("raw", 0), ("ids", 80)):
        path = tmp_path / f"{name}.zarr"
        array = zarr.create_array(path, data=truth().astype(np.uint8))
        array.attrs["transform"] = {
            "axes": ["z", "y", "x"], "units": ["nm", "nm", "nm"], "scale": [8, 8, 8],
            "translate": [z, 0, 0],
        }  # fmt: skip
        paths.append(str(path))
    given = pipeline(tmp_path, {"name": "er", "from": paths[1], "as": "distance"})
    answer = inside("run", "--raw", paths[0], "--pipeline", given, "--out", tmp_path / "a.zarr")
    assert answer.code == 2 and not (tmp_path / "a.zarr").exists()
    assert re.search("begins at 80,0,0 nm;.* at 0,0,0 nm: expected the same place", answer.err)


def test_other_content_takes_the_next_revision_and_redoes_its_dependents(scene, tmp_path) -> None:
    """A, A, B, A: B differs in the first chunk alone, out of the others' reach."""
    out, path = tmp_path / "a.zarr", tmp_path / "p.npz"
    given = pipeline(tmp_path, {"name": "p", "from": volume(path, prediction(1))})
    other = prediction(1)
    other[2:9, 2:9, 2:9] = 0
    first = run(scene, out, given)

    again = run(scene, out, given)
    assert (again.report["chunks_computed"], again.hashes) == (0, first.hashes)
    assert revisions(out) == {1: 8}

    found = []
    for revision, array in ((2, other), (3, prediction(1))):
        volume(path, array)
        answer = run(scene, out, given)
        assert revisions(out) == {1: 7, revision: 1}
        assert np.array_equal(labels(out, "of-p") > 0, array >= 127)
        assert answer.hashes == run(scene, tmp_path / f"{revision}.zarr", given).hashes
        found.append(answer)
    assert found[1].hashes == first.hashes != found[0].hashes
    # Of the first chunk: the pyramid, fragments, labels, measures; and the table.
    assert [a.report["chunks_computed"] for a in found] == [5, 5]


def revisions(out: Path) -> Counter[int]:
    """Return how many chunks of the prediction have each revision."""
    files = LocalFiles(out)
    store = Store(files, read_dataset(files).grid)
    stamps = [store.stamp(Blob("predictions/p", i, "uint8")) for i in store.grid.indices()]
    return Counter(stamp.revision for stamp in stamps if stamp is not None)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        ("from: a.zarr", "line 1: prediction p: from: PATH is for fibstream run; a client gives"),
        ("squash_nm: 30", ""),
    ],
)
def test_a_client_names_what_lands_by_its_squash_length(tmp_path, entry, reason) -> None:
    text = f"predictions: [{{name: p, {entry}}}]\norganelles: [{{recipe: generic}}]"
    request = DatasetRequest("d", (8, 8, 8), None, "uint8", (8, 8, 8), None, False, text)
    with closing(Root(str(tmp_path))) as root:
        if reason:
            with pytest.raises(WrongUse, match=reason):
                design_request(request, root, 1, FREE)
        else:
            (prediction,) = design_request(request, root, 1, FREE).dataset.predictions
            assert (prediction.stage, prediction.squash_nm) == ("stored/p", 30)


def test_a_run_reads_from_a_path(scene, tmp_path) -> None:
    answer = run(scene, tmp_path / "a.zarr", pipeline(tmp_path, {"name": "p", "squash_nm": "50"}))
    assert answer.code == 2
    assert not (tmp_path / "a.zarr").exists()
