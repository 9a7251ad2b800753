"""A first run that ended before its record was put: the next one goes on in its folder."""

from pathlib import Path

import pytest

from fibstream.app.folder import LOCK, locked
from fibstream.cli.run import check_output
from fibstream.core.dataset import RECORD
from fibstream.core.errors import WrongUse


@pytest.fixture
def wreck(tmp_path: Path) -> Path:
    """What is left of a run that ended while its network was copied."""
    out = tmp_path / "cell.zarr"
    out.mkdir()
    with locked(out):
        (out / ".fibstream/tmp").mkdir()
        (out / ".fibstream/bus.sqlite").write_bytes(b"")
        (out / "provenance/models").mkdir(parents=True)
        (out / "provenance/models/0.onnx").write_bytes(b"the first bytes")
    return out


def test_what_a_first_run_began_is_gone_on_with(wreck: Path) -> None:
    check_output(wreck)


@pytest.mark.parametrize("more", ["photo.png", "provenance/notes.txt", "raw/zarr.json"])
def test_with_files_of_somebody_else_it_is_no_wreck(wreck: Path, more: str) -> None:
    (wreck / more).parent.mkdir(exist_ok=True)
    (wreck / more).write_bytes(b"")
    with pytest.raises(WrongUse, match="not a fibstream dataset"):
        check_output(wreck)


def test_without_the_lock_of_a_run_it_is_no_wreck(wreck: Path) -> None:
    (wreck / LOCK).unlink()
    with pytest.raises(WrongUse, match="not a fibstream dataset"):
        check_output(wreck)


def test_a_folder_where_the_record_should_be_is_no_wreck(wreck: Path) -> None:
    (wreck / RECORD).mkdir()
    with pytest.raises(WrongUse, match="not a fibstream dataset"):
        check_output(wreck)
