"""Annotated crops in memory: of files, and of phantoms that are made while training goes on."""

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, replace
from hashlib import sha256
from math import ceil, prod
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box, Halo, Index
from fibstream.kernels.schema.annotation import CropRecord
from fibstream.kernels.schema.classes import FINE_IDS, super_class
from fibstream.kernels.schema.shares import CropCounts, count
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.spec import LOOKS, ORGANELLES, varied
from fibstream.services.inference.grey import check_window, contrast
from fibstream.services.inference.port import VOXEL_SIZE_TOLERANCE
from fibstream.volumes.lengths import size_text
from fibstream.volumes.positions import common
from fibstream.volumes.sources import Source, open_volume

from .config import TrainingConfig
from .data import CropConfig, PhantomConfig, VolumeConfig
from .targets import Truth

MAX_CROP = 1 << 29  # voxels of the labels of one crop, and of raw around it
RANDOM = "random"  # of looks: another one for each phantom
MOST_PLACES = 1 << 16  # voxels of a class in a crop that are kept to draw patches around
MOST_SEEN = 128  # voxels an edge of the sample of raw that checkpoints keep
OUTSIDE, INSIDE = 1, 2  # in a truth of one class alone; 0 is not annotated
KNOWN = CropRecord(present_annotated=frozenset(range(1, FINE_IDS + 1)))  # a crop drawn in full

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)  # what is computed of a crop is kept by its identity
class Crop:
    """A crop: grey values, and the truth of each class that it may train.

    Attributes
    ----------
    raw
        uint8 (z, y, x), as the network sees them; voxels of the output.
    begin
        Where the labels begin in ``raw``, in voxels of it.
    factor
        Voxels of the labels along one of raw.
    voxel_nm
        Edges of a voxel of the labels.
    shape
        Edges of what is annotated, in voxels of raw.
    present
        Classes that it trains and contains.
    labels, counts
        Fine ids of the crop and how many voxels each has; None where it has masks alone.
    """

    name: str
    raw: Bytes
    begin: Index
    factor: int
    voxel_nm: tuple[float, float, float]
    truths: Mapping[str, Truth]
    weight: float
    shape: Index
    present: frozenset[str]
    labels: Bytes | None = None
    counts: CropCounts | None = None

    @property
    def bytes(self) -> int:
        """Memory that it takes."""
        labels = {id(truth.labels): truth.labels.nbytes for truth in self.truths.values()}
        return self.raw.nbytes + sum(labels.values())

    def voxels_of(self, name: str) -> NDArray[np.int64]:
        """Return where a class is: some voxels of it, (n, 3) in voxels of raw, z y x."""
        truth = self.truths[name]
        found = np.flatnonzero(np.isin(truth.labels, truth.ids))
        some = found[:: ceil(len(found) / MOST_PLACES) or 1]
        return np.stack(np.unravel_index(some, truth.labels.shape), 1) // self.factor


def load(config: TrainingConfig) -> list[Crop]:
    """Return all crops of files that train a class, in the order of the configuration.

    The weight of a volume is shared among its crops by their size. WrongUse where a class is
    trained by no crop, and no phantom.
    """
    for phantom in config.phantoms:
        phantom_spec(phantom, 0, config.voxel_size_nm)  # refuses what cannot be made
    found = [crop for volume in config.volumes for crop in _of_volume(volume, config)]
    trained = {name for crop in found for name in crop.truths}
    if missing := [n for n in config.outputs if n not in trained and not config.phantoms]:
        raise WrongUse(
            f"class {missing[0]}: no crop trains it: each lacks the annotation of one of its ids, "
            "or a mask"
        )
    return [crop for crop in found if crop.truths]


def _of_volume(volume: VolumeConfig, config: TrainingConfig) -> list[Crop]:
    raw = open_volume(volume.raw, kind="raw", voxel_size_nm=volume.voxel_size_nm)
    _check_size(raw, config.voxel_size_nm)
    if volume.contrast is None and raw.dtype != np.uint8:
        raise WrongUse(f"{raw.name} is {raw.dtype}: give contrast, what becomes black and white")
    low, high = volume.contrast or (0.0, 255.0)
    window = check_window(low, high, f"{raw.name}: contrast")
    with closing(raw):
        crops = [_of_crop(raw, volume, crop, config, window) for crop in volume.crops]
    sizes = [prod(crop.shape) if crop.truths else 0 for crop in crops]
    total = max(sum(sizes), 1)
    return [
        replace(crop, weight=volume.weight * size / total)
        for crop, size in zip(crops, sizes, strict=True)
    ]


def _check_size(raw: Source, wanted: float) -> None:
    most = VOXEL_SIZE_TOLERANCE * (1 + 1e-9) * wanted
    if any(abs(edge - wanted) > most for edge in raw.voxel_size_nm):
        raise WrongUse(
            f"{raw.name} has voxels of {size_text(raw.voxel_size_nm)} nm; the network is trained "
            f"for {wanted:g} nm (allowed: {VOXEL_SIZE_TOLERANCE:.0%} per axis)"
        )


def _of_crop(
    raw: Source, volume: VolumeConfig, crop: CropConfig, config: TrainingConfig,
    window: tuple[float, float],
) -> Crop:  # fmt: skip
    paths = [crop.labels] if crop.labels else list(crop.masks.values())
    labels = _open(paths[0] or "", volume, raw)
    met = common(labels, raw, begins_nm=crop.begins_nm)
    factors = [a / b for a, b in zip(raw.voxel_size_nm, met.voxel_size_nm, strict=True)]
    factor = round(factors[0])
    if labels.voxel_size_nm != met.voxel_size_nm or factor not in (1, 2) or len(set(factors)) > 1:
        raise WrongUse(
            f"{labels.name} has voxels of {size_text(labels.voxel_size_nm)} nm; expected those of "
            f"{raw.name}, {size_text(raw.voxel_size_nm)} nm, or half of them"
        )
    start, shape = met.parts[0].start, met.shape
    if crop.z is not None:
        first, stop = crop.z
        low, high = start[0], start[0] + shape[0]
        if not low <= first < stop <= high:
            raise WrongUse(
                f"{labels.name}: z {first},{stop}: expected slices within {low},{high}, beside raw"
            )
        start, shape = (first, *start[1:]), (stop - first, *shape[1:])
    at = [a + b - c for a, b, c in zip(met.parts[1].start, start, met.parts[0].start, strict=True)]
    if any(n % factor for n in (*at, *shape)):
        raise WrongUse(f"{labels.name}: does not begin and end with voxels of {raw.name}")
    z, y, x = (a + b for a, b in zip(start, shape, strict=True))
    box = Box(start, (z, y, x))
    if prod(box.shape) > MAX_CROP:
        raise WrongUse(f"{labels.name}: a crop of {box.shape} voxels; expected at most {MAX_CROP}")
    truths, fine, counts = _truths(crop, volume, raw, labels, box, config)
    nz, ny, nx = (n // factor for n in shape)
    grey, begin = _raw(
        raw, volume, [n // factor for n in at], (nz, ny, nx), window,
        config.input_edge * config.thinning,
    )  # fmt: skip
    present = frozenset(
        name for name, t in truths.items() if np.isin(np.unique(t.labels), t.ids).any()
    )
    return Crop(
        labels.name, grey, begin, factor, labels.voxel_size_nm, truths, 0.0, (nz, ny, nx), present,
        fine, counts,
    )  # fmt: skip


def _open(path: str, volume: VolumeConfig, raw: Source) -> Source:
    """Open labels; where neither they nor the configuration say their voxel size, it is raw's."""
    try:
        return open_volume(path, kind="labels", voxel_size_nm=None)
    except WrongUse as error:
        if "has no voxel size" not in str(error):
            raise
    return open_volume(path, kind="labels", voxel_size_nm=volume.voxel_size_nm or raw.voxel_size_nm)


def _truths(
    crop: CropConfig, volume: VolumeConfig, raw: Source, labels: Source, box: Box,
    config: TrainingConfig,
) -> tuple[dict[str, Truth], Bytes | None, CropCounts | None]:  # fmt: skip
    outputs = config.outputs

    def inside(path: str, name: str) -> NDArray[np.bool_]:
        source = _open(path, volume, raw)
        with closing(source):
            if (source.shape, source.voxel_size_nm) != (labels.shape, labels.voxel_size_nm):
                raise WrongUse(f"{source.name}: expected the grid of {labels.name}, for {name}")
            values = source.read(box)
        found: NDArray[np.bool_] = values > 0
        if found.all() and values.min() != values.max():
            raise WrongUse(
                f"{source.name}: no voxel is 0, and values differ: expected a mask of {name}, 0 "
                "outside"
            )
        return found

    if crop.masks:
        labels.close()
        return (
            {
                name: Truth(
                    np.where(inside(path, name), INSIDE, OUTSIDE).astype(np.uint8), (INSIDE,)
                )
                for name, path in crop.masks.items()
                if name in outputs
            },
            None,
            None,
        )
    with closing(labels):
        found = labels.read(box)
    if found.size and int(found.max()) > FINE_IDS:
        raise WrongUse(
            f"{labels.name}: label {found.max()}; expected fine ids from 0 to {FINE_IDS}"
        )
    fine = found.astype(np.uint8)
    record = KNOWN if crop.record == "all" else CropRecord.of(crop.record or {})
    if wrong := record.absent_annotated & set(np.unique(fine).tolist()):
        raise WrongUse(
            f"{labels.name}: label {min(wrong)} is drawn; the record has it in absent_annotated"
        )
    truths: dict[str, Truth] = {}
    for name in outputs:
        of = super_class(name)
        drawn = set(of.ids) <= record.present_annotated
        if name in crop.separate and not drawn:
            raise WrongUse(f"{labels.name}: separate {name}: the record has it not as annotated")
        if name in crop.annotated:
            known = inside(crop.annotated[name], name)
            own = np.where(np.isin(fine, of.ids), INSIDE, OUTSIDE) * known
            truths[name] = Truth(own.astype(np.uint8), (INSIDE,))
        elif name in crop.separate:
            own = np.where(inside(crop.separate[name], name), INSIDE, OUTSIDE) * (fine > 0)
            truths[name] = Truth(own.astype(np.uint8), (INSIDE,), of.thin_nm)
        elif record.trains(name):
            truths[name] = Truth(fine, of.ids)
    return truths, fine, count(labels.name, fine, record)


def _raw(
    raw: Source, volume: VolumeConfig, at: list[int], shape: Index,
    window: tuple[float, float], around: int,
) -> tuple[Bytes, Index]:  # fmt: skip
    """Return raw of a crop and what lies around it, and where the crop begins therein."""
    z, y, x = at
    box = Box((z, y, x), (z + shape[0], y + shape[1], x + shape[2]))
    wide = box.grow(Halo((around,) * 3, (around,) * 3)).meet(Box((0, 0, 0), raw.shape))
    if prod(wide.shape) > MAX_CROP:
        raise WrongUse(f"{raw.name}: raw of {wide.shape} voxels; expected at most {MAX_CROP}")
    grey = contrast(raw.read(wide), *window, invert=volume.invert)
    if np.ptp(grey) == 0:
        low, high = window
        raise WrongUse(
            f"{raw.name}: contrast {low:g},{high:g} makes one grey value of all around a crop"
        )
    bz, by, bx = (a - b for a, b in zip(box.start, wide.start, strict=True))
    return grey, (bz, by, bx)


def phantom_spec(config: PhantomConfig, number: int, voxel_nm: float) -> PhantomSpec:
    """Return the specification of one of the phantoms; raise WrongUse where it cannot be made."""
    if config.look not in (*LOOKS, RANDOM):
        raise WrongUse(f"look {config.look}: expected {', '.join((*LOOKS, RANDOM))}")
    seed = config.seed + number % config.count
    look = varied(seed) if config.look == RANDOM else LOOKS[config.look]
    return PhantomSpec(
        config.phantom, (voxel_nm,) * 3, seed, config.organelles or ORGANELLES,
        replace(look, jitter=config.jitter), config.tissue,
    )  # fmt: skip


def made(config: PhantomConfig, number: int, voxel_nm: float, outputs: tuple[str, ...]) -> Crop:
    """Return a phantom as a crop that is annotated in full."""
    phantom = Phantom(phantom_spec(config, number, voxel_nm))
    image, voxels = phantom.image_and_voxels(phantom.box())
    fine = phantom.labels_of(voxels)
    name = f"phantom {config.seed + number % config.count}"
    truths = {output: Truth(fine, super_class(output).ids) for output in outputs}
    there = np.unique(fine)
    present = frozenset(n for n, t in truths.items() if np.isin(there, t.ids).any())
    size = (voxel_nm,) * 3
    counts = count(name, fine, KNOWN)
    return Crop(
        name,
        image,
        (0, 0, 0),
        1,
        size,
        truths,
        config.weight,
        config.phantom,
        present,
        fine,
        counts,
    )


def memory(crops: list[Crop]) -> int:
    """Return the bytes that crops take together."""
    return sum(crop.bytes for crop in crops)


class Seen(NamedTuple):
    """What a checkpoint keeps of the data: a sample of raw, (z, y, x), and a digest of it all."""

    sample: Bytes
    digest: str


def seen(crops: list[Crop], config: TrainingConfig) -> Seen:
    """Return what a checkpoint keeps: raw before any thinning, of the largest crop or a phantom."""
    digest = sha256()
    for crop in crops:
        labels = {id(truth.labels): truth.labels for truth in crop.truths.values()}
        for array in (crop.raw, *labels.values()):
            digest.update(f"{array.shape} {crop.begin}".encode())
            digest.update(np.ascontiguousarray(array).data)
    if not crops:
        crops = [made(config.phantoms[0], 0, config.voxel_size_nm, config.outputs)]
    raw = max((crop.raw for crop in crops), key=lambda raw: raw.size)
    z, y, x = (max((n - MOST_SEEN) // 2, 0) for n in raw.shape)
    sample = raw[z : z + MOST_SEEN, y : y + MOST_SEEN, x : x + MOST_SEEN]
    return Seen(np.ascontiguousarray(sample), digest.hexdigest())


def described(config: TrainingConfig) -> list[Crop]:
    """Return all crops of the configuration, and the first cell of each of its phantoms."""
    found = [crop for volume in config.volumes for crop in _of_volume(volume, config)]
    return found + [made(p, 0, config.voxel_size_nm, config.outputs) for p in config.phantoms]
