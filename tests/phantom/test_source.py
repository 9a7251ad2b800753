"""A phantom that is read like a file: nothing of it lies on disk."""

import json

import numpy as np
import pytest

from fibstream.core.errors import FibstreamError, WrongUse
from fibstream.core.grid import Box
from fibstream.phantom import Look, Phantom, PhantomSpec
from fibstream.phantom.phantom import MEMBERS
from fibstream.phantom.source import read_spec, spec_text
from fibstream.volumes.sources import open_volume

from ..support.command import inside

SPEC = PhantomSpec(
    (40, 56, 48),
    (8.0, 7.0, 8.0),
    5,
    ("mito", "er"),
    Look(jitter=1.5, missing=(3,)),
    chunk=(9, 9, 9),
)
BOX = Box((2, 10, 7), (30, 41, 48))


def test_a_specification_survives_being_written() -> None:
    assert read_spec(spec_text(SPEC)) == SPEC
    assert read_spec('{"shape": [256, 256, 256]}') == PhantomSpec((256, 256, 256))


def test_every_part_of_a_phantom_is_read_box_by_box(tmp_path) -> None:
    file = tmp_path / "cell.phantom"
    file.write_text(spec_text(SPEC))
    cell = Phantom(SPEC)
    raw = open_volume(str(file), kind="raw")
    assert raw.shape == SPEC.shape and raw.voxel_size_nm == SPEC.voxel_size_nm
    assert np.array_equal(raw.read(BOX), cell.micrograph(BOX))
    fine = open_volume(f"{file}#labels/fine", kind="labels")
    assert (raw.name, fine.name) == (str(file), f"{file}#labels/fine")
    assert np.array_equal(fine.read(BOX), cell.labels(BOX))
    for name in MEMBERS:
        own = open_volume(f"{file}#labels/{name}", kind="labels")
        assert np.array_equal(own.read(BOX), cell.instances(name, BOX)), name


def test_a_phantom_larger_than_a_disk_opens_at_once(tmp_path) -> None:
    out = tmp_path / "whole.phantom"
    answer = inside("phantom", "--out", out, "--size", "10000", "--seed", "3")
    assert answer.code == 0 and answer.out.strip() == str(out), answer
    assert out.stat().st_size < 10_000
    assert open_volume(str(out), kind="raw").shape == (10_000,) * 3


@pytest.mark.parametrize(("text", "said"), [
    ("{", "not JSON"), ("[1]", "expected a JSON object"), ('{"shape": [1, 1]}', "entry shape"),
    ("{}", "entry shape"), ('{"shape": [99, 99, 99], "sed": 1}', "unknown entry sed"),
    ('{"shape": [99, 99, 99], "look": {"glow": 1}}', "unknown entry glow"),
    ('{"shape": [99, 99, 99], "look": 7}', "expected a JSON object"),
    ('{"shape": [99, 99, 99], "seed": -1}', "seed -1"),
    ('{"shape": [99, 99, 99], "seed": ' + "9" * 5000 + "}", "a number of 5000; expected"),
    ('{"shape": [99, 99, 99], "look": {"gamma": NaN}}', "NaN: expected a number that is finite"),
    ('{"seed": ' + "[" * 9999, "expected lists at most 16 deep"),
    ('{"shape": [99, 99, 20000]}', "at most 12000 voxels"),
    ('{"shape": [99, 99, 99], "look": {"gamma": 9}}', "gamma 9"),
])  # fmt: skip
def test_a_wrong_specification_is_one_clear_line(tmp_path, text: str, said: str) -> None:
    file = tmp_path / "cell.phantom"
    file.write_text(text)
    with pytest.raises(FibstreamError, match=said) as caught:
        open_volume(str(file), kind="raw")
    assert str(caught.value).startswith(str(file))


def test_a_phantom_has_only_what_it_has(tmp_path) -> None:
    file = tmp_path / "cell.phantom"
    file.write_text(json.dumps({"shape": [99, 99, 99]}))
    with pytest.raises(WrongUse, match="a phantom has no labels/bones; expected raw, labels/fine"):
        open_volume(f"{file}#labels/bones", kind="labels")
    answer = inside("phantom", "--out", file, "--light", "sim")
    assert answer.code == 2 and "holds no light channels" in answer.err
