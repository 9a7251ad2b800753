"""`fibstream land` tries the networks of a dataset that are here, and tells of a wrong polarity."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.cli.landing import land_volume, polarity_notes
from fibstream.client import Client
from fibstream.client.ingest import Info
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.inference.edges.model import MODELS, read_model, with_digest
from fibstream.services.inference.polarity import EdgeSums
from fibstream.services.inference.tiling import predict
from fibstream.volumes.sources import open_volume

from ..support.engines import TinyEngine
from ..support.scene import blobs

MITO = MODELS / "mito.onnx"


def made(_: Path, __: int) -> TinyEngine:
    """A network that was trained where what is bright is inside."""
    engine, raw = TinyEngine(output=16), blobs(seed=1)
    box, sums = Box((0, 0, 0), raw.shape), EdgeSums(engine.spec.classes)
    sums.add(raw, predict(Patch(raw, box), box, engine))
    engine.spec = engine.spec.model_copy(update={"grey": sums.levels()})
    return engine


@pytest.mark.parametrize("bright", [False, True])
@pytest.mark.parametrize("invert", [False, True])
def test_only_a_wrong_polarity_of_a_network_that_is_here_is_told(
    tmp_path: Path, bright: bool, invert: bool
) -> None:
    raw = (255 - blobs() if bright else blobs()) * np.uint16(100)
    np.save(tmp_path / "raw.npy", raw)
    opened = open_volume(str(tmp_path / "raw.npy"), kind="raw", voxel_size_nm=(8, 8, 8))
    with closing(opened) as source:
        for sha256, here in ((read_model(MITO).sha256, True), ("0" * 64, False)):
            info = Info("cell", raw.shape, (16, 16, 16), "uint16", (8, 8, 8), (0, 25500), "",
                        False, frozenset(), invert=invert, networks={"mito": sha256})  # fmt: skip
            notes = list(polarity_notes(source, info, made))
            assert len(notes) == (here and bright != invert)
            for note in notes:
                advice = "dark, create the dataset without" if invert else "bright, create the"
                assert advice in note and note.endswith(" --invert")


def test_a_forgotten_inversion_is_told_before_a_volume_lands(
    server: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    np.save(tmp_path / "bright.npy", 255 - blobs())
    raw = str(tmp_path / "bright.npy")
    with Client(server) as client:
        assert client.info("predicted").networks == {"mito": read_model(MITO).sha256}
        given: Any = {"order": "raster", "seed": 0, "limit": None, "seal": False, "make": made}
        assert land_volume(client, "predicted", raw, **given)["written"]
    assert "membranes are bright, create the dataset with --invert" in caplog.text


def test_a_network_that_this_machine_cannot_execute_is_told_and_refuses_no_volume(
    tmp_path: Path,
) -> None:
    def failing(path: Path, _: int) -> TinyEngine:
        raise WrongUse(f"model {path.stem}: the runtime cannot execute it")

    np.save(tmp_path / "raw.npy", blobs())
    opened = open_volume(str(tmp_path / "raw.npy"), kind="raw", voxel_size_nm=(8, 8, 8))
    info = Info("cell", blobs().shape, (16, 16, 16), "uint8", (8, 8, 8), (0, 255), "", False,
                frozenset(), networks={"mito": read_model(MITO).sha256})  # fmt: skip
    with closing(opened) as source:
        (note,) = polarity_notes(source, info, failing)
    assert note == "polarity is not tried: model mito: the runtime cannot execute it"


def test_a_network_is_found_by_what_it_is_and_not_by_its_name(tmp_path: Path) -> None:
    assert with_digest(read_model(MITO).sha256) == MITO
    assert with_digest("mito") is None
    for name in "abcdefgh":  # in whatever order they are listed
        (tmp_path / f"{name}.onnx").write_bytes(b"no network")
    (tmp_path / "other.onnx").write_bytes(MITO.read_bytes())
    assert with_digest(read_model(MITO).sha256, tmp_path) == tmp_path / "other.onnx"
