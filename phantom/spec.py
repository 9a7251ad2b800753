"""Specification of a phantom: size, voxel size, seed, organelles, and the look of the image."""

from dataclasses import dataclass, field

import numpy as np

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import MAX_CHUNK, Index

ORGANELLES = (
    "nucleus", "er", "mito", "golgi", "vesicle", "MVB", "lysosome", "LD", "microtubules",
    "centrosome", "ribosomes",
)  # fmt: skip
MAX_EDGE = 12_000  # voxels: the placed cell must fit into memory; 48 um at 4 nm hold a whole cell
MAX_EDGE_NM = 60_000.0  # placement keeps every primitive, and a cell is smaller
MIN_EDGE_NM = 200.0  # less shows no organelle
VOXEL_NM = (1.0, 40.0)  # finer voxels show no more detail; coarser ones hide every membrane
MAX_SEED = 2**63 - 1
LOOK_STREAM = 0x100C  # apart from the numbers that place a cell of the same seed


@dataclass(frozen=True, slots=True)
class Look:
    """How the microscope shows the cell; grey levels of 0 to 255, lengths in voxels or slices.

    ``dark`` and ``bright`` are the greys of the darkest stain and of empty resin; ``gamma`` bends
    the scale between them (below 1: brighter middle).  ``grain`` is the standard deviation of
    the texture of the cytoplasm, which has lumps of ``grain_nm``, ``cloud`` that of its slow
    changes over 120 nm, ``shot`` of the shot noise at ``bright``, in grey levels.
    ``blur_nm`` is the standard deviation of the point spread, ``(z, y, x)``.  ``curtain``,
    ``charging`` and ``drift`` are the strengths, in grey levels, of stripes along y, of bands
    along x and of the slow change of contrast along z.  ``jitter`` is the largest displacement of
    a slice in voxels, ``missing`` the slices that were lost and read 0.
    """

    dark: float = 45.0
    bright: float = 205.0
    gamma: float = 1.0
    grain: float = 9.0
    grain_nm: float = 26.0
    cloud: float = 4.0
    shot: float = 9.0
    blur_nm: tuple[float, float, float] = (4.0, 4.0, 4.0)
    curtain: float = 2.0
    charging: float = 2.0
    drift: float = 3.0
    jitter: float = 0.0
    missing: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.dark < self.bright <= 255:
            raise WrongUse(
                f"look: dark {self.dark} and bright {self.bright}; 0 <= dark < bright <= 255"
            )
        if not 0.2 <= self.gamma <= 5:
            raise WrongUse(f"look: gamma {self.gamma}; expected 0.2 to 5")
        for name in ("grain", "cloud", "shot", "curtain", "charging", "drift"):
            if not 0 <= getattr(self, name) <= 64:
                raise WrongUse(f"look: {name} {getattr(self, name)}; expected 0 to 64 grey levels")
        if not all(0 <= sigma <= 100 for sigma in self.blur_nm):
            raise WrongUse(f"look: blur_nm {self.blur_nm}; expected 0 to 100 nm on each axis")
        if not 5 <= self.grain_nm <= 200:
            raise WrongUse(f"look: grain_nm {self.grain_nm}; expected 5 to 200 nm")
        if not 0 <= self.jitter <= 16:
            raise WrongUse(f"look: jitter {self.jitter}; expected 0 to 16 voxels")


@dataclass(frozen=True, slots=True)
class PhantomSpec:
    """A phantom of ``shape`` voxels ``(z, y, x)``; equal specifications give equal voxels.

    ``organelles`` names what is placed besides the plasma membrane; in a ``tissue`` processes of
    other cells fill what is empty resin around a cell in culture; ``chunk`` is how
    :func:`fibstream.phantom.render_chunks` cuts it.
    """

    shape: Index
    voxel_size_nm: tuple[float, float, float] = (4.0, 4.0, 4.0)
    seed: int = 0
    organelles: tuple[str, ...] = ORGANELLES
    look: Look = field(default_factory=Look)
    tissue: bool = False
    chunk: Index = (128, 128, 128)

    def __post_init__(self) -> None:
        for name, edges in (("shape", self.shape), ("chunk", self.chunk)):
            if len(edges) != 3 or any(not isinstance(n, int) or n < 1 for n in edges):
                raise WrongUse(f"{name} {edges}: expected three whole numbers Z,Y,X of at least 1")
        if max(self.shape) > MAX_EDGE:
            raise LimitExceeded(f"shape {self.shape}: an edge has at most {MAX_EDGE} voxels")
        if max(self.chunk) > MAX_CHUNK:
            raise LimitExceeded(f"chunk {self.chunk}: an edge has at most {MAX_CHUNK} voxels")
        low, high = VOXEL_NM
        if len(self.voxel_size_nm) != 3 or not all(low <= v <= high for v in self.voxel_size_nm):
            raise WrongUse(
                f"voxel size {self.voxel_size_nm}: expected Z,Y,X of {low:g} to {high:g} nm"
            )
        if not all(MIN_EDGE_NM <= e <= MAX_EDGE_NM for e in self.extent_nm):
            raise WrongUse(
                f"extent {self.extent_nm} nm: each edge is {MIN_EDGE_NM:g} to {MAX_EDGE_NM:g} nm"
            )
        if not 0 <= self.seed <= MAX_SEED:
            raise WrongUse(f"seed {self.seed}: expected 0 to 2**63 - 1")
        if unknown := set(self.organelles) - set(ORGANELLES):
            raise WrongUse(
                f"organelles {sorted(unknown)}: expected some of {', '.join(ORGANELLES)}"
            )
        if wrong := [z for z in self.look.missing if not 0 <= z < self.shape[0]]:
            raise WrongUse(f"missing slices {wrong}: expected 0 to {self.shape[0] - 1}")

    @property
    def extent_nm(self) -> tuple[float, float, float]:
        """Edge lengths in nanometres, ``(z, y, x)``."""
        z, y, x = (n * v for n, v in zip(self.shape, self.voxel_size_nm, strict=True))
        return z, y, x


# Looks fitted to public volumes of brain: seen in a tissue without nuclei, grey levels, spectrum
# and correlation lengths match within the bounds that the benchmark prints.
LOOKS = {
    "plain": Look(),
    "flyem": Look(
        dark=69.0, bright=215.0, gamma=2.24, grain=6.7, grain_nm=54.0, cloud=18.0, shot=6.6,
        blur_nm=(8.8, 7.7, 7.7),
    ),  # Parag et al., PLoS ONE 10 (2015), 10 nm
    "epfl": Look(
        dark=41.5, bright=250.0, gamma=2.12, grain=16.8, grain_nm=37.0, cloud=16.7, shot=16.2,
        blur_nm=(5.6, 4.0, 4.0),
    ),  # Lucchi et al., IEEE TMI 31 (2012), 5 nm
}  # fmt: skip


def varied(seed: int) -> Look:
    """Return a look drawn at random, around those that were fitted; equal seeds, equal looks."""
    rng = np.random.default_rng((seed, LOOK_STREAM))
    blur, deeper = rng.uniform(3, 9), rng.uniform(1, 1.4)
    return Look(
        dark=rng.uniform(35, 75), bright=rng.uniform(195, 255),
        gamma=float(np.exp(rng.uniform(np.log(0.85), np.log(2.4)))),
        grain=rng.uniform(5, 18), grain_nm=rng.uniform(22, 58), cloud=rng.uniform(3, 19),
        shot=rng.uniform(5, 18), blur_nm=(blur * deeper, blur, blur),
        curtain=rng.uniform(0, 4), charging=rng.uniform(0, 4), drift=rng.uniform(0, 6),
    )  # fmt: skip
