"""A light field: a phantom and its neighbours, stained, warped and imaged by a light microscope."""

import math
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box, Index
from fibstream.phantom.hashing import Draw, key_of
from fibstream.phantom.phantom import Phantom
from fibstream.phantom.scene import Scene, build
from fibstream.phantom.shapes import Floats
from fibstream.phantom.spec import MAX_EDGE_NM, MIN_EDGE_NM, PhantomSpec

from . import image
from .drawing import Frame, draw_frame
from .dyes import MEMBRANES, Dyes, dyes_on
from .modality import MODALITIES
from .warp import Warp

RIM = 0.41  # of the longer edge: how far neighbours reach on every side, in y and x
MAX_RIM_NM = 7000.0
VOXEL_NM = 16.0  # unit of the size of a neighbour, which is never rendered
STAINED = ("nucleus", "mito", "er")  # organelles of a neighbour
UNIFORMITY = 0.4  # standard deviation of the logarithm of an organelle's brightness
MAX_VOXELS = 1 << 28  # of one box


class Region(NamedTuple):
    """A scene of the specimen: the place of its first corner and its extent, (3,) nm each."""

    scene: Scene
    origin: Floats
    extent: Floats


class Stain(NamedTuple):
    """Dyes in the frame of the light image, ascending in z.

    ``place`` is (n, 3) nm ``(z, y, x)``, ``bright`` (n,) photons, ``random`` (n,) 64 random bits.
    """

    place: NDArray[np.float32]
    bright: NDArray[np.float32]
    random: NDArray[np.uint64]


class LightField:
    """The light image of a phantom.  Equal arguments give equal counts; boxes fit together.

    ``family`` is the kind of transform (see :data:`.drawing.FAMILIES`), ``unlabelled`` the share
    of mitochondria, and of places on the reticulum, that carry no dye.
    """

    def __init__(
        self, phantom: Phantom, modality: str, family: str = "bspline", unlabelled: float = 0.2
    ) -> None:
        if modality not in MODALITIES:
            raise WrongUse(f"light {echo(modality)}: expected one of {', '.join(MODALITIES)}")
        if not 0 <= unlabelled < 1:
            raise WrongUse(f"unlabelled {unlabelled}: expected 0 to less than 1")
        self.phantom, self.modality = phantom, MODALITIES[modality]
        self._unlabelled = unlabelled
        self._stains: dict[str, Stain] = {}
        self._hazes: dict[str, Floats] = {}
        self._seed = phantom.spec.seed
        extent = np.array(phantom.spec.extent_nm)
        self._frame: Frame = draw_frame(family, self._seed, extent, rim_nm(extent))

    @property
    def warp(self) -> Warp:
        """The true transform between the phantom (nm) and the light image (nm)."""
        return self._frame.warp

    @property
    def voxel_size_nm(self) -> tuple[float, float, float]:
        """Voxels of the light image, ``(z, y, x)``."""
        return self.modality.voxel_nm

    @property
    def shape(self) -> Index:
        """Voxels of the light image along each axis."""
        z, y, x = (
            math.ceil(s / v) for s, v in zip(self._frame.size_nm, self.voxel_size_nm, strict=True)
        )
        return z, y, x

    @cached_property
    def regions(self) -> tuple[Region, ...]:
        """The phantom itself, and the neighbours around it."""
        extent = np.array(self.phantom.spec.extent_nm)
        own = Region(self.phantom.scene, np.zeros(3), extent)
        return (own, *neighbours(self.phantom.spec))

    def counts(self, channel: str, box: Box) -> NDArray[np.uint16]:
        """Return a box of a channel: camera counts or localisations, ``(z, y, x)`` uint16.

        ``channel`` is ``mito`` or ``er``; ``box`` is in voxels of the light image.

        Raises
        ------
        WrongUse
            For another channel, or a box that leaves the image.
        LimitExceeded
            For more than 2**28 voxels at a time, or a phantom with too many dyes.
        """
        self._check(channel, box)
        stain = self._stained(channel)
        voxel, first = np.array(self.voxel_size_nm), np.array(box.start, np.int64)
        reach = image.reach_nm(self.modality)
        low, high = np.array(box.start)[0] * voxel[0] - reach, box.stop[0] * voxel[0] + reach
        a, b = np.searchsorted(stain.place[:, 0], [low - 1.0, high + 1.0])
        total = np.zeros(box.shape, np.int64)
        sigma = image.sigma_nm(self.modality)
        key = np.uint64(key_of(self._seed, 41, sorted(MEMBRANES).index(channel)))
        near = (stain.place[a:b], stain.bright[a:b])
        if self.modality.localised:
            image.localise(*near, stain.random[a:b], first, voxel, sigma, total)
            image.add_stray(key, first, voxel, total)
            return total.clip(0, image.MAX_COUNT).astype(np.uint16)
        image.add_light(*near, first, voxel, sigma, total)
        out = np.empty(box.shape, np.uint16)
        slices = (np.arange(box.start[0], box.stop[0]) + 0.5) / self.shape[0]
        fade = 1.0 - self.modality.bleach * slices
        haze = self._haze(channel)
        image.expose(key, total, first, voxel, haze, self.modality.haze, fade, out)
        return out

    def _check(self, channel: str, box: Box) -> None:
        if channel not in MEMBRANES:
            raise WrongUse(f"channel {echo(channel)}: expected {' or '.join(MEMBRANES)}")
        inside = all(0 <= a < b <= n for a, b, n in zip(*box, self.shape, strict=True))
        if not inside:
            raise WrongUse(f"box {box}: expected a part of the light image of {self.shape} voxels")
        if math.prod(box.shape) > MAX_VOXELS:
            raise LimitExceeded(f"box {box}: at most {MAX_VOXELS} voxels at a time")

    def _stained(self, channel: str) -> Stain:
        """Return the dyes of all regions; computed at the first call."""
        if channel not in self._stains:
            parts = [self._stain(channel, number) for number in range(len(self.regions))]
            place, bright, random = (np.concatenate(c) for c in zip(*parts, strict=True))
            order = np.argsort(place[:, 0], kind="stable")
            self._stains[channel] = Stain(place[order], bright[order], random[order])
        return self._stains[channel]

    def _haze(self, channel: str) -> Floats:
        """Return the out-of-focus light of a channel; computed at the first call."""
        if channel not in self._hazes:
            stain = self._stained(channel)
            self._hazes[channel] = image.haze_of(stain.place, stain.bright, self._frame.size_nm)
        return self._hazes[channel]

    def _stain(self, channel: str, number: int) -> Stain:
        """Return the dyes of one region that shine, where the light image shows them."""
        region = self.regions[number]
        dyes = dyes_on(region.scene, channel, np.zeros(3), region.extent)
        bright = self._brightness(channel, number, dyes)
        lit = bright > 0
        place = self.warp.to_light(dyes.place[lit].astype(np.float64) + region.origin)
        return Stain(place.astype(np.float32), bright[lit], dyes.random[lit])

    def _brightness(self, channel: str, number: int, dyes: Dyes) -> NDArray[np.float32]:
        """Return photons of each dye: 0 for what is not labelled, lognormal by organelle."""
        count = int(dyes.thing.max(initial=0)) + 1
        draws = [Draw(self._seed, 42, number, thing) for thing in range(count)]
        normal = np.array([draw.normal() for draw in draws])
        bright = self.modality.photons * np.exp(UNIFORMITY * normal)
        if channel == "mito":
            bright[[draw.uniform() < self._unlabelled for draw in draws]] = 0.0
            return np.asarray(bright[dyes.thing], np.float32)
        efficient = (dyes.random >> np.uint64(11)) * 2.0**-53 >= self._unlabelled
        return np.asarray(bright[dyes.thing] * efficient, np.float32)


def rim_nm(extent: Floats) -> float:
    """Return how far neighbours reach beyond a phantom of ``extent`` nm, in y and x."""
    longer = float(extent[1:].max())
    rim = min(RIM * longer, MAX_RIM_NM, (MAX_EDGE_NM - longer) / 2)
    return rim if rim >= MIN_EDGE_NM else 0.0


@lru_cache(2)  # channels and microscopes share them
def neighbours(spec: PhantomSpec) -> tuple[Region, ...]:
    """Return four other cells around a phantom, each placed from a seed of its own.

    They have the phantom's depth, and only stained organelles.
    """
    extent = np.array(spec.extent_nm)
    rim = rim_nm(extent)
    if rim == 0.0:
        return ()
    z, y, x = extent
    places = (
        ((-rim, -rim), (rim, x + 2 * rim)), ((y, -rim), (rim, x + 2 * rim)),
        ((0.0, -rim), (y, rim)), ((0.0, x), (y, rim)),
    )  # fmt: skip
    found = []
    for number, ((top, left), (height, width)) in enumerate(places):
        shape = [max(math.ceil(edge / VOXEL_NM), 1) for edge in (z, height, width)]
        other = PhantomSpec(
            (shape[0], shape[1], shape[2]), (VOXEL_NM,) * 3,
            key_of(spec.seed, 43, number) >> 1, STAINED,
        )  # fmt: skip
        found.append(Region(build(other), np.array([0.0, top, left]), np.array([z, height, width])))
    return tuple(found)
