"""The sample volume is what its README describes."""

from pathlib import Path

import numpy as np
import tifffile

SAMPLES = Path(__file__).resolve().parents[2] / "samples"


def test_the_sample_has_short_chunks_and_dark_organelles() -> None:
    volume = tifffile.imread(SAMPLES / "flyem_medulla.tif")
    assert volume.shape == (100, 200, 200)
    assert volume.dtype == np.uint8
    assert all(edge % 64 for edge in volume.shape)
    assert volume.size <= 4_000_000
    assert 0.02 < np.mean(volume < 80) < 0.2
    text = (SAMPLES / "README.md").read_text()
    assert "10.1371/journal.pone.0125825" in text
    assert "Creative Commons Attribution" in text
