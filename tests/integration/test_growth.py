"""A recipe, a stage and a fifth service are dropped into an installed copy, and are there.

The files below ``growth`` lie as they would in the package. Nothing else is touched but one line
in the declaration of analysis, an import, and one entry point.
"""

import difflib
import re
import shutil
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from fibstream.app.engines import make_engine
from fibstream.app.reference import labels_of, prediction_of, table_of
from fibstream.core.arrays import decode_arrays
from fibstream.core.dataset import Dataset
from fibstream.core.grid import Box
from fibstream.runtime.root import Root
from fibstream.services.analysis.table import rows_hash
from fibstream.services.refine.recipes.generic import rule_of
from fibstream.services.refine.rule import ObjectRule, threshold_level
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.shard import decode_blob, encode_blob
from fibstream.volumes.sources import open_volume

from ..support.installed import Installed, install, write_distribution
from ..support.patience import PATIENCE_S, eventually
from ..support.programs import free_ports
from ..support.scene import Scene, blobs

GROWTH = Path(__file__).with_name("growth")
DEPTH = 10  # voxels: 80 nm
PIPELINE = """\
models: [{model}]
organelles:
  - {{name: a, recipe: generic, set: {{fill_holes: all, connectivity: 26, min_volume_nm3: 1.0e4}}}}
  - {{name: b, recipe: within, from: {{prediction: mito, outer: a}}, set: {{threshold_nm: 20}}}}
census: [{{of: a}}, {{of: b, depth_nm: 80}}]
"""
ARRAYS = ("labels/a", "labels/b", "brightness/a", "brightness/b", "census/a", "census/b")
WAYS = {
    "in one process": ("--bus", "memory:", "--chunk", "36,22,26"),
    "in many": ("--chunk", "20,24,28", "--order", "random", "--workers", "1"),
}
Run = Callable[[str], tuple[Path, dict[str, Any]]]
STAGES = tuple(
    f"{family}/{name}" for family in ("brightness", "census", "census-table") for name in "ab"
)
TWIN = """\
from fibstream.core.service import Capability, Service

SERVICE = Service("twin", 7806, "", (Capability(("census",), lambda *_: ()),), lambda _: None)
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """The copy, grown."""
    made = install(tmp_path_factory.mktemp("site"))
    shutil.copytree(GROWTH / "services", made.package / "services", dirs_exist_ok=True)
    declare_stage(made.package / "services/analysis/service.py")
    made.entries["fibstream.services"]["census"] = "fibstream.services.census.service:SERVICE"
    made.write_entries()
    return made


def declare_stage(path: Path) -> None:
    """Add a stage to a service: an import, and its name in one line."""
    before = path.read_text()
    text = before.replace(
        "from .stages.contacts", "from .stages.brightness import BRIGHTNESS\nfrom .stages.contacts"
    )
    path.write_text(re.sub(r"^(SERVICE = Service\([^(]*\()", r"\1BRIGHTNESS, ", text, flags=re.M))
    changed = list(difflib.ndiff(before.splitlines(), path.read_text().splitlines()))
    assert [line[0] for line in changed if line[0] in "+-"] == ["+", "-", "+"]


@pytest.fixture(scope="module")
def run(installed: Installed, scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Return the function that streams the volume in one way; it returns dataset and report."""
    folder = tmp_path_factory.mktemp("streamed")
    pipeline = folder / "pipeline.yaml"
    pipeline.write_text(PIPELINE.format(model=scene.model))

    def stream(way: str) -> tuple[Path, dict[str, Any]]:
        out = folder / way / "cell.zarr"
        out.parent.mkdir(exist_ok=True)
        ended = installed.command(*scene.run(out, *WAYS[way], pipeline=pipeline))
        assert ended.code == 0, ended.err
        return out, ended.report

    return stream


@pytest.fixture(scope="module")
def streamed(run: Run) -> Callable[[str], Path]:
    """Return the function that streams the volume in one way, once."""
    return cache(lambda way: run(way)[0])


def read(out: Path, name: str) -> NDArray[Any]:
    """Return an array of a dataset, whole."""
    source = open_volume(f"{out}/{name}/s0", voxel_size_nm=(8, 8, 8))
    return source.read(Box((0, 0, 0), source.shape))


def expected(dataset: Dataset, out: Path) -> Mapping[str, NDArray[Any]]:
    """Return what each array must hold, computed on the whole volume."""
    raw = blobs()
    prediction = prediction_of(raw, dataset, make_engine(out / dataset.models[0].path, 1))[0]
    a = labels_of(prediction, rule_of(dataset, dataset.organelles[0]))
    inside = np.where(a != 0, prediction, np.uint8(0))
    b = labels_of(inside, ObjectRule((0, 0, 0), threshold_level(20, 50), 26, "none"))
    slabs = np.arange(len(raw), dtype=np.uint64)[:, None, None] // DEPTH + 1
    made = {f"labels/{name}": labels for name, labels in (("a", a), ("b", b))}
    for name, labels in (("a", a), ("b", b)):
        made[f"brightness/{name}"] = np.where(labels != 0, raw, np.uint8(0))
        made[f"census/{name}"] = np.where(labels != 0, slabs, 0)
    return made


@pytest.mark.parametrize("way", WAYS)
def test_what_is_streamed_is_that_of_the_whole_volume(
    streamed: Callable[[str], Path], way: str
) -> None:
    out = streamed(way)
    dataset = read_dataset(LocalFiles(out))
    arrays = expected(dataset, out)
    assert 0 < np.count_nonzero(arrays["labels/b"]) < np.count_nonzero(arrays["labels/a"])
    for name in ARRAYS:
        np.testing.assert_array_equal(read(out, name), arrays[name], name)
    for name in ("a", "b"):
        table = pq.read_table(out / f"tables/{name}.parquet")
        whole = table_of(arrays[f"labels/{name}"], blobs(), dataset.voxel_size_nm)
        assert rows_hash(table) == rows_hash(whole)
        slabs, voxels = np.unique(arrays[f"census/{name}"], return_counts=True)
        counted = pq.read_table(out / f"tables/census/{name}.parquet")
        assert counted["id"].to_pylist() == slabs[1:].tolist()
        assert counted["voxels"].to_pylist() == voxels[1:].tolist()
        labels, raw = arrays[f"labels/{name}"], blobs()
        ids = np.unique(labels[labels != 0]).tolist()
        assert peaks(out, name) == {i: int(raw[labels == i].max()) for i in ids}


def test_it_is_the_copy_that_lists_all_that_is_new(
    installed: Installed, streamed: Callable[[str], Path]
) -> None:
    ended = installed.python(GROWTH / "look.py", streamed("in many"))
    assert ended.code == 0, ended.err
    found = ended.report
    assert found["package"] == str(installed.package)
    assert "within" in found["recipes"] and "census" in found["services"]
    families = ("brightness", "peaks", "census", "census-table")
    assert {f"fibstream.chunk-ready.{family}" for family in families} <= set(found["ledger"])
    topics = {"fibstream.tasks.census", "fibstream.leases.census", "fibstream.dead-letter.census"}
    assert topics | set(found["ledger"]) <= set(found["topics"])
    assert {"fragments/b", "labels/b", *STAGES} <= set(found["catalogue"])
    assert {"labels/b", "census/a", "census/b"} <= set(found["viewer"])
    grey = ["raw", True, [0, 255]]  # of bytes, hidden until the user wants it
    assert found["grey"] == {"brightness/a": grey, "brightness/b": grey}
    assert found["refused"] == "stage sightings/a: no service declares the family 'sightings'"


def test_status_shows_every_stage(installed: Installed, streamed: Callable[[str], Path]) -> None:
    ended = installed.command("status", streamed("in many"), "--json")
    assert ended.code == 0, ended.err
    found = ended.report
    chunks = found["chunks"]
    for name in "ab":  # how many objects there are, no count of chunks tells
        assert found["stages"][f"peaks/{name}"] == len(peaks(streamed("in many"), name)) > 1
        assert found["wanted"][f"peaks/{name}"] is None
    wanted = {name: 1 if name.startswith("census-table") else chunks for name in STAGES}
    assert {name: found["stages"][name] for name in STAGES} == wanted
    assert {name: found["wanted"][name] for name in STAGES} == wanted
    assert found["objects"]["b"]["final"] > 0


def test_sql_sees_the_tables_of_every_service(
    installed: Installed, streamed: Callable[[str], Path], tmp_path: Path
) -> None:
    sql = 'SELECT sum(c.voxels) AS n FROM "census/a" c UNION ALL SELECT sum(voxels) FROM a'
    table = tmp_path / "n.csv"
    ended = installed.command("query", sql, "--dataset", streamed("in one process"), "--out", table)
    assert ended.code == 0, ended.err
    name, one, other = table.read_text().split()
    assert name == '"n"' and one == other and float(one) > 0


def test_the_next_run_repairs_what_verify_names(
    installed: Installed, run: Run, streamed: Callable[[str], Path]
) -> None:
    out = streamed("in one process")
    some = min(peaks(out, "a"))
    for path in (
        "census/a/s0/c/0/1/0", "brightness/b/s1/c/0/0/1", "tables/census/b.parquet",
        f"summaries/peaks/a/{some}",
    ):  # fmt: skip
        cut(out / path)
    names = {
        "census/a chunk 0,1,0", "brightness/b chunk 0,0,1", "census-table/b whole",
        f"peaks/a object {some}",
    }  # fmt: skip
    assert damaged(installed, out) == names
    assert run("in one process")[1]["chunks_computed"] == len(names)
    assert damaged(installed, out) == set()


def test_verify_knows_an_output_of_an_object_that_was_made_of_other_inputs(
    installed: Installed, streamed: Callable[[str], Path]
) -> None:
    out = streamed("in many")
    path = min((out / "summaries/peaks/a").iterdir())
    content = path.read_bytes()
    decoded = decode_blob(content)
    assert decoded is not None
    path.write_bytes(encode_blob(decoded[0], replace(decoded[1], key="other")))
    ended = installed.command("verify", out)
    path.write_bytes(content)
    count = len(peaks(out, "a"))
    assert (ended.code, f"outdated: peaks/a: 1 of {count}" in ended.out) == (1, True), ended.out


def test_the_service_repairs_when_served_and_its_family_is_a_label_of_metrics(
    installed: Installed, streamed: Callable[[str], Path]
) -> None:
    out = streamed("in many")
    path = out / "summaries/census/a/0.1.0"
    content = path.read_bytes()
    flip(path)
    assert damaged(installed, out) == {"census/a chunk 0,1,0"}
    root = Root(str(out.parent))
    root.enter("cell")
    root.close()
    (port,) = free_ports(1)
    line = ["serve", "census", "--root", root.url, "--listen", "127.0.0.1:0", "--workers", "1"]
    with installed.started(*line, "--metrics", f"127.0.0.1:{port}") as process:
        computed = 'fibstream_tasks_total{outcome="computed",service="census",stage="census"} 1.0'
        eventually(lambda: computed in scrape(port + 2), computed)
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    assert path.read_bytes() == content


def test_two_services_with_one_family_are_refused_in_one_line(
    installed: Installed, streamed: Callable[[str], Path], tmp_path: Path
) -> None:
    (tmp_path / "twin.py").write_text(TWIN)
    write_distribution(tmp_path, "twin", {"fibstream.services": {"twin": "twin:SERVICE"}})
    ended = installed.command("status", streamed("in one process"), more=(tmp_path,))
    message = "fibstream: services: two have the family census\n"
    assert (ended.code, ended.out, ended.err) == (2, "", message)


def peaks(out: Path, name: str) -> dict[int, int]:
    """Return the brightest voxel of each object, as it is stored."""
    found = {}
    for path in (out / f"summaries/peaks/{name}").iterdir():
        decoded = decode_blob(path.read_bytes())
        assert decoded is not None
        (found[int(path.name)],) = decode_arrays(decoded[0])["peak"].tolist()
    return found


def cut(path: Path) -> None:
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path: Path) -> None:
    """Change one byte of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 3] ^= 0x10
    path.write_bytes(data)


def damaged(installed: Installed, out: Path) -> set[str]:
    """Return what ``verify`` reports as damaged."""
    ended = installed.command("verify", out)
    lines = [line for line in ended.out.splitlines() if line.startswith("damaged: ")]
    assert ended.code == (1 if lines else 0), ended.err
    return {line.removeprefix("damaged: ") for line in lines}


def scrape(port: int) -> str:
    """Return the metrics of a process; empty while it does not answer."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S
        ) as answer:
            return str(answer.read().decode())
    except OSError:
        return ""
