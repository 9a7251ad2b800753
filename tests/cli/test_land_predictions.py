"""`create` and `land` of a pipeline with predictions that no network makes, against one server."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fibstream.client import Client
from fibstream.kernels.distance import distance_bytes
from fibstream.registry import service
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob, Store

from ..simulation.oracle import read_array
from ..support.command import inside
from ..support.scene import SHAPE, VOXEL_NM, blobs, save
from ..support.wrong import is_one_line

CHUNK = "20,24,28"
PIPELINE = """\
models: []
predictions:
  - {name: p, squash_nm: 50}
  - {name: truth, squash_nm: 50}
organelles:
  - {name: of-p, recipe: generic, from: p}
"""
IDS = (blobs() > 120).astype(np.uint16)
BYTES = np.random.default_rng(1).integers(100, 160, SHAPE, np.uint8)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    with closing(Root(str(tmp_path_factory.mktemp("served")))) as made:
        yield made


@pytest.fixture(scope="module")
def server(root: Root) -> Iterator[str]:
    """All calls of ingest in this process: nothing plans, nothing computes."""
    context = ServicerContext(root, Settings.model_validate({}))
    grpc_server = GrpcServer("127.0.0.1:0", [service("ingest").servicer(context)])
    grpc_server.open()
    yield f"ingest=127.0.0.1:{grpc_server.port}"
    grpc_server.close(grace_s=0)


@pytest.fixture(scope="module")
def folder(server: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with raw, a prediction and labels; the open dataset ``cell`` expects both."""
    made = tmp_path_factory.mktemp("given")
    (made / "p.yaml").write_text(PIPELINE)
    for name, voxels in (("raw", blobs()), ("p", BYTES), ("ids", IDS)):
        save(made / f"{name}.npz", voxels)
    wide: Any = zarr.create_array(made / "wide.zarr", data=BYTES, chunks=SHAPE)
    wide.attrs.update(squash_nm=40, transform={
        "axes": ["z", "y", "x"], "units": ["nm"] * 3, "scale": [VOXEL_NM] * 3,
        "translate": [0, 0, 0],
    })  # fmt: skip
    answer = inside("create", "cell", "--shape", f"?,{SHAPE[1]},{SHAPE[2]}", "--voxel-size-nm",
                    VOXEL_NM, "--chunk", CHUNK, "--pipeline", made / "p.yaml",
                    "--server", server)  # fmt: skip
    assert answer.code == 0, answer.err
    return made


def land(server: str, folder: Path, *more: object):
    return inside("land", "cell", "--raw", folder / "raw.npz", "--server", server, *more)


def stored(root: Root, name: str) -> np.ndarray:
    """Return the voxels that the store holds of a sealed array."""
    dataset = root.dataset("cell")
    store, found = Store(root.files("cell"), dataset.grid), np.zeros(SHAPE, np.uint8)
    for index in dataset.grid.indices():
        box = dataset.grid.box(index)
        found[box.slices()] = read_array(store, Blob(name, index, "uint8"), box)
    return found


@pytest.mark.parametrize(
    ("flags", "pattern"),
    [
        (("--prediction", "p"), "--prediction p: expected NAME=PATH"),
        (("--prediction", "=p"), "--prediction =p: expected NAME=PATH"),
        (("--prediction", "p=a", "--labels", "p=b"), "--labels p=b: p is given twice"),
        (("--prediction", "q={p}"), "--prediction q=.*: no such prediction lands .* p, truth"),
        (("--prediction", "p={ids}"), "prediction p must fit raw: .*uint16"),
        (("--prediction", "p={wide}"), "p: .* has the squash length 40 nm; expected the"),
        (("--prediction", "p={none}"), "prediction p must fit raw: .*none.npz"),
        (("--labels", "truth={ids}"), "--labels truth=.*: distances need the end of the volume"),
    ],
)
def test_a_prediction_that_cannot_land_is_one_line_and_nothing_lands(
    server: str, folder: Path, root: Root, flags: tuple[str, ...], pattern: str
) -> None:
    paths = {name: f"{folder / name}.npz#raw" for name in ("p", "ids", "none")}
    paths["wide"] = str(folder / "wide.zarr")
    answer = land(server, folder, *(flag.format(**paths) for flag in flags))
    is_one_line(answer, pattern)
    assert not list(root.files("cell").list("raw/s0/c"))
    assert root.dataset("cell").shape[0] is None


def test_bytes_and_distances_land_beside_raw_chunk_by_chunk(
    server: str, folder: Path, root: Root
) -> None:
    given = ("--labels", f"truth={folder / 'ids.npz'}#raw", "--seal", "--order", "random")
    first = land(server, folder, *given)
    assert (first.code, first.out) == (0, "cell: 16 written\n")
    assert "note: prediction p is not given: what reads it waits\n" in first.err
    second = land(server, folder, "--prediction", f"p={folder / 'p.npz'}#raw", *given)
    assert (second.code, second.out) == (0, "cell: 16 unchanged, 8 written\n")
    assert "note:" not in second.err
    assert np.array_equal(stored(root, "raw"), blobs())
    assert np.array_equal(stored(root, "predictions/p"), BYTES)
    box = root.dataset("cell").grid.volume
    exact = distance_bytes(IDS > 0, box, box, (VOXEL_NM,) * 3, 50.0)
    assert np.array_equal(stored(root, "predictions/truth"), exact)


def test_the_pipeline_that_a_dataset_says_it_has_makes_the_same_again(
    server: str, folder: Path
) -> None:
    with Client(server) as client:
        info = client.info("cell")
        assert info.predictions == {"p": 50, "truth": 50}
        new, _ = client.create(
            "cell", info.shape, voxel_size_nm=info.voxel_size_nm, chunk=info.chunk,
            pipeline=info.pipeline,
        )  # fmt: skip
    assert not new


def test_a_prediction_that_looks_like_a_mask_is_told(server: str, folder: Path) -> None:
    save(folder / "few.npz", (BYTES > 130).astype(np.uint8))
    answer = land(server, folder, "--prediction", f"p={folder / 'few.npz'}#raw")
    assert "few.npz#raw: has only the values 0, 1 where it was looked at" in answer.err


KINDS = ("probability", "distance", "labels", "mask")


@pytest.fixture(scope="module")
def declared(server: str, folder: Path) -> dict[str, str]:
    """Create the dataset ``four``, with a prediction of each kind; return their files."""
    files = {"distance": f"{folder / 'p.npz'}#raw", "labels": f"{folder / 'ids.npz'}#raw"}
    save(folder / "mask.npz", (IDS > 0).astype(np.uint8) * 255)
    files["mask"] = f"{folder / 'mask.npz'}#raw"
    probable: Any = zarr.create_array(folder / "probable.zarr", data=BYTES, chunks=SHAPE)
    probable.attrs.update(zarr.open_array(folder / "wide.zarr").attrs.asdict())
    del probable.attrs["squash_nm"]
    probable.attrs["meaning"] = "probability"
    files["probability"] = str(folder / "probable.zarr")
    words = ", ".join(f"{{name: {kind}, as: {kind}}}" for kind in KINDS)
    answer = inside("create", "four", "--shape", ",".join(map(str, SHAPE)), "--voxel-size-nm",
                    VOXEL_NM, "--chunk", CHUNK, "--pipeline", f"predictions: [{words}]",
                    "--server", server)  # fmt: skip
    assert answer.code == 0, answer.err
    return files


@pytest.mark.parametrize(
    ("flag", "name", "file", "said"),
    [
        ("--prediction", "probability", "distance", "has the squash length 50 nm; expected a prob"),
        ("--prediction", "distance", "probability", "has a probability; expected the squash"),
        ("--prediction", "labels", "distance", "made for distances of labels; expected --labels"),
        ("--prediction", "mask", "distance", "made for distances of mask; expected --labels mask="),
        ("--labels", "probability", "labels", "made for a probability, .* expected --prediction"),
        ("--labels", "mask", "distance", "has the value 1..; expected a mask of 0, and 1 or 255"),
    ],
)
def test_what_is_not_what_was_declared_is_refused(
    server: str, folder: Path, declared: dict[str, str], flag: str, name: str, file: str, said: str
) -> None:
    answer = inside("land", "four", "--raw", folder / "raw.npz", "--server", server, flag,
                    f"{name}={declared[file]}")  # fmt: skip
    # A note on what looks like a prediction may come before.
    is_one_line(replace(answer, err=answer.err.splitlines()[-1]), said)


def test_what_a_client_lands_is_what_run_reads(
    server: str, folder: Path, declared: dict[str, str], root: Root
) -> None:
    given = [
        word
        for kind in KINDS
        for word in ("--labels" if kind in ("labels", "mask") else "--prediction",
                     f"{kind}={declared[kind]}")
    ]  # fmt: skip
    answer = inside("land", "four", "--raw", folder / "raw.npz", "--server", server, *given)
    assert answer.code == 0, answer.err
    words = [f"- {{name: {kind}, from: '{declared[kind]}', as: {kind}}}" for kind in KINDS]
    words[1] = words[1].replace(", as: distance", "")  # which converts labels, of a path
    (folder / "run.yaml").write_text("predictions:\n" + "\n".join(words))
    out = folder / "run.zarr"
    answer = inside("run", "--raw", folder / "raw.npz", "--chunk", CHUNK, "--out", out, "--bus",
                    "memory:", "--pipeline", folder / "run.yaml")  # fmt: skip
    assert answer.code == 0, answer.err
    landed, there = root.dataset("four"), read_dataset(LocalFiles(out))
    assert landed.predictions == there.predictions
    stores = (Store(root.files("four"), landed.grid), Store(LocalFiles(out), there.grid))
    for kind in KINDS:
        for index in there.grid.indices():
            blob = Blob(f"predictions/{kind}", index, "uint8")
            one, two = (store.stamp(blob) for store in stores)
            assert one is not None and two is not None and one.hash == two.hash, (kind, index)
    (folder / "wrong.yaml").write_text(
        f"predictions: [{{name: p, from: '{declared['distance']}', as: probability}}]"
    )
    answer = inside("run", "--raw", folder / "raw.npz", "--out", folder / "w.zarr", "--bus",
                    "memory:", "--pipeline", folder / "wrong.yaml")  # fmt: skip
    is_one_line(answer, "has the squash length 50 nm; expected a probability")
