"""The phantom: a placed cell, and labels, instances, distances and images of any box of it."""

from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Box, Halo

from . import micrograph, ribosomes
from .fields import distance_field
from .insides import TONE
from .materials import FINE, MATERIAL
from .micrograph import Optics
from .raster import rasterize
from .ribosomes import Ribosomes
from .scaffold import IMAGE, Line, Thing
from .scene import Scene, build
from .spec import PhantomSpec

MAX_VOXELS = 1 << 29  # of one box: 512 MiB of labels, 4 GiB of instances
# Organelles that have instances: the fine ids that belong to each, and the kind of thing that
# separates the instances (empty: there is only one).
MEMBERS: dict[str, tuple[tuple[int, ...], str]] = {
    "mito": ((3, 4, 5), "mito"), "golgi": ((6, 7), "golgi"), "vesicle": ((8, 9), "vesicle"),
    "MVB": ((10, 11), "MVB"), "lysosome": ((12, 13), "lysosome"), "LD": ((14, 15), "LD"),
    "er": ((16, 17, 18, 19, 20, 21, 22, 23), ""), "ERES": ((18, 19), "ERES"),
    "nucleus": ((20, 21, 22, 23, 24, 25, 26, 27, 28, 29), ""), "NE": ((20, 21, 22, 23), ""),
    "nuclear_pore": ((22, 23), "nuclear_pore"), "nucleolus": ((29,), "nucleolus"),
    "microtubules": ((30, 36), "microtubule"), "centrosome": ((31, 32, 33), "centrosome"),
    "ribosomes": ((34,), "ribosome"), "ecs": ((1,), ""), "plasma_membrane": ((2,), ""),
}  # fmt: skip


class Voxels(NamedTuple):
    """A rasterised box: uint8 materials, int32 things and uint8 tones, ``(z, y, x)``; ribosomes."""

    material: NDArray[np.uint8]
    thing: NDArray[np.int32]
    tone: NDArray[np.uint8]
    ribosomes: Ribosomes


class Phantom:
    """A synthetic cell: truth and micrograph of any box of it.

    Boxes are in voxels of the specification, arrays ``(z, y, x)``.  Every method that takes a box
    raises WrongUse if it leaves the volume, and LimitExceeded for more than 2**29 voxels; a box
    has the same values whatever else was computed.
    """

    def __init__(self, spec: PhantomSpec) -> None:
        self.spec = spec
        self._scene: Scene = build(spec)
        self._optics: Optics = micrograph.optics(spec.look, spec.voxel_size_nm)
        self._halo = micrograph.halo(self._optics)
        self._voxel = np.array(spec.voxel_size_nm)

    @property
    def scene(self) -> Scene:
        """The placed cell."""
        return self._scene

    @property
    def things(self) -> tuple[Thing, ...]:
        """Every placed instance except ribosomes, also those beyond the faces of the volume."""
        return self._scene.things

    @property
    def lines(self) -> tuple[Line, ...]:
        """Centre lines of mitochondria, microtubules and tubules of the reticulum."""
        return self._scene.lines

    def box(self) -> Box:
        """Return the box of the whole volume."""
        return Box((0, 0, 0), self.spec.shape)

    def labels(self, box: Box) -> NDArray[np.uint8]:
        """Return the fine ids of a box, ``(z, y, x)`` uint8; see :mod:`.materials`."""
        return self.labels_of(self.voxels(self.checked(box)))

    def instances(self, organelle: str, box: Box) -> NDArray[np.uint64]:
        """Return the instance ids of an organelle in a box, ``(z, y, x)`` uint64, 0 elsewhere.

        Ids of placed things are :attr:`Thing.number`; the reticulum (with the envelope), the
        nucleus, the plasma membrane and the space outside are each one instance.
        """
        return self.instances_of(organelle, self.voxels(self.checked(box)))

    def micrograph(self, box: Box) -> NDArray[np.uint8]:
        """Return grey levels of a box, ``(z, y, x)`` uint8; membranes are dark."""
        return self.image_and_voxels(box)[0]

    def ribosomes(self, box: Box) -> Ribosomes:
        """Return the ribosomes whose sphere reaches into a box, with their true classes."""
        return self._ribosomes(self.checked(box))

    def distances(self, organelle: str, box: Box) -> tuple[NDArray[np.float32], NDArray[np.uint64]]:
        """Return the signed distance of a box to an organelle, and the nearest instance.

        Distances are float32 nm, negative inside, clipped to 64 nm, where the instance (uint64) is
        0; both ``(z, y, x)``.
        """
        return distance_field(self._scene, organelle, self.checked(box))

    def voxels(self, box: Box) -> Voxels:
        """Return the rasterised voxels of a box, which may reach beyond the volume."""
        material = np.empty(box.shape, np.uint8)
        thing = np.empty(box.shape, np.int32)
        tone = np.empty(box.shape, np.uint8)
        origin = np.array(box.start, np.int64)
        rasterize(self._scene.world, origin, material, thing, tone)
        # A ribosome whose sphere ends before the box may still shade voxels of it.
        found = self._ribosomes(box.grow(ribosomes.SHADING_HALO))
        dark = float(TONE[MATERIAL.RIBOSOME]) * 255.0
        ribosomes.draw(found, origin, self._voxel, material, thing, tone, dark)
        return Voxels(material, thing, tone, found)

    def instances_of(self, organelle: str, voxels: Voxels) -> NDArray[np.uint64]:
        """Return the instance ids of an organelle in rasterised voxels, ``(z, y, x)`` uint64."""
        if organelle not in MEMBERS:
            raise WrongUse(f"organelle {echo(organelle)}: expected one of {', '.join(MEMBERS)}")
        ids, kind = MEMBERS[organelle]
        own = np.isin(FINE, ids)[voxels.material]
        if not kind:
            return own.astype(np.uint64)
        if kind == "ribosome":
            table = np.append(voxels.ribosomes.number, np.uint64(0))
            return np.where(own, table[np.where(own, -2 - voxels.thing, -1)], np.uint64(0))
        table = np.append(self._numbers[kind], np.uint64(0))
        return np.where(own, table[voxels.thing.clip(-1)], np.uint64(0))

    def labels_of(self, voxels: Voxels) -> NDArray[np.uint8]:
        """Return the fine ids of rasterised voxels, ``(z, y, x)`` uint8."""
        return FINE[voxels.material]

    def image_and_voxels(self, box: Box) -> tuple[NDArray[np.uint8], Voxels]:
        """Return micrograph and voxels of a box, both from one rasterisation."""
        box = self.checked(box)
        wide = box.grow(Halo(self._halo, self._halo))
        voxels = self.voxels(wide)
        image = self._image_of(box, wide, voxels)
        cut = box.slices(wide.start)
        own = Voxels(voxels.material[cut], voxels.thing[cut], voxels.tone[cut], voxels.ribosomes)
        return image, own

    def _image_of(self, box: Box, wide: Box, voxels: Voxels) -> NDArray[np.uint8]:
        """Return the micrograph of a box from the voxels of the box with its halo."""
        key, o = self._scene.world.keys[IMAGE], self._optics
        rough = micrograph.textured(
            key, voxels.material, voxels.tone, np.array(wide.start, np.int64), self._voxel,
            o.grain, o.grain_nm, o.cloud,
        )  # fmt: skip
        smooth = micrograph.blurred(rough, o.taps_z, o.taps_y, o.taps_x)
        out = np.empty(box.shape, np.uint8)
        missing = np.array(self.spec.look.missing, np.int64)
        margin = self._halo[1] - len(o.taps_y) // 2
        micrograph.detected(key, smooth, np.array(box.start, np.int64), margin, o, missing, out)
        return out

    def shift_of(self, z: int) -> tuple[float, float]:
        """Return how far slice ``z`` of the micrograph shows the cell displaced, voxels (y, x).

        A slice shows at ``(y, x)`` what the labels have at ``(y, x) + shift``.
        """
        key = self._scene.world.keys[IMAGE]
        dy, dx = micrograph.slice_shift(key, z, self._optics.jitter)
        return dy / 16, dx / 16

    def _ribosomes(self, box: Box) -> Ribosomes:
        if "ribosomes" not in self.spec.organelles:
            return Ribosomes(np.empty((0, 3)), np.empty(0, np.uint8), np.empty(0, np.uint64))
        low, high = (np.array(corner) * self._voxel for corner in box)
        return ribosomes.find(self._scene.world, low, high)

    def checked(self, box: Box) -> Box:
        """Return the box; raise WrongUse outside of the volume, LimitExceeded if too large."""
        start, stop = box
        inside = all(0 <= a < b <= n for a, b, n in zip(start, stop, self.spec.shape, strict=True))
        if not inside:
            raise WrongUse(f"box {box}: expected a part of the volume of {self.spec.shape} voxels")
        if np.prod(box.shape, dtype=np.int64) > MAX_VOXELS:
            raise LimitExceeded(f"box {box}: at most {MAX_VOXELS} voxels at a time")
        return box

    @cached_property
    def _numbers(self) -> dict[str, NDArray[np.uint64]]:
        """For each kind of thing, the number of each thing; 0 for things of other kinds."""
        kinds = {thing.kind for thing in self.things} | {kind for _, kind in MEMBERS.values()}
        return {
            kind: np.array([t.number if t.kind == kind else 0 for t in self.things], np.uint64)
            for kind in kinds
        }
