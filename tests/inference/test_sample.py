"""The sample volume is what its README describes."""

from pathlib import Path

import numpy as np
import tifffile

from fibstream.app.sampling import polarity_note
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import find_model
from fibstream.services.inference.seen import View
from fibstream.volumes.sources import open_volume

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


def test_on_the_sample_a_forgotten_inversion_is_noticed(tmp_path: Path) -> None:
    """With the network that is shipped; the demo shows that it says nothing as it should be."""
    volume = tifffile.imread(SAMPLES / "flyem_medulla.tif")
    np.save(tmp_path / "bright.npy", 255 - volume)
    source = open_volume(str(tmp_path / "bright.npy"), kind="raw", voxel_size_nm=(10, 10, 10))
    engine = CpuEngine(find_model("mito"), 1)
    note = polarity_note(source, View((0, 255)), engine) or ""
    assert note.endswith("if membranes are bright, give --invert")
