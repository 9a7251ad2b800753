"""Commands without services: block by block, the same pure functions, whole or not at all."""

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from fibstream.app.design import fitting_chunk, make_engine, parse_contrast
from fibstream.core.dataset import RECORD, Dataset, clip_chunk
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Grid, Index
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Input, Output, Patch
from fibstream.kernels import scores as scoring
from fibstream.kernels.relabel import relabel
from fibstream.services.analysis.measure import HALO, measure
from fibstream.services.analysis.table import cosem_csv, finish, to_csv, to_parquet
from fibstream.services.analysis.totals import RowTotals
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.inference.grey import contrast as to_grey
from fibstream.services.inference.port import check_voxel_size
from fibstream.services.inference.tiling import halo_of, predict
from fibstream.services.refine.cut import cut_fragments, halo
from fibstream.services.refine.objects import ObjectFold
from fibstream.services.refine.recipe import RECIPES, resolve
from fibstream.store import ngff
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_chunk
from .progress import track

log = logging.getLogger(__name__)

BLOCK: Index = (128, 128, 128)  # voxels read at a time where no chunks are written
Voxel = tuple[float, float, float]


class Volume:
    """A new multiscale group in a Zarr store; `blocks` are written whole, then moved into place."""

    def __init__(self, folder: Path, dataset: Dataset, outputs: Sequence[Output], key: str) -> None:
        self.store = Store(LocalFiles(folder), dataset.grid)
        self._outputs = {output.name: output for output in outputs}
        self._key = key
        arrays = [(o.name, o.dtype, o.pyramid is not None) for o in outputs]
        for path, document in ngff.documents(dataset, arrays).items():
            self.store.files.put(path, canonical(document))

    def write(self, name: str, index: Index, voxels: np.ndarray[Any, Any]) -> str:
        """Write one chunk of one output and return its content hash."""
        stamp = Stamp(name, index, self._key, "")
        encoded = self.store.encode(self._outputs[name], voxels, stamp)
        for item, data, _ in encoded:
            self.store.files.put(item.path, data)
        return encoded[0][2]


@contextlib.contextmanager
def new_groups(out: Path, groups: Sequence[str]) -> Iterator[Path]:
    """Give a scratch folder beside ``out``; at the end its groups take their place in ``out``.

    So do files that lie beside them.

    Refuses an ``out`` that is a dataset of ``run``, or not a Zarr group. When anything fails
    nothing is left.
    """
    if (out / RECORD).exists():
        raise WrongUse(f"--out {out}: is a dataset of fibstream run; expected another path")
    if out.exists() and not (out / "zarr.json").is_file():
        raise WrongUse(f"--out {out}: exists and is not a Zarr group; expected a new path")
    parent = out.absolute().parent
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        raise WrongUse(f"--out {out}: {parent} is not a folder that can be written")
    scratch = parent / f".{out.name}.{os.getpid()}.part"
    try:
        scratch.mkdir()
        yield scratch
        _move(scratch, out, groups)
    except OSError as error:
        raise WrongUse(f"--out {out}: {error.strerror}") from error
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _move(scratch: Path, out: Path, groups: Sequence[str]) -> None:
    shutil.rmtree(scratch / PRIVATE, ignore_errors=True)
    if not out.exists():
        scratch.rename(out)
        return
    files = [path.name for path in scratch.iterdir() if path.is_file() and path.name != "zarr.json"]
    for name in files:
        (scratch / name).replace(out / name)
    for group in groups:
        target = out / group
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)
        (scratch / group).rename(target)
        parent = Path(group).parent / "zarr.json"
        if not (out / parent).exists():
            (scratch / parent).rename(out / parent)


def _patch(source: Source, box: Box) -> Patch:
    return Patch(source.read(box), box)


def _dataset(name: str, source: Source, chunk: Index, dtype: str) -> Dataset:
    return Dataset(
        name=name, shape=source.shape, chunk=chunk, dtype=dtype,
        voxel_size_nm=source.voxel_size_nm, contrast=(0, 255),
    )  # fmt: skip


def predict_volume(
    raw: str, model: str, out: Path, *, voxel_size_nm: Voxel | None, chunk: str | None,
    contrast: str | None, invert: bool, threads: int,
) -> list[str]:  # fmt: skip
    """Predict every class of a network; return the groups that were written."""
    path = find_model(model)
    source = open_volume(raw, kind="raw", voxel_size_nm=voxel_size_nm)
    spec = read_model(path)
    check_voxel_size(spec, source.voxel_size_nm)
    edges = fitting_chunk(parse_chunk(chunk), source.shape, spec)
    low, high = parse_contrast(contrast, source)
    engine = make_engine(path, max(threads, os.cpu_count() or 1))
    dataset = _dataset(out.name, source, edges, "uint8")
    outputs = [Output(f"predictions/{name}", "uint8", "mean") for name in spec.classes]
    names = [output.name for output in outputs]
    key = digest(canonical([spec.sha256, dict(engine.profile), [low, high], invert]))
    with new_groups(out, names) as scratch:
        volume = Volume(scratch, dataset, outputs, key)
        for index in track(list(dataset.grid.indices()), "predicted"):
            raw_patch = _patch(source, dataset.grid.block(index, halo_of(spec)))
            grey = to_grey(raw_patch.array, low, high, invert=invert)
            found = predict(Patch(grey, raw_patch.box), dataset.grid.box(index), engine)
            for name, voxels in zip(names, found, strict=True):
                volume.write(name, index, voxels)
    return names


def parse_predictions(given: Sequence[str], organelle: str) -> tuple[str, str]:
    """Return class and path of the one prediction that a recipe takes."""
    pairs = [text.partition("=")[::2] for part in given for text in part.split(",")]
    wanted = RECIPES[organelle].predicted if organelle in RECIPES else None
    if not all(name and path for name, path in pairs):
        raise WrongUse(f"--prediction {','.join(given)}: expected CLASS=PATH")
    chosen = [pair for pair in pairs if wanted in (None, pair[0])]
    if len(chosen) != 1:
        raise WrongUse(
            f"--prediction {','.join(given)}: recipe {organelle} takes one prediction"
            + (f", of class {wanted}" if wanted else "")
        )
    return chosen[0]


def parse_overrides(given: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of ``--set KEY=VALUE``."""
    found = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise WrongUse(f"--set {text}: expected KEY=VALUE")
        try:
            number = yaml.safe_load(value)
            # YAML's numbers need a point before the exponent; people write 1e6.
            found[name] = float(value) if isinstance(number, str) else number
        except (yaml.YAMLError, ValueError):
            found[name] = value
    return found


def refine_prediction(
    prediction: Sequence[str], organelle: str, out: Path, *, voxel_size_nm: Voxel | None,
    chunk: str | None, overrides: Sequence[str],
) -> str:  # fmt: skip
    """Label the objects of a prediction; return the group that was written."""
    settings = resolve(organelle, parse_overrides(overrides))
    _, path = parse_predictions(prediction, organelle)
    source = open_volume(path, kind="prediction", voxel_size_nm=voxel_size_nm)
    voxel = source.voxel_size_nm
    edges = fitting_chunk(parse_chunk(chunk), source.shape, None)
    dataset = _dataset(out.name, source, edges, "uint64")
    pieces = Output("fragments", "uint64")
    labels = Output(f"labels/{organelle}", "uint64", "mode")
    key = digest(canonical([organelle, settings.model_dump(mode="json")]))
    reach, fold, known = halo(settings, voxel), ObjectFold(settings, voxel), {}
    indices = list(dataset.grid.indices())
    with new_groups(out, [labels.name]) as scratch:
        volume = Volume(scratch, dataset, [pieces, labels], key)
        for index in track(indices, "fragments"):
            patch = _patch(source, dataset.grid.block(index, reach))
            found, summary = cut_fragments(patch, dataset.grid.box(index), settings, voxel)
            fold.put(index, summary)
            known[index] = (volume.write(pieces.name, index, found), summary["ids"])
        for index in track(indices, "labels"):
            content, ids = known[index]
            reading = Input(pieces.name, pieces.name, pieces.dtype)
            found = volume.store.read(reading, dataset.grid.box(index), {index: content}).array
            volume.write(labels.name, index, relabel(found, ids, fold.mapping(index)))
        shutil.rmtree(scratch / pieces.name)
    return labels.name


def _blocks(source: Source) -> Grid:
    return Grid(source.shape, clip_chunk(BLOCK, source.shape))


def measure_labels(
    labels: str, out: Path, *, raw: str | None, voxel_size_nm: Voxel | None, profile: str | None
) -> int:
    """Write one row per object; return how many there are."""
    if profile not in (None, "cosem"):
        raise WrongUse(f"--profile {profile}: expected cosem (cellmap is not there yet)")
    if out.suffix not in (".csv", ".parquet") or (profile and out.suffix != ".csv"):
        raise WrongUse(f"--out {out}: expected a name that ends in .csv" + (
            "" if profile else " or .parquet"))  # fmt: skip
    check_file(out)
    source = open_volume(labels, kind="labels", voxel_size_nm=voxel_size_nm)
    grey = None
    if raw is not None:
        grey = open_volume(raw, kind="raw", voxel_size_nm=source.voxel_size_nm)
        _same_shape(source, grey)
    fold, grid = RowTotals(), _blocks(source)
    for index in track(list(grid.indices()), "measured"):
        box = grid.box(index)
        values = None if grey is None else grey.read(box)
        fold.put(index, measure(_patch(source, grid.block(index, HALO)), box, values))
    table = finish(fold.total(), source.voxel_size_nm, raw=grey is not None)
    if profile == "cosem":
        data = cosem_csv(table, source.voxel_size_nm)
    elif out.suffix == ".csv":
        data = to_csv(table)
    else:
        data = to_parquet(table, {"voxel_size_nm": str(list(source.voxel_size_nm))})
    write_file(out, data)
    return int(table.num_rows)


def evaluate_volumes(
    truth: str, test: str, *, threshold: int | None, instances: bool, voxel_size_nm: Voxel | None
) -> Mapping[str, Any]:
    """Return the scores of a segmentation; those of its objects have names of their own."""
    one = open_volume(truth, kind="any", voxel_size_nm=voxel_size_nm or _any_size(truth))
    two = open_volume(test, kind="any", voxel_size_nm=voxel_size_nm or _any_size(test))
    _same_shape(one, two)
    counts, pairs = scoring.Overlap(), scoring.Pairs() if instances else None
    grid = _blocks(one)
    for index in track(list(grid.indices()), "compared"):
        a, b = one.read(grid.box(index)), two.read(grid.box(index))
        counts += scoring.count(a, b, threshold)
        if pairs is not None:
            pairs += scoring.count_pairs(a, b)
    found: dict[str, Any] = dict(scoring.scores(counts))
    if pairs is not None:
        found["instances"] = told = scoring.instance_scores(pairs)
        if told["tp"] + told["fn"] == 1 < told["tp"] + told["fp"]:
            log.warning("%s holds one object: a mask? --instances needs a number for each", truth)
    return found


def _any_size(path: str) -> Voxel | None:
    """Scores count voxels: a volume without a voxel size is as good as any."""
    try:
        open_volume(path, kind="any").close()
    except WrongUse as error:
        if "no voxel size" in str(error):
            return (1.0, 1.0, 1.0)
        raise
    return None


def _same_shape(one: Source, two: Source) -> None:
    if one.shape != two.shape:
        raise WrongUse(f"{two.name} is {two.shape}; {one.name} is {one.shape}: expected the same")


def check_file(path: Path) -> None:
    """Refuse a file that cannot be written, before its content is computed."""
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise WrongUse(f"--out {path}: expected a new file in a folder that can be written")


def write_file(path: Path, data: bytes) -> None:
    """Write a file whole, or not at all."""
    part = path.parent / f".{path.name}.{os.getpid()}.part"
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise WrongUse(f"--out {path}: {error.strerror}") from error
