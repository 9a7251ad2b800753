"""What a network would predict of a stained membrane: the channel for registration with light."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.phantom import sizes
from fibstream.phantom.fields import distance_field
from fibstream.phantom.hashing import key_of
from fibstream.phantom.materials import Kind
from fibstream.phantom.phantom import Phantom
from fibstream.phantom.scaffold import Thing
from fibstream.phantom.scene import Scene
from fibstream.phantom.shapes import BALL, CAPSULE, FAR

TANH_NM = 50.0  # Heinrich et al. 2021: a prediction is tanh(distance / 50 nm)
# Of each class: the organelle, and the thickness of its membrane (mitochondria have two). As in
# labels, a single membrane is never thinner than voxels can show.
CLASSES = {
    "mito_membrane": ("mito", sizes.MITO_OUTER + sizes.MITO_SPACE + sizes.MITO_INNER),
    "er_membrane": ("er", sizes.MEMBRANE),
}
WIDEST = 500.0  # nm: half the length of the longest such body, and the reach of distances
FALSE_KINDS = ("lysosome", "MVB", "LD")  # dark round bodies that networks take for mitochondria


@dataclass(frozen=True, slots=True)
class Errors:
    """What a network gets wrong, as shares of the mitochondria.

    ``missed`` of them are not predicted; as many other dark bodies as ``false`` of them are.
    """

    missed: float = 0.05
    false: float = 0.05

    def __post_init__(self) -> None:
        for name in ("missed", "false"):
            if not 0 <= getattr(self, name) <= 1:
                raise WrongUse(f"errors: {name} {getattr(self, name)}; expected 0 to 1")


class Network:
    """A network that is right except for its :class:`Errors`; None: no errors."""

    def __init__(self, phantom: Phantom, errors: Errors | None = None) -> None:
        self._phantom, self._errors = phantom, errors

    def predict(self, name: str, box: Box) -> NDArray[np.uint8]:
        """Return the prediction of a membrane class in a box, ``(z, y, x)`` uint8.

        The value is ``clip(round(128 t + 127), 0, 255)``.
        t is tanh of the signed distance to the membrane over 50 nm, positive inside it;
        distances end at 64 nm.  Errors concern mitochondria.

        Raises
        ------
        WrongUse
            For a class other than ``mito_membrane`` and ``er_membrane``, or a box outside.
        """
        if name not in CLASSES:
            raise WrongUse(f"class {echo(name)}: expected {' or '.join(CLASSES)}")
        organelle, thick = CLASSES[name]
        box = self._phantom.checked(box)
        if organelle == "mito" and self._errors is not None:
            kinds = (organelle, *self._false_kinds_near(box))
            fields = [distance_field(self._predicted_scene, kind, box)[0] for kind in kinds]
            depth = np.minimum.reduce(fields)
        else:
            depth = distance_field(self._phantom.scene, organelle, box)[0]
        if organelle == "er":
            thick = max(thick, sizes.MIN_DRAWN_VOXELS * max(self._phantom.spec.voxel_size_nm))
        inside = 0.5 * thick - np.abs(depth + 0.5 * thick)
        quantised = np.rint(128.0 * np.tanh(inside / TANH_NM) + 127.0)
        return np.asarray(quantised.clip(0, 255), np.uint8)

    @cached_property
    def missed(self) -> frozenset[int]:
        """Return the numbers of the mitochondria that are not predicted."""
        things = self._phantom.things
        return frozenset(
            things[i].number for i in self._of_kind("mito") if not self._is_predicted(i)
        )

    @cached_property
    def false_things(self) -> tuple[Thing, ...]:
        """Return the things that are wrongly predicted as mitochondria."""
        return tuple(
            self._phantom.things[i]
            for kind in FALSE_KINDS for i in self._of_kind(kind) if self._is_predicted(i)
        )  # fmt: skip

    def _false_kinds_near(self, box: Box) -> list[str]:
        """Return the kinds of false things that can change the prediction of a box."""
        voxel = np.array(self._phantom.spec.voxel_size_nm)
        low, high = (np.array(corner) * voxel for corner in box)
        return sorted(
            {
                thing.kind for thing in self.false_things
                if all(a - WIDEST < c < b + WIDEST
                       for a, c, b in zip(low, thing.centre, high, strict=True))
            }
        )  # fmt: skip

    def _of_kind(self, kind: str) -> list[int]:
        return [i for i, thing in enumerate(self._phantom.things) if thing.kind == kind]

    def _is_predicted(self, index: int) -> bool:
        errors = self._errors or Errors(0.0, 0.0)
        chance = key_of(self._phantom.spec.seed, 44, index) / 2.0**64
        if self._phantom.things[index].kind == "mito":
            return chance >= errors.missed
        return chance < self._false_share

    @cached_property
    def _false_share(self) -> float:
        others = sum(len(self._of_kind(kind)) for kind in FALSE_KINDS)
        wanted = 0.0 if self._errors is None else self._errors.false * len(self._of_kind("mito"))
        return wanted / others if others else 0.0

    @cached_property
    def _predicted_scene(self) -> Scene:
        """The scene without what is not predicted: its primitives shrink out of reach."""
        scene = self._phantom.scene
        world = scene.world
        kinds = np.isin(world.kind, (Kind.MITO, Kind.LYSOSOME, Kind.MVB, Kind.LD))
        predicted = np.array([self._is_predicted(i) for i in range(len(scene.things))], bool)
        gone = kinds & ~predicted[world.thing]
        rows = world.rows.copy()
        rows[gone & (world.shape == CAPSULE), 7] = -FAR
        rows[gone & (world.shape == BALL), 6] = -FAR
        return replace(scene, world=world._replace(rows=rows))
