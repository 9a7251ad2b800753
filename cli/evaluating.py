"""The work of `fibstream evaluate`: two volumes compared by position, where both lie."""

import logging
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.app.evaluation.comparison import Comparison
from fibstream.app.evaluation.store import Facts, append, check_truth, read, rows_of
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.kernels.metrics import Limits
from fibstream.kernels.schema.classes import FINE_IDS, SUPER, members, super_class
from fibstream.volumes.lengths import Size, agree, size_text
from fibstream.volumes.positions import check_same_grid, common
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .outputs import check_file
from .progress import track

log = logging.getLogger(__name__)

MOST_NM = 1e9  # of a tolerance or clip
MOST_DILATED = 64  # voxels that a truth is dilated by: blocks are read with so many around
UNSIZED: Size = (1.0, 1.0, 1.0)  # compared by identity: of a volume that states no voxel size


def evaluate_volumes(
    truth: str, test: str, *, threshold: float | None, instances: bool, voxel_size_nm: Size | None,
    begins_nm: Size | None = None, mask: str | None = None, limits: Limits | None = None,
    fine_class: str | None = None,
    dilate_nm: float = 0.0,
) -> dict[str, Any]:  # fmt: skip
    """Return the scores of a segmentation; those of its objects have names of their own.

    ``voxel_size_nm`` is that of a volume that states none; ``begins_nm`` leads from the corner of
    the test volume to that of the truth, where the files do not state their places. ``mask`` is
    where the truth is annotated; the truth was drawn too thin by ``dilate_nm``. With ``fine_class``
    it holds the fine ids of the schema, of which this class is inside; where they are 0 nothing is
    annotated.
    """
    if fine_class is not None and instances:
        raise WrongUse("--class: the ids of a class are no objects; leave --instances away")
    # Labels first: of a dataset they are what is scored, and no label is negative.
    ids: tuple[Kind, ...] = ("labels",) if instances else ("labels", "any")
    # Opened as a prediction, bytes of COSEM's other scale are converted.
    scored: tuple[Kind, ...] = ids if threshold is None else ("prediction", "any")
    one, two = _open(truth, voxel_size_nm, ids), _open(test, voxel_size_nm, scored)
    with ExitStack() as stack:
        for source in (one, two):
            stack.enter_context(closing(source))
        if threshold is not None:
            _check_threshold(threshold, two)
        elif two.declared == "prediction":
            raise WrongUse(
                f"{two.name} states that it is a prediction: give --threshold, of distances 127, "
                "which is the surface"
            )
        if one.declared == "prediction":
            raise WrongUse(f"{one.name} states that it is a prediction; expected labels as truth")
        _settle_sizes(one, two, voxel_size_nm)
        sized = one.voxel_size_nm is not UNSIZED or two.voxel_size_nm is not UNSIZED
        met = common(one, two, begins_nm=begins_nm)
        if dilate_nm:
            _check_reach(dilate_nm, one)
        annotated = None if mask is None else stack.enter_context(closing(_open_mask(mask, one)))
        there = np.zeros(256, np.bool_)
        if fine_class is not None:
            one, annotated = _class_of(one, fine_class, there), _drawn(one, annotated)
        comparison = Comparison(
            one, two, met, track, threshold, annotated, sized, limits or Limits(), dilate_nm
        )
        scores = comparison.scores(instances=instances)
        if fine_class is not None and mask is None:
            _tell_undrawn(one.name, fine_class, there)
        return scores


def _tell_undrawn(truth: str, name: str, there: NDArray[np.bool_]) -> None:
    """Warn where some ids of a class occur, and others do not."""
    ids = sorted(super_class(name).ids)
    lacking = [fine for fine in ids if not there[fine]]
    if 0 < len(lacking) < len(ids):
        log.warning(
            "%s: of the ids %s no %s occurs: if nobody drew what they stand for, it counts as "
            "outside; give --mask", truth, ", ".join(map(str, ids)), ", ".join(map(str, lacking)),
        )  # fmt: skip


def _class_of(truth: Source, name: str, there: NDArray[np.bool_]) -> Source:
    """Return where fine ids are those of a class; WrongUse for other ids, once they are read.

    In ``there`` the ids are marked that are met.
    """
    super_class(name)  # refuses unknown names before anything is read
    if truth.dtype.kind not in "bui":
        raise WrongUse(
            f"{truth.name} is {truth.dtype}; expected fine ids, 0 to {FINE_IDS}, of --class"
        )

    def fetch(box: Box) -> NDArray[np.bool_]:
        found = truth.read(box)
        if found.size and int(found.max()) > FINE_IDS:
            raise WrongUse(
                f"{truth.name}: label {found.max()}; expected fine ids, 0 to {FINE_IDS}, of --class"
            )
        fine = found.astype(np.uint8)
        there[:] |= np.bincount(fine.ravel(), minlength=256) > 0
        return members(fine, name)

    return replace(truth, name=f"{truth.name} {name}", dtype=np.dtype(np.bool_), fetch=fetch)


def _drawn(truth: Source, mask: Source | None) -> Source:
    """Return where fine ids were drawn, and the mask says so too."""

    def fetch(box: Box) -> NDArray[np.bool_]:
        drawn: NDArray[np.bool_] = truth.read(box) != 0
        return drawn if mask is None else drawn & (mask.read(box) != 0)

    name = f"{truth.name}, where an id is drawn"
    return replace(truth, name=name, dtype=np.dtype(np.bool_), fetch=fetch)


def _open_mask(path: str, truth: Source) -> Source:
    """Open where the truth is annotated; WrongUse unless it lies where the truth does."""
    size = None if truth.voxel_size_nm is UNSIZED else truth.voxel_size_nm
    mask = _open(path, size, ("labels",))
    if mask.voxel_size_nm is UNSIZED:
        mask.voxel_size_nm = truth.voxel_size_nm
    check_same_grid(truth, mask)
    return mask


def check_limits(limits: Limits) -> Limits:
    """Return the parameters of metrics; WrongUse unless they are lengths of 0 up to 1 m."""
    for flag, value in zip(("--tolerance-nm", "--clip-nm"), limits, strict=True):
        if not 0 <= value <= MOST_NM:
            raise WrongUse(f"{flag} {value:g}: expected 0 to {MOST_NM:g} nm")
    return limits


def check_dilation(dilate_nm: float | None, label: str | None, *, instances: bool) -> float:
    """Return by how much a truth is dilated, in nm; WrongUse where it must be said, or cannot be.

    What one class was drawn too thin by is the schema's; of a class that was, a store takes nothing
    that does not say whether this truth was.
    """
    thin = SUPER[label].thin_nm if label is not None and label in SUPER else 0.0
    if dilate_nm is None and thin:
        raise WrongUse(
            f"class {label}: its published truth is drawn {thin:g} nm too thin; give --dilate-nm "
            f"{thin:g}, or 0 if yours is not"
        )
    length = dilate_nm or 0.0
    if not 0 <= length <= MOST_NM:
        raise WrongUse(f"--dilate-nm {length:g}: expected 0 to {MOST_NM:g} nm")
    if length and instances:
        raise WrongUse("--dilate-nm: dilates a mask, and objects may touch; not with --instances")
    return length


def _check_reach(dilate_nm: float, truth: Source) -> None:
    """Raise WrongUse for a length that the truth's voxels do not count, or count too often."""
    if truth.voxel_size_nm is UNSIZED:
        raise WrongUse(f"--dilate-nm: {truth.name} states no voxel size: give --voxel-size-nm")
    if dilate_nm > MOST_DILATED * min(truth.voxel_size_nm):
        raise WrongUse(
            f"--dilate-nm {dilate_nm:g}: {truth.name} has voxels of "
            f"{size_text(truth.voxel_size_nm)} nm; expected at most {MOST_DILATED} voxels"
        )
    if dilate_nm < min(truth.voxel_size_nm):
        raise WrongUse(
            f"--dilate-nm {dilate_nm:g}: {truth.name} has voxels of "
            f"{size_text(truth.voxel_size_nm)} nm, so nothing would be dilated; expected 0, or one "
            "voxel at least"
        )


def facts_of(
    store: Path | None, *, label: str | None, crop: str | None, threshold: float | None,
    truth: str, **others: Any,
) -> Facts | None:  # fmt: skip
    """Return what a store is told of a comparison; None without a store."""
    given = {"label": label, "crop": crop, **others}
    told = [f"--{name.replace('_', '-')}" for name, value in given.items()
            if value is not None and name != "path"]  # fmt: skip
    if store is None:
        if told:
            raise WrongUse(f"{told[0]}: is for --store FILE.parquet")
        return None
    if not label or not crop:
        raise WrongUse(f"--store {store}: expected --label and --crop too")
    if store.exists():
        check_truth(read(store), crop, label, truth)  # refused before the work
    else:
        check_file(store, "--store")
    return Facts(label=label, crop=crop, threshold=threshold, refined=threshold is None, **others)


def add_to_store(
    store: Path, facts: Facts, metrics: Mapping[str, float | None], limits: Limits,
    dilate_nm: float, truth: str,
) -> None:  # fmt: skip
    """Add the metrics of a comparison to a store; WrongUse where none could be computed."""
    if not metrics:
        raise WrongUse(f"--store {store}: no voxel size is known: give --voxel-size-nm Z,Y,X")
    append(store, rows_of(facts, metrics, limits, dilate_nm), truth)


def truth_text(truth: str, fine_class: str | None, mask: str | None) -> str:
    """Return what was compared with, as a store keeps it."""
    within = "" if mask is None else f" within {mask}"
    return truth + ("" if fine_class is None else f" {fine_class}") + within


def label_of(label: str | None, fine_class: str | None, store: Path | None) -> str | None:
    """Return the label that a store is told: that of ``--class``; WrongUse for another one."""
    if None not in (label, fine_class) and label != fine_class:
        raise WrongUse(f"--label {label}: the truth is of --class {fine_class}; expected one name")
    return fine_class if label is None and store is not None else label


def _open(path: str, given: Size | None, kinds: Sequence[Kind]) -> Source:
    """Open a volume; its size is the one given where it may be, else its own, else ``UNSIZED``."""
    wrong = []
    for kind, size in product(kinds, dict.fromkeys((given, None, UNSIZED))):
        try:
            source = open_volume(path, kind=kind, voxel_size_nm=size)
        except WrongUse as error:
            wrong.append(error)
            continue
        if size is UNSIZED:
            source.voxel_size_nm = UNSIZED
        return source
    raise wrong[0]


def _check_threshold(threshold: float, test: Source) -> None:
    """Raise WrongUse for a threshold that divides no values of the volume's type."""
    given = f"--threshold {threshold:g}"
    if not np.isfinite(threshold):
        raise WrongUse(f"{given}: expected a finite number")
    if test.dtype.kind in "ui":
        limits = np.iinfo(test.dtype)
        if not limits.min < threshold <= limits.max:
            raise WrongUse(
                f"{given}: {test.name} is {test.dtype}; expected a value above {limits.min}, up to "
                f"{limits.max}"
            )


def _settle_sizes(one: Source, two: Source, given: Size | None) -> None:
    """Give a volume without a voxel size that of the other; WrongUse where neither is the given."""
    stated = [s.voxel_size_nm for s in (one, two) if s.voxel_size_nm is not UNSIZED]
    if given is not None and not any(agree(given, size) for size in stated):
        raise WrongUse(
            f"--voxel-size-nm {size_text(given)}: {one.name} has voxels of "
            f"{size_text(one.voxel_size_nm)} nm, {two.name} of {size_text(two.voxel_size_nm)} nm"
        )
    for source, other in ((one, two), (two, one)):
        if source.voxel_size_nm is UNSIZED and stated:
            if source.shape != other.shape:
                raise WrongUse(
                    f"{source.name} states no voxel size, and is {source.shape}; {other.name} is "
                    f"{other.shape}: give --voxel-size-nm Z,Y,X, that of {source.name}"
                )
            source.voxel_size_nm = stated[0]
