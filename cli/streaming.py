"""What `run` and `demo` share: check everything, then stream on the chosen bus."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import NamedTuple, cast, get_args

from fibstream.app.design import design
from fibstream.app.engines import wanted_of
from fibstream.app.pipelines import Pipeline, PredictionEntry, read_pipeline
from fibstream.app.supplied import only, with_networks, with_stored
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.runtime.settings import Settings
from fibstream.services.inference.edges.model import find_model, read_model
from fibstream.services.ingest.edges.landing import Order
from fibstream.services.ingest.edges.stored import StoredPrediction, check_length, open_stored
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.masks import with_mask
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_chunk, parse_factors
from .progress import Display, mask_read
from .run import Report, check_output, run


class Beside(NamedTuple):
    """What flags give a pipeline: networks, organelles that are wanted, a folder of predictions."""

    models: Sequence[str] = ()
    organelles: str | None = None
    predictions: Path | None = None


def supplied(pipeline: Pipeline, beside: Beside) -> Pipeline:
    """Return a pipeline with what flags give it; WrongUse for what does not fit."""
    if beside.models:
        classes = {given: read_model(find_model(given)).classes for given in beside.models}
        if len(classes) < len(beside.models):
            raise WrongUse(f"--model {beside.models[-1]}: given twice")
        pipeline = with_networks(pipeline, classes)
    if beside.organelles is not None:
        pipeline = only(pipeline, [name.strip() for name in beside.organelles.split(",")])
    return pipeline if beside.predictions is None else with_stored(pipeline, beside.predictions)


def stream(
    *, raw: str, pipeline: str, out: Path, voxel_size_nm: tuple[float, float, float] | None,
    chunk: str | None, order: str, seed: int, bus: str | None, contrast: str | None, invert: bool,
    settings: Settings, quiet: bool, absent_value: float | None = None,
    downsample: str | None = None, absent_mask: str | None = None, beside: Beside | None = None,
) -> Report:  # fmt: skip
    """Stream a volume through a pipeline; raise WrongUse before anything is written."""
    if order not in get_args(Order):
        raise WrongUse(f"--order {order}: expected {', '.join(get_args(Order))}")
    edges, factors = parse_chunk(chunk), parse_factors(downsample)
    check_output(out)
    recipe = supplied(read_pipeline(pipeline), beside or Beside())
    finest = open_volume(raw, kind="raw", voxel_size_nm=voxel_size_nm)
    source = with_mask(finest, absent_mask, factors, absent_value, mask_read)
    with closing(source), opened(recipe.predictions, source, factors) as stored:
        designed = design(
            out.name.removesuffix(".zarr"), source, recipe, chunk=edges, contrast=contrast,
            invert=invert, absent_value=absent_value, threads=settings.threads, stored=stored,
            factors=factors, wanted=wanted_of(settings), there=_there(out),
        )  # fmt: skip
        return run(
            out, designed, source, str(raw), order=cast("Order", order), seed=seed,
            settings=settings, display=Display(quiet=quiet), bus_url=bus, stored=stored,
            mask=absent_mask,
        )  # fmt: skip


def _there(out: Path) -> Dataset | None:
    """Return the dataset that a run goes on with; None where it begins one."""
    return read_dataset(LocalFiles(out)) if (out / RECORD).is_file() else None


@contextmanager
def opened(
    entries: Sequence[PredictionEntry], raw: Source, factors: Index
) -> Iterator[Sequence[StoredPrediction]]:
    """Open the predictions of a pipeline that are stored at a path, and close them."""
    with ExitStack() as stack:
        stored = [
            stack.enter_context(closing(open_stored(
                entry.name, entry.path, labels=entry.holds_labels, raw=raw, factors=factors,
                mask=entry.made_of == "mask",
            )))
            for entry in entries
            if entry.path
        ]  # fmt: skip
        declared = {entry.name for entry in entries if entry.given_as == "probability"}
        lengths_nm = {entry.name: entry.squash_nm for entry in entries if entry.squash_nm}
        lengths_nm |= dict.fromkeys(declared, 0.0)
        for each in stored:
            if each.name in lengths_nm:
                check_length(each.name, lengths_nm[each.name], each.path, each.length_nm)
        yield stored
