"""Comparison of synthetic and real images: grey levels, power spectrum, correlation lengths."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse

Grey = NDArray[np.uint8]
BANDS = 12  # of spatial frequency, of equal ratio
FREQUENCIES = (0.012, 0.5)  # cycles a voxel: lower ones are a few single waves in a small volume
SLICES = 24  # at most, for a spectrum
SMALLEST = 64  # voxels an edge of a slice


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a synthetic image differs from a real one.

    ``histogram`` is the mean shift between the grey-level distributions (Wasserstein's first
    distance, grey levels); ``spectrum`` the root mean square, over bands, of the difference of
    log10 power; ``lengths`` the correlation length of the synthetic image over that of the real
    one, along ``(z, y, x)``.
    """

    histogram: float
    spectrum: float
    lengths: tuple[float, float, float]
    bands: tuple[float, ...]


def compare(real: Grey, synthetic: list[Grey]) -> Comparison:
    """Compare the mean over several synthetic volumes with a real one, ``(z, y, x)`` uint8 each.

    Raises
    ------
    WrongUse
        For a volume that has not three axes, or slices smaller than 64 x 64.
    """
    for volume in (real, *synthetic):
        if volume.ndim != 3 or min(volume.shape[1:]) < SMALLEST:
            raise WrongUse(f"volume of {volume.shape}: expected 3 axes, slices from {SMALLEST} up")
    grey = np.concatenate([volume.ravel() for volume in synthetic])
    power = np.mean([spectrum(volume) for volume in synthetic], axis=0)
    bands = np.log10(power / spectrum(real))
    z, y, x = (
        float(np.mean([correlation_length(m, k) for m in synthetic]) / correlation_length(real, k))
        for k in range(3)
    )
    return Comparison(
        histogram_distance(real, grey), float(np.sqrt((bands**2).mean())), (z, y, x), tuple(bands)
    )


def histogram_distance(a: Grey, b: Grey) -> float:
    """Return Wasserstein's first distance between two histograms, in grey levels."""
    one, other = (np.cumsum(np.bincount(v.ravel(), minlength=256) / v.size) for v in (a, b))
    return float(np.abs(one - other).sum())


def spectrum(volume: Grey) -> NDArray[np.float64]:
    """Return the mean radial power spectrum of slices, (BANDS,) float64, grey levels squared."""
    n = min(volume.shape[1:])
    window = np.hanning(n)[:, None] * np.hanning(n)[None]
    window /= math.sqrt(float((window**2).mean()))
    f = np.fft.fftfreq(n)
    band = np.digitize(np.hypot(f[:, None], f[None]), np.geomspace(*FREQUENCIES, BANDS + 1))
    total = np.zeros(BANDS + 2)
    chosen = volume[:: -(-len(volume) // SLICES), :n, :n].astype(float)
    for plane in chosen:
        power = np.abs(np.fft.fft2((plane - plane.mean()) * window)) ** 2 / n**2
        total += np.bincount(band.ravel(), power.ravel(), BANDS + 2)
    waves = np.bincount(band.ravel(), minlength=BANDS + 2)
    return np.asarray(total[1:-1] / np.maximum(waves[1:-1], 1) / len(chosen))


def correlation_length(volume: Grey, axis: int) -> float:
    """Return the shift (voxels) at which the autocorrelation falls to one half; NaN if never."""
    v = np.moveaxis(volume, axis, 0).astype(np.float32)
    v -= v.mean()
    whole, before = float((v * v).mean()), 1.0
    for shift in range(1, len(v) // 2):
        now = float((v[shift:] * v[:-shift]).mean()) / whole
        if now < 0.5:
            return shift - 1 + (before - 0.5) / (before - now)
        before = now
    return math.nan
