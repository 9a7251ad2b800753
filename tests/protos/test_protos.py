"""The contract that others program against: its style, its history, its bytes."""

import subprocess
import sys
from pathlib import Path

import pytest

from fibstream.bus import wire
from fibstream.core.events import (
    DeadLetter,
    ObjectChanged,
    PipelineChanged,
    Progress,
    Record,
    Sealed,
    Task,
)
from fibstream.core.keys import NamedInput
from fibstream.core.subject import WHOLE, ObjectId

PROTOS = Path(__file__).parents[2] / "protos"
BUF = Path(sys.executable).with_name("buf")
TASK = Task(
    "labels/mito", (1, 2, 3), "k1", (NamedInput("objects/mito", "map", (0, 0, 0), "h1"),), b"x"
)
# What version 1 wrote must be read for ever, and a replay must write it again.
GOLDEN = (
    (
        Record("raw", (1, 2, 3), "ready", "1", {"b": "2", "a": "1"}),
        "0a240a0372617712080a0608011002180318012201312a060a01611201312a060a0162120132",
    ),
    (
        Record("raw", (0, 0, 0), "failed", "k", reason="r", crashed=True),
        "0a130a0372617712020a00180422016b3201723801",
    ),
    (Sealed(300), "120308ac02"),
    (PipelineChanged(), "3a00"),
    (
        TASK,
        "1a390a0b6c6162656c732f6d69746f12080a060801100218031a026b3122190a0c6f626a656374732f6d69"
        "746f12036d61701a00220268312a0178",
    ),
    (
        Task("tables/mito", WHOLE, "k2", (), manifest="m"),
        "1a180a0b7461626c65732f6d69746f120210011a026b3232016d",
    ),
    (
        Record("shapes/mito", ObjectId(2**63), "removed"),
        "0a1c0a0b7368617065732f6d69746f120b18808080808080808080011805",
    ),
    (ObjectChanged("mito", "merged_into", 7, 9, 3), "220e0a046d69746f1003180720092803"),
    (Progress("refine", 5, True, 2, 8, 7, 1), "2a140a06726566696e65100518012002280830073801"),
    (
        DeadLetter("refine", TASK, "NaN", 3, "host:1"),
        "32520a06726566696e6512390a0b6c6162656c732f6d69746f12080a060801100218031a026b3122190a0c"
        "6f626a656374732f6d69746f12036d61701a00220268312a01781a034e614e20032a06686f73743a31",
    ),
)


@pytest.mark.parametrize(("event", "golden"), GOLDEN, ids=lambda v: type(v).__name__)
def test_events_have_the_bytes_of_version_1(event, golden) -> None:
    assert wire.encode(event).hex() == golden
    assert wire.decode(bytes.fromhex(golden)) == event


def buf(*arguments: str, folder: Path = PROTOS) -> "subprocess.CompletedProcess[str]":
    line = [str(BUF), *arguments]
    return subprocess.run(line, cwd=folder, capture_output=True, text=True, check=False)


def test_the_protos_keep_the_standard_rules() -> None:
    answer = buf("lint")
    assert answer.returncode == 0, answer.stdout


def test_the_protos_are_formatted() -> None:
    answer = buf("format", "--diff", "--exit-code")
    assert answer.returncode == 0, answer.stdout


def test_nothing_that_was_released_is_broken() -> None:
    answer = buf("breaking", "--against", "released.binpb")
    assert answer.returncode == 0, answer.stdout


def test_a_changed_field_is_seen_as_a_break(tmp_path) -> None:
    for path in PROTOS.rglob("*.*"):
        if path.is_file():
            target = tmp_path / path.relative_to(PROTOS)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    proto = tmp_path / "fibstream/v1/chunk.proto"
    proto.write_text(proto.read_text().replace("uint32 extent_z = 1;", "uint32 extent_z = 2;"))
    answer = buf("breaking", "--against", "released.binpb", folder=tmp_path)
    assert answer.returncode != 0 and "extent_z" in answer.stdout
