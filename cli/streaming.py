"""What `run` and `demo` share: check everything, then stream on the chosen bus."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import cast, get_args

from fibstream.app.design import design, wanted_of
from fibstream.app.pipelines import PredictionEntry, read_pipeline
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.landing import Order
from fibstream.services.ingest.edges.stored import StoredPrediction, check_length, open_stored
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.volumes.masks import with_mask
from fibstream.volumes.sources import Source, open_volume

from .flags import parse_chunk, parse_factors
from .progress import Display, mask_read
from .run import Report, check_output, run


def stream(
    *, raw: str, pipeline: str, out: Path, voxel_size_nm: tuple[float, float, float] | None,
    chunk: str | None, order: str, seed: int, bus: str | None, contrast: str | None, invert: bool,
    settings: Settings, quiet: bool, absent_value: float | None = None,
    downsample: str | None = None, absent_mask: str | None = None,
) -> Report:  # fmt: skip
    """Stream a volume through a pipeline; raise WrongUse before anything is written."""
    if order not in get_args(Order):
        raise WrongUse(f"--order {order}: expected {', '.join(get_args(Order))}")
    edges, factors = parse_chunk(chunk), parse_factors(downsample)
    check_output(out)
    recipe = read_pipeline(pipeline)
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
        for each in stored:
            if each.name in declared:
                check_length(each.name, 0.0, each.path, each.length_nm)
        yield stored
