"""How large the maps of a U-Net are: arithmetic alone, without a network.

A level convolves, is pooled, and meets the grown map of the level below. Before each meeting the
grown map is cropped to ``n f + c`` voxels, f the pooling of all levels from here down and c what
the convolutions that follow take away: only then does the network yield the same for every tile of
its lattice (Heinrich et al. 2021, CNectome ``unet_class.py``). Unlike there the crops keep the maps
aligned to the voxel, and the result in the middle of the input.
"""

from dataclasses import dataclass
from math import prod

from fibstream.core.errors import WrongUse
from fibstream.services.inference.port import MAX_TILE


@dataclass(frozen=True, slots=True)
class Meeting:
    """What is cropped where a grown map meets the one beside it: voxels before and after."""

    grown: tuple[int, int]
    beside: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Plan:
    """A network of valid convolutions on an input of ``edge`` voxels.

    ``meetings`` are from the finest level down; ``output`` counts voxels of the output, which are
    ``upsample`` to one of the input.
    """

    edge: int
    output: int
    meetings: tuple[Meeting, ...]


@dataclass(frozen=True, slots=True)
class Geometry:
    """A U-Net: ``factors`` pool between levels, each side of a level has ``convolutions`` of 3³.

    With ``upsample`` above 1 the result is finer than the input by that factor, and convolved once
    more. With ``stem`` above 1 that many voxels along an axis are one of the finest level, and so
    is the result put together: meetings count voxels of the levels, all else those of the input.
    """

    factors: tuple[int, ...]
    convolutions: int = 2
    upsample: int = 1
    stem: int = 1

    @property
    def stride(self) -> int:
        """Voxels by which an input may move without another result: the total pooling."""
        return self.stem * prod(self.factors)

    def plan(self, edge: int) -> Plan:
        """Return the plan for an input of ``edge`` voxels; raise WrongUse where there is none."""
        if edge % self.stem:
            raise WrongUse(
                f"network: an input of {edge} voxels does not fit: no multiple of {self.stem}"
            )
        edge //= self.stem
        beside = self._down(edge)
        lost = 2 * self.convolutions
        size, start = beside[-1], self.convolutions
        meetings: list[Meeting] = []
        for level in reversed(range(len(self.factors))):
            size, start = (
                size * self.factors[level],
                self.convolutions + start * self.factors[level],
            )
            below = prod(self.factors[level:])
            kept = (size - lost) // below * below + lost
            if kept <= lost:
                raise self._refusal(edge, "nothing is left")
            here = edge if level == 0 else beside[level] + lost
            before = _between((here - kept) // 2 - start, 0, size - kept)
            if level == 0 and 2 * (start + before) + kept != edge:
                raise self._refusal(edge, "the result would not be in the middle")
            start += before
            skipped = start - self.convolutions
            meetings.append(
                Meeting((before, size - kept - before), (skipped, beside[level] - skipped - kept))
            )
            size, start = kept - lost, start + self.convolutions
        if self.upsample > 1:
            size = size * self.upsample - lost
            if size <= 0:
                raise self._refusal(edge, "nothing is left")
        return Plan(edge * self.stem, size * self.stem, tuple(reversed(meetings)))

    def _down(self, edge: int) -> list[int]:
        """Return the size of each level's map where it is met, the finest first."""
        sizes = [edge - 2 * self.convolutions]
        for factor in self.factors:
            if sizes[-1] <= 0 or sizes[-1] % factor:
                raise self._refusal(edge, f"{sizes[-1]} voxels cannot be pooled by {factor}")
            sizes.append(sizes[-1] // factor - 2 * self.convolutions)
        if sizes[-1] <= 0:
            raise self._refusal(edge, "nothing is left")
        return sizes

    def _refusal(self, edge: int, why: str) -> WrongUse:
        whole = edge * self.stem
        return WrongUse(f"network: an input of {whole} voxels does not fit: {why}")

    def least(self) -> Plan:
        """Return the plan of the smallest input; further ones are larger by strides."""
        for edge in range(1, MAX_TILE + 1):
            try:
                return self.plan(edge)
            except WrongUse:
                continue
        raise WrongUse(
            f"network: pooled by {', '.join(map(str, self.factors))} it needs an input of more "
            f"than {MAX_TILE} voxels"
        )

    @property
    def trim(self) -> int:
        """Voxels that are cut off each side of the exported output: then it ends with the input's.

        The convolutions after upsampling may take away a part of an input voxel; what is left of it
        goes too.
        """
        return -self.convolutions % self.upsample if self.upsample > 1 else 0

    @property
    def context(self) -> int:
        """Voxels of the input that the exported output is smaller by on each side."""
        after = -(-self.convolutions // self.upsample) if self.upsample > 1 else 0
        return self.halo + after

    @property
    def halo(self) -> int:
        """Voxels that the output is smaller than the input on each side, before any upsampling."""
        plan = self.least()
        output = plan.output
        if self.upsample > 1:
            output = (output + 2 * self.convolutions) // self.upsample
        return (plan.edge - output) // 2

    def edge_for(self, output: int) -> int:
        """Return the input for an output of so many voxels; raise WrongUse where there is none."""
        for edge in range(self.least().edge, MAX_TILE + 1, self.stride):
            found = self.plan(edge).output
            if found >= output:
                break
        if found == output:
            return edge
        before = max(edge - self.stride, self.least().edge)
        one, other = (self.plan(e).output for e in (before, edge))
        raise WrongUse(
            f"network: no input yields {output} voxels; expected such as {one} or {other}"
        )

    @property
    def phase(self) -> int:
        """Where tiles start so that what they yield starts at multiples of the stride.

        Chunks do too: one that is as large as what a tile yields then needs one tile, not eight.
        Patches of training lie anywhere, so that no lattice of pooling is better than another one.
        """
        return -self.context % self.stride


def _between(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)
