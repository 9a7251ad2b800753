"""A file that a command writes is none of those that it reads."""

from pathlib import Path

import numpy as np
import pytest
import tifffile

from fibstream.cli.outputs import check_file
from fibstream.core.errors import WrongUse

from ..inference.net import write_net
from ..support.command import inside

SIZE = ("--voxel-size-nm", "8,8,8")


def test_an_input_is_not_replaced_by_whatever_name(tmp_path: Path) -> None:
    held, other, link = (tmp_path / name for name in ("a.npz", "b.npz", "link.npz"))
    held.write_bytes(b"voxels")
    link.symlink_to(held)
    check_file(other, inputs=[held, None, ""])
    check_file(held, inputs=[other, tmp_path])
    for out in (held, link):
        for given in (held, f"{held}#raw", f"{tmp_path}/./a.npz"):
            with pytest.raises(WrongUse, match=r"--out .*: would replace what is read"):
                check_file(out, inputs=[other, given])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ids = np.zeros((16, 16, 16), np.uint8)
    ids[2:8, 2:8, 2:8], ids[10:14, 10:14, 10:14] = 1, 2
    tifffile.imwrite(tmp_path / "t.csv", ids)
    tifffile.imwrite(tmp_path / "p.png", np.where(ids > 0, 200, 50).astype(np.uint8))
    write_net(tmp_path / "cells.onnx")
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ("select --refine --prediction mito={0}/p.png --truth {0}/t.csv --out {0}/p.png"),
        ("select --refine --prediction mito={0}/p.png --truth {0}/t.csv --out {0}/t.csv"),
        ("select --store {0}/t.csv --out {0}/t.csv"),
        ("calibrate {0}/cells.onnx --raw {0}/p.png --out {0}/cells.onnx"),
        ("measure --labels {0}/t.csv --out {0}/t.csv"),
        ("picture {0}/p.png --out {0}/p.png"),
    ],
)
def test_no_command_replaces_what_it_reads(folder: Path, words: str) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    answer = inside(*words.format(folder).split())
    assert answer.code == 2 and "would replace what is read" in answer.err, answer.err
    assert answer.err.count("\n") == 1
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
