"""The picture of one organelle of a dataset whose components were divided, if there is one."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fibstream.core.dataset import Dataset
from fibstream.core.errors import Poison
from fibstream.core.grid import Box
from fibstream.core.ports import Files
from fibstream.store.store import Changed
from fibstream.volumes.sources import Source

from ..colours import Colouring
from ..hashes import Track, untracked
from ..planes import shapes
from .divided import Divided, before_and_after, open_divided
from .picture import Subject, paint
from .plane import candidates, chosen_component, touching_most

log = logging.getLogger(__name__)


def draw_division(
    out: Path, dataset: Dataset, files: Files, name: str, rows: Sequence[Mapping[str, Any]],
    colours_of: Colouring, *, predicted: str = "", truth: Source | None = None,
    track: Track = untracked,
) -> Image.Image | None:  # fmt: skip
    """Draw how the components of an organelle were divided; None where none was, or is known yet.

    Parameters
    ----------
    rows
        Of the organelle's table: ``id``, and ``min_*`` and ``max_*`` along z, y and x.
    colours_of
        Of its objects.
    predicted
        The prediction that it is made of.
    truth
        On the grid of the dataset.
    """
    try:
        divided = open_divided(out, dataset, files, name, [row["id"] for row in rows])
        if divided is None:
            return None
        try:
            return _drawn(out, dataset, name, rows, colours_of, divided, predicted, truth, track)
        finally:
            divided.close()
    except (Changed, Poison) as error:  # it grows: the next report will show it
        log.warning("%s: changed while it was read, no picture of its components: %s", name, error)
        return None


def _drawn(
    out: Path, dataset: Dataset, name: str, rows: Sequence[Mapping[str, Any]],
    colours_of: Colouring, divided: Divided, predicted: str, truth: Source | None, track: Track,
) -> Image.Image | None:  # fmt: skip
    component = chosen_component(divided)
    if component is None:
        return None
    chosen = [row for row in rows if row["id"] in divided.shares[component].objects]
    low, high = (
        np.array([[row[f"{end}_{axis}"] for axis in "zyx"] for row in chosen], np.int64)
        for end in ("min", "max")
    )
    ids = np.array([row["id"] for row in chosen], np.uint64)

    def objects(box: Box) -> NDArray[np.uint64]:
        names = divided.read(box, "object")
        return np.where(np.isin(names, ids), names, np.uint64(0))

    planes = candidates(low, high, shapes(out / f"fragments/{name}")[0])
    plane = touching_most(planes, objects)
    scores = seen = None
    if truth is not None:
        scores = before_and_after(divided, out / f"labels/{name}", truth, track)
        seen = truth.read(plane.box).squeeze(plane.axis)
    subject = Subject(
        out, dataset, name, predicted, divided, component, plane, colours_of, scores, seen
    )
    return paint(subject)
