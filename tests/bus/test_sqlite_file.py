"""A file that is no bus of this version is named at once, and nothing of it is changed."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fibstream.bus.sqlite import SqliteBus
from fibstream.core.errors import Damaged, NotFound

WRONG = {
    "another program's": "CREATE TABLE places (url TEXT)",
    "other columns in the log": "CREATE TABLE log (a, b)",
    "a later version": "CREATE TABLE log (offset, topic, key, value, more); PRAGMA user_version=9",
    "a view": "CREATE TABLE other (a); CREATE VIEW log AS SELECT a FROM other",
}


@pytest.mark.parametrize("script", WRONG.values(), ids=WRONG)
def test_a_file_of_another_program_is_refused_and_stays_as_it_is(
    tmp_path: Path, script: str
) -> None:
    path = tmp_path / "bus.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(script)
        before = list(db.iterdump())
    for read_only in (False, True):
        with pytest.raises(Damaged, match=r"bus\.sqlite"):
            SqliteBus(path, read_only=read_only)
    with closing(sqlite3.connect(path)) as db:
        assert list(db.iterdump()) == before


@pytest.mark.parametrize("content", [b"not sqlite at all" * 100, b"SQLite format 3\0" + bytes(84)])
def test_a_file_that_is_no_database_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bus.sqlite"
    path.write_bytes(content)
    with pytest.raises(Damaged, match=r"verify --rebuild"):
        SqliteBus(path)


def test_a_bus_that_is_cut_short_is_named_and_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    with closing(SqliteBus(path)) as bus:
        for number in range(300):
            bus.publish("t", f"d/{number}", bytes(500))
    path.write_bytes(path.read_bytes()[:8192])
    with pytest.raises(Damaged), closing(SqliteBus(path)) as bus:
        bus.read(["t"], 0)


def test_a_rule_of_somebody_else_in_the_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    SqliteBus(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON log BEGIN SELECT RAISE(ABORT, 'not here'); END"
        )
    bus = SqliteBus(path)
    with pytest.raises(Damaged, match="not here"):
        bus.publish("t", "d/1", b"")


def test_a_folder_or_a_broken_link_in_the_place_of_the_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "bus")
    for name in ("folder", "link"):
        with pytest.raises(Damaged, match=name):
            SqliteBus(tmp_path / name)


def test_the_tables_of_an_earlier_version_keep_their_log(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    with closing(SqliteBus(path)) as bus:
        bus.publish("t", "d/1", b"1")
        bus.send("q", "d/1", b"1")
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE tasks; CREATE TABLE tasks (old); PRAGMA user_version=1")
    with closing(SqliteBus(path)) as bus:
        assert [entry.value for entry in bus.read(["t"], 0)] == [b"1"]
        assert bus.backlog("q") == 0


def test_an_earlier_version_is_read_where_nothing_can_be_written(tmp_path: Path) -> None:
    path = tmp_path / "bus.sqlite"
    with closing(SqliteBus(path)) as bus:
        bus.publish("t", "d/1", b"1")
    with closing(sqlite3.connect(path)) as db:
        db.executescript("DROP TABLE tasks; CREATE TABLE tasks (old); PRAGMA user_version=1")
    with closing(SqliteBus(path, read_only=True)) as bus:
        assert [entry.value for entry in bus.read(["t"], 0)] == [b"1"]


def test_a_file_whose_tables_are_still_to_be_made_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        SqliteBus(tmp_path / "bus.sqlite", read_only=True)
    (tmp_path / "bus.sqlite").touch()
    with pytest.raises(NotFound, match="still to be made"):
        SqliteBus(tmp_path / "bus.sqlite", read_only=True)


def test_a_bus_whose_path_leads_nowhere_is_not_the_one_that_is_open(tmp_path: Path) -> None:
    folder = tmp_path / "cell.zarr"
    folder.mkdir()
    with closing(SqliteBus(folder / "bus.sqlite")) as bus:
        assert bus.is_current
        folder.rename(tmp_path / "gone")
        assert not bus.is_current
        folder.touch()  # a file where its folder was
        assert not bus.is_current


def test_a_live_log_is_read_to_its_end_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bus.sqlite"
    monkeypatch.setattr(os, "access", lambda *_: False)  # root may write anywhere
    with closing(SqliteBus(path)) as live:
        live.publish("t", "d/1", b"1")
        with closing(SqliteBus(path, read_only=True)) as bus:
            live.publish("t", "d/2", b"2")
            assert [entry.value for entry in bus.read(["t"], 0)] == [b"1", b"2"]
    before = set(tmp_path.iterdir())
    with closing(SqliteBus(path, read_only=True)) as bus:
        assert [entry.value for entry in bus.read(["t"], 0)] == [b"1", b"2"]
        assert set(tmp_path.iterdir()) == before == {path}  # an archive stays as it is
