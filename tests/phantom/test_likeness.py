"""A made image of brain is near a real one, within the bounds that the benchmark prints."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibstream.core.errors import WrongUse
from fibstream.phantom import Phantom, PhantomSpec
from fibstream.phantom.compare import compare, correlation_length, histogram_distance, spectrum
from fibstream.phantom.spec import LOOKS, ORGANELLES

SAMPLE = Path(__file__).parents[2] / "samples" / "flyem_medulla.tif"
TISSUE = tuple(name for name in ORGANELLES if name != "nucleus")


def test_a_made_image_is_near_the_sample() -> None:
    real = tifffile.imread(SAMPLE)
    made = []
    for seed in (1, 2):
        spec = PhantomSpec((40, 200, 200), (10.0,) * 3, seed, TISSUE, LOOKS["flyem"], tissue=True)
        cell = Phantom(spec)
        made.append(cell.micrograph(cell.box()))
    found = compare(real, made)
    assert found.histogram < 12
    assert found.spectrum < 0.25
    assert all(0.6 < ratio < 1.6 for ratio in found.lengths[1:])
    plain = PhantomSpec((40, 200, 200), (10.0,) * 3, 1, TISSUE)
    other = compare(real, [Phantom(plain).micrograph(Phantom(plain).box())])
    assert other.spectrum > 0.25  # the bounds tell a fitted look from another


def test_the_measures_are_what_they_say() -> None:
    rng = np.random.default_rng(0)
    flat = rng.integers(100, 110, (8, 64, 64)).astype(np.uint8)
    assert histogram_distance(flat, flat + np.uint8(7)) == pytest.approx(7.0)
    white = rng.normal(128, 20, (16, 96, 96)).astype(np.uint8)
    assert np.allclose(spectrum(white), 20**2, rtol=0.25)
    wave = np.broadcast_to(128 + 60 * np.sin(2 * np.pi * np.arange(240) / 24), (4, 64, 240))
    assert correlation_length(wave.astype(np.uint8), 2) == pytest.approx(4.0, abs=0.3)
    with pytest.raises(WrongUse, match="expected 3 axes"):
        compare(flat[0], [flat])
