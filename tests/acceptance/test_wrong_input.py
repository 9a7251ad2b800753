"""Wrong input is one clear line that names it, exit 2, and nothing is written."""

import fcntl
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import tifffile
import zarr

from fibstream.core.dataset import RECORD
from fibstream.runtime.root import bus_path

from ..inference.net import write_net
from ..support import wrong
from ..support.command import apart, inside
from ..support.scene import GEOMETRY, Scene, blobs, bright, save
from ..support.wrong import is_one_line, is_rejected


@dataclass(frozen=True)
class Place(wrong.Place):
    """A place with a scene and its finished dataset."""

    scene: Scene
    finished: Path

    @property
    def out(self) -> Path:
        """A path where nothing is."""
        return self.folder / "out.zarr"

    def volume(self, raw: np.ndarray, voxel_nm: Any = 8.0) -> Path:
        """Write a volume."""
        return save(self.folder / "volume.npz", raw, voxel_nm)

    def run(self, *more: object, raw: object = None, pipeline: object = None) -> list[object]:
        """Return the arguments of a run that is right but for what is given."""
        out = () if "--out" in more else ("--out", self.out)
        given = ["--raw", raw or self.scene.raw, "--pipeline", pipeline or self.scene.pipeline]
        return ["run", *given, *out, *more]

    def predict(self, *more: object, raw: object = None, model: object = None) -> list[object]:
        """Return the arguments of a prediction."""
        given = ["--raw", raw or self.scene.raw, "--model", model or self.scene.model]
        return ["predict", *given, "--out", self.out, *more]

    def refine(self, *more: object, prediction: object = None) -> list[object]:
        """Return the arguments of a refinement."""
        organelle = () if "--organelle" in more else ("--organelle", "mito")
        given = ["--prediction", prediction or f"mito={self.finished}", *organelle]
        return ["refine", *given, "--out", self.out, *more]

    def measure(self, *more: object, labels: object = None) -> list[object]:
        """Return the arguments of a measurement."""
        out = () if "--out" in more else ("--out", self.folder / "table.csv")
        return ["measure", "--labels", labels or f"{self.finished}#labels/mito", *out, *more]

    def evaluate(self, *more: object, truth: object = None, test: object = None) -> list[object]:
        """Return the arguments of an evaluation."""
        labels = f"{self.finished}#labels/mito/s0"
        out = () if "--out" in more else ("--out", self.folder / "scores.json")
        return ["evaluate", "--truth", truth or labels, "--test", test or labels, *out, *more]

    def words(self, text: str) -> list[object]:
        """Return the arguments of a run with this pipeline; MODEL is a good network."""
        return self.run(pipeline=self.file("p.yaml", text.replace("MODEL", str(self.scene.model))))

    def net(self, **changes: object) -> Path:
        """Write a network with other metadata or another body."""
        kept: dict[str, Any] = {"body": bright, "channels": 1, **GEOMETRY, **changes}
        return write_net(self.folder / "net.onnx", **kept)

    def with_net(self, **changes: object) -> list[object]:
        """Return the arguments of a run with that network."""
        text = f"models: [{self.net(**changes)}]\norganelles: [{{recipe: mito}}]\n"
        return self.run(pipeline=self.file("p.yaml", text))


RAW = blobs()
Case = Callable[[Place], list[object]]


def corrupt_zarr(place: Place) -> Path:
    path = place.folder / "raw.zarr"
    zarr.create_array(path, data=RAW, chunks=(16, 16, 16))
    (path / "zarr.json").write_text("{")
    return path


def broken_chunk(place: Place) -> Path:
    path = place.folder / "raw.zarr"
    zarr.create_array(path, data=RAW, chunks=RAW.shape)
    (path / "c/0/0/0").write_bytes(b"not zstd")
    return path


def tiff(place: Place, **metadata: object) -> Path:
    path = place.folder / "v.tif"
    tifffile.imwrite(path, RAW, imagej=True, metadata=metadata)
    return path


def sized_tiff(place: Place, nm: float) -> Path:
    path = place.folder / "v.tif"
    size = {"spacing": nm, "unit": "nm"}
    tifffile.imwrite(path, RAW, imagej=True, resolution=(1 / nm, 1 / nm), metadata=size)
    return path


def half_of(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def nan_weights(place: Place) -> Path:
    path = place.net()
    model = onnx.load(path)
    weight = next(w for w in model.graph.initializer if w.data_type == onnx.TensorProto.FLOAT)
    shape = onnx.numpy_helper.to_array(weight).shape
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(shape, np.nan, np.float32), weight.name))
    onnx.save(model, path)
    return path


def floats_with_nan() -> np.ndarray:
    raw = RAW.astype(np.float32)
    raw[3, 4, 5] = np.nan
    return raw


MODEL = "models: [MODEL]\n"
WIDE = RAW.astype(np.uint16)

CASES: dict[str, tuple[Case, str]] = {
    # the volume
    "missing": (lambda p: p.run(raw=p.folder / "none.tif"), "none.tif: no such file"),
    "empty folder": (lambda p: p.run(raw=p.scene.folder / "empty"), "empty"),
    "unknown format": (lambda p: p.run(raw=p.file("a.xyz", "?")), "a.xyz: unknown format"),
    "complex": (lambda p: p.run(raw=p.volume(RAW.astype(np.complex64))), "dtype complex64"),
    "float64": (lambda p: p.run(raw=p.volume(RAW.astype(float))), "dtype float64"),
    "two axes": (lambda p: p.run(raw=p.volume(RAW[0])), "axes"),
    "four axes": (lambda p: p.run(raw=p.volume(np.stack([RAW, RAW]))), "three axes"),
    "no voxels": (lambda p: p.run(raw=p.volume(RAW[:0])), "shape"),
    "corrupt npz": (lambda p: p.run(raw=half_of(p.volume(RAW))), "volume.npz cannot be read"),
    "npz that is none": (lambda p: p.run(raw=p.file("v.npz", b"?")), "v.npz cannot be read"),
    "no such key": (lambda p: p.run(raw=f"{p.volume(RAW)}#other"), "no array other"),
    "corrupt TIFF": (lambda p: p.run(raw=p.file("v.tif", b"II*\0?")), "v.tif"),
    "cut TIFF": (lambda p: p.run("--voxel-size-nm", "8", raw=half_of(tiff(p))), "v.tif"),
    "corrupt Zarr": (lambda p: p.run(raw=corrupt_zarr(p)), "raw.zarr"),
    "broken chunk": (
        lambda p: p.predict("--voxel-size-nm", "8", raw=broken_chunk(p)), "raw.zarr"),
    "NaN in raw": (
        lambda p: p.predict("--contrast", "0,255", raw=p.volume(floats_with_nan())), "NaN"),
    # its voxel size
    "no voxel size": (lambda p: p.run(raw=p.volume(RAW, None)), "no voxel size"),
    "voxel size zero": (lambda p: p.run("--voxel-size-nm", "0"), "--voxel-size-nm '0'"),
    "voxel size negative": (
        lambda p: p.run("--voxel-size-nm", "8,-8,8"), "--voxel-size-nm '8,-8,8'"),
    "voxel size NaN": (lambda p: p.run("--voxel-size-nm", "nan"), "--voxel-size-nm 'nan'"),
    "voxel size a word": (lambda p: p.run("--voxel-size-nm", "8nm"), "--voxel-size-nm '8nm'"),
    "two of three": (lambda p: p.run("--voxel-size-nm", "8,8"), "--voxel-size-nm '8,8'"),
    "zero in the file": (lambda p: p.run(raw=p.volume(RAW, [8, 0, 8])), "along y is 0"),
    "negative in the file": (lambda p: p.run(raw=p.volume(RAW, -8)), "no voxel size.*is -8"),
    "NaN in the file": (lambda p: p.run(raw=p.volume(RAW, np.nan)), "no voxel size.*is nan"),
    "contradiction": (
        lambda p: p.run("--voxel-size-nm", "8.5", raw=sized_tiff(p, 8.0)), "8.5,8.5,8.5 nm was"),
    # the pipeline
    "no pipeline": (lambda p: p.run(pipeline="mitos"), "pipeline mitos"),
    "a folder": (lambda p: p.run(pipeline=p.folder), "pipeline"),
    "not YAML": (lambda p: p.words("models: [a\norganelles: b: c\n"), "line 2"),
    "empty pipeline": (lambda p: p.words(""), "p.yaml"),
    "unknown word": (lambda p: p.words(MODEL + "organs:\n  - recipe: mito\n"), "line 2.*'organs'"),
    "unknown recipe": (
        lambda p: p.words(MODEL + "organelles:\n  - recipe: mitos\n"), "line 3.*'mitos'"),
    "unknown parameter": (
        lambda p: p.words(MODEL + "organelles:\n  - recipe: mito\n    set: {smoth_nm: 3}\n"),
        "line 4.*'smoth_nm'"),
    "wrong value": (
        lambda p: p.words(MODEL + "organelles:\n  - recipe: mito\n    set: {connectivity: 7}\n"),
        "line 4.*connectivity is 7"),
    "no model": (lambda p: p.words("organelles:\n  - recipe: mito\n"), "models"),
    "recipe twice": (
        lambda p: p.words(MODEL + "organelles:\n  - recipe: mito\n  - recipe: mito\n"),
        "line 4.*mito is named twice"),
    "network twice": (lambda p: p.words("models: [MODEL, MODEL]\n"), "bright is given twice"),
    "unknown tag": (lambda p: p.words(MODEL + "organelles:\n- recipe: mito\n  set: {a: !x 1}\n"),
        "line 4"),
    "binary": (lambda p: p.run(pipeline=p.file("p.yaml", b"\0\1\2")), "p.yaml"),
    # the network
    "missing network": (lambda p: p.words("models: [none.onnx]\n"), "model none.onnx: not found"),
    "corrupt network": (
        lambda p: p.predict(model=p.file("net.onnx", b"?" * 99)), "not a valid ONNX file"),
    "cut network": (lambda p: p.predict(model=half_of(p.net())), "net.onnx"),
    "empty network": (lambda p: p.predict(model=p.file("net.onnx", b"")), "net.onnx"),
    "other voxel size": (lambda p: p.with_net(voxel_size_nm=[16] * 3), "made for 16 x 16 x 16"),
    "other class": (
        lambda p: p.with_net(classes=["er"]), "recipe mito needs prediction mito; there is er"),
    "too many classes": (lambda p: p.with_net(classes=["mito", "er"]), "channel per class"),
    "no metadata": (lambda p: p.with_net(classes=None), "metadata classes"),
    "wrong halo": (lambda p: p.with_net(halo=[4] * 3), "net"),
    "NaN weights": (lambda p: p.predict(model=nan_weights(p)), "not finite"),
    # flags
    "chunk zero": (lambda p: p.run("--chunk", "0,8,8"), "--chunk '0,8,8'"),
    "chunk too large": (lambda p: p.run("--chunk", "513"), "--chunk 513"),
    "chunk a fraction": (lambda p: p.run("--chunk", "8.5"), "--chunk '8.5'"),
    "order": (lambda p: p.run("--order", "spiral"), "--order spiral"),
    "contrast": (lambda p: p.run("--contrast", "9,3"), "--contrast 9,3"),
    "contrast a word": (lambda p: p.run("--contrast", "full"), "--contrast full"),
    "contrast NaN": (lambda p: p.run("--contrast", "nan,5"), "--contrast nan,5"),
    "no contrast in uint16": (lambda p: p.run(raw=p.volume(WIDE)), "uint16: give --contrast"),
    "flat and automatic": (
        lambda p: p.run("--contrast", "auto", raw=p.volume(RAW * 0 + 7)), "no contrast"),
    "bus": (lambda p: p.run("--bus", "amqp://here"), "--bus amqp://here"),
    "bus that is a folder": (lambda p: p.run("--bus", f"sqlite:{p.folder}"), "bus"),
    "no workers": (lambda p: p.run("--workers", "0"), "workers = 0"),
    "no such flag": (lambda p: p.run("--color"), "--color"),
    "no such command": (lambda p: ["segment"], "segment"),
    "seed a word": (lambda p: p.run("--seed", "x"), "seed"),
    # where it goes
    "a folder with a file": (
        lambda p: p.run("--out", p.file("note.txt", "mine").parent), "not a fibstream dataset"),
    "a file": (lambda p: p.run("--out", p.file("note.txt", "mine")), "not a fibstream dataset"),
    "below a file": (
        lambda p: p.run("--out", p.file("note.txt", "mine") / "a" / "b.zarr"), "note.txt"),
    "predict into a dataset": (lambda p: [*p.predict()[:-1], p.finished], "another path"),
    "predict into a folder": (
        lambda p: [*p.predict()[:-1], p.file("note.txt", "mine").parent], "not a Zarr group"),
    "predict below a file": (
        lambda p: [*p.predict()[:-1], p.file("note.txt", "mine") / "a.zarr"], "note.txt"),
    # refine
    "no class": (lambda p: p.refine(prediction=p.finished), "CLASS=PATH"),
    "recipe of refine": (lambda p: p.refine("--organelle", "melanosome"), "'melanosome'"),
    "wrong class": (lambda p: p.refine(prediction=f"er={p.finished}"), "of class mito"),
    "set without value": (lambda p: p.refine("--set", "smooth_nm"), "--set smooth_nm"),
    "set unknown": (lambda p: p.refine("--set", "smooth=3"), "'smooth'"),
    "set wrong": (lambda p: p.refine("--set", "smooth_nm=-3"), "smooth_nm is -3"),
    "set NaN": (lambda p: p.refine("--set", "threshold_nm=.nan"), "threshold_nm"),
    "raw as prediction": (
        lambda p: p.refine(prediction=f"mito={p.volume(WIDE)}"), "dtype uint16"),
    # measure
    "labels of float": (
        lambda p: p.measure(labels=p.volume(RAW.astype(np.float32))), "dtype float32"),
    "negative labels": (
        lambda p: p.measure(labels=p.volume(RAW.astype(np.int32) - 100)), "label -"),
    "which labels": (lambda p: p.measure(labels=p.finished), "labels/generic"),
    "raw of another shape": (lambda p: p.measure("--raw", p.volume(RAW[:9])), "expected the same"),
    "profile": (lambda p: p.measure("--profile", "none"), "--profile none"),
    "table's name": (lambda p: p.measure("--out", p.folder / "table.xls"), "table.xls"),
    "table's folder": (lambda p: p.measure("--out", p.folder / "no" / "table.csv"), "table.csv"),
    # evaluate
    "scores' shape": (lambda p: p.evaluate(test=p.volume(RAW[:9])), "expected the same"),
    "threshold a word": (lambda p: p.evaluate("--threshold", "x"), "threshold"),
    "scores' folder": (lambda p: p.evaluate("--out", p.folder / "no" / "s.json"), "s.json"),
    "no truth": (lambda p: p.evaluate(truth=p.folder / "none.tif"), "none.tif"),
    # verify, status
    "verify nothing": (lambda p: ["verify", p.folder / "none.zarr"], "none.zarr"),
    "verify something else": (lambda p: ["verify", p.file("note.txt", "mine").parent], "not a"),
    "status of nothing": (lambda p: ["status", p.folder / "none.zarr"], "none.zarr"),
    "status of a file": (lambda p: ["status", p.file("note.txt", "mine")], "note.txt"),
}  # fmt: skip


@pytest.fixture
def place(scene: Scene, finished: Path, tmp_path: Path) -> Place:
    (scene.folder / "empty").mkdir(exist_ok=True)
    return Place(tmp_path, scene, finished)


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_line_and_nothing_is_written(place: Place, name: str) -> None:
    make, pattern = CASES[name]
    is_rejected(place.folder, make(place), pattern)


@pytest.fixture
def mine(place: Place) -> Path:
    """A finished dataset in the watched folder."""
    return Path(shutil.copytree(place.finished, place.folder / "mine.zarr"))


@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        (lambda p: ["--chunk", "20,24,26"], "chunk is"),
        (lambda p: ["--chunk", "20,24,28", "--voxel-size-nm", "8.05"], "voxel_size_nm is"),
        (lambda p: ["--chunk", "20,24,28", "--contrast", "0,255"], "dtype is uint8, not uint16"),
        (lambda p: ["--chunk", "20,24,28", "--bus", "memory:x"], "--bus memory:x"),
    ],
)
def test_another_acquisition_does_not_touch_a_dataset(
    place: Place, mine: Path, change: Callable[[Place], list[object]], pattern: str
) -> None:
    more = change(place)
    raw = place.volume(WIDE if "--contrast" in more else RAW)
    is_rejected(place.folder, place.run("--out", mine, *more, raw=raw), pattern)


@pytest.mark.parametrize("command", ["run", "verify", "status", "report", "view"])
def test_a_dataset_of_the_first_format_is_named(place: Place, mine: Path, command: str) -> None:
    record = mine / RECORD
    old = json.loads(record.read_text()) | {"format": 1}
    record.write_text(json.dumps(old))
    given = [command, mine] if command != "run" else place.run("--out", mine)
    more = ["--out", place.folder / "report"] if command == "report" else []
    is_rejected(place.folder, [*given, *more], "a dataset of format 1")


@pytest.mark.parametrize("command", ["run", "verify", "status"])
def test_a_bus_that_is_none_is_named(place: Place, mine: Path, command: str) -> None:
    """Its own bus is overwritten with something else."""
    bus_path(mine).write_bytes(b"not a database, but long enough to look like one" * 99)
    run = place.run("--out", mine, "--chunk", "20,24,28", "--json")
    pattern = "bus.sqlite: file is not a database; delete it"
    is_one_line(inside(*(run if command == "run" else [command, mine])), pattern)
    bus_path(mine).unlink()
    assert inside("verify", mine, "--rebuild").code == 0


def test_a_dataset_in_use_names_its_owner(place: Place, mine: Path) -> None:
    with (mine / ".fibstream" / "run.lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.truncate(0)
        lock.write("process 4711 on here\n")
        lock.flush()
        for arguments in (["verify", mine], place.run("--out", mine, "--chunk", "20,24,28")):
            is_rejected(place.folder, arguments, "in use by process 4711 on here")


@pytest.mark.parametrize(
    ("environment", "pattern"),
    [
        ({"FIBSTREAM_WORKER": "2"}, "unknown setting 'worker'"),
        ({"FIBSTREAM_WORKERS": "many"}, "workers = 'many' .from FIBSTREAM_WORKERS"),
    ],
)
def test_a_wrong_setting_in_the_environment(environment: dict[str, str], pattern: str) -> None:
    is_one_line(apart("config", environment=environment), pattern)
