"""What a dataset takes, who is at work on it, what killed processes left, and its removal."""

import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.app.folder import owner_of
from fibstream.app.housekeeping import age_text, delete_folder, size_text, usage
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.errors import NotFound, Retryable, WrongUse
from fibstream.runtime.root import Root, bus_path
from fibstream.runtime.supervisor import ABANDONED_S, Supervisor, sweep_abandoned, temporaries
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.store.local import PRIVATE, LocalFiles

from ..support.command import apart, inside
from ..support.patience import PATIENCE_S
from ..support.wrong import CELL, is_rejected, tree

HERE = f"process {os.getpid()} on {socket.gethostname()}"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    made = Root(str(tmp_path / "root"))
    create(made, DatasetDesign(CELL, {}, []))
    yield made
    made.close()


@pytest.fixture
def cell(root) -> Path:
    """A dataset that holds a byte of raw, two of labels, and a log that is open to nobody."""
    files = root.files("cell")
    files.put("raw/s0/c/0/0/0", b"1")
    files.put("labels/mito/s0/c/0/0/0", b"12")
    return Path(root.url_of("cell"))


@pytest.fixture
def lock(cell):
    """The lock of a run that lives: of this process."""
    path = cell / PRIVATE / "run.lock"
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(HERE + "\n")
        file.flush()
        yield file


def abandon(files: LocalFiles, age_s: float, size: int = 100) -> Path:
    """Leave a temporary file, as a writer that is killed before the rename."""
    part = files._write(b"x" * size)
    then = part.stat().st_mtime - age_s
    os.utime(part, (then, then))
    return part


# -- status --------------------------------------------------------------------------------------


def test_bytes_of_all_groups_are_those_of_all_files(cell, root) -> None:
    abandon(root.files("cell"), 0, 7)
    found = usage(cell)
    assert found.groups["raw"] == 1 and found.groups["labels"] == 2
    assert found.groups["predictions"] == found.groups["tables"] == 0
    assert found.temporaries == 7
    every = sum(path.stat().st_size for path in cell.rglob("*") if path.is_file())
    assert sum(found.groups.values()) + found.temporaries == every


def test_the_last_change_is_of_what_is_not_private(cell) -> None:
    for path in cell.rglob("*"):
        os.utime(path, (1000, 1000))
    os.utime(cell / "raw/s0/c/0/0/0", (2000, 2000))
    (cell / PRIVATE / "new").write_text("now")
    assert usage(cell).changed_s == 2000


def test_status_tells_bytes_age_and_temporaries(cell, root) -> None:
    abandon(root.files("cell"), 0, 2000)
    said = json.loads(inside("status", cell, "--json").out)
    assert said["bytes"]["raw"] == 1 and said["temporary_bytes"] == 2000
    changed = datetime.fromisoformat(said["changed"])
    assert timedelta() <= datetime.now(UTC) - changed < timedelta(minutes=5)
    assert said["in_use_by"] is None
    text = inside("status", cell).out
    assert "raw 1 bytes" in text and "temporaries: 2 kB" in text and " s ago)" in text
    assert "at work" not in text


def test_a_log_that_cannot_be_written_is_read(cell) -> None:
    log = bus_path(cell)
    log.parent.mkdir(exist_ok=True)
    with closing(SqliteBus(log)) as bus:
        bus.publish("t", "k", b"v")
        with closing(SqliteBus(log, read_only=True)) as other:
            assert [entry.value for entry in other.read(["t"], 0)] == [b"v"]
            with pytest.raises(Retryable, match="readonly"):
                other.publish("t", "k", b"w")
    with pytest.raises(NotFound, match="none"):
        SqliteBus(cell / "none/bus.sqlite", read_only=True)


@pytest.mark.skipif(os.getuid() == 0 and not shutil.which("setpriv"), reason="root may write all")
def test_a_dataset_of_somebody_else_has_a_status(cell) -> None:
    with closing(SqliteBus(bus_path(cell))):
        pass
    for place in (cell, *cell.rglob("*")):
        place.chmod(0o555 if place.is_dir() else 0o444)
    command = [Path(sys.executable).with_name("fibstream"), "status", cell]
    if os.getuid() == 0:
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PATIENCE_S)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith("cell: ")


def test_status_names_who_is_at_work_and_does_not_get_in_the_way(cell, lock) -> None:
    assert owner_of(cell) == HERE
    assert json.loads(inside("status", cell, "--json").out)["in_use_by"] == HERE
    assert f"at work: {HERE}" in inside("status", cell).out
    fcntl.flock(lock, fcntl.LOCK_UN)
    assert owner_of(cell) is None
    with (cell / PRIVATE / "run.lock").open() as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nothing is left of the look


def test_a_lock_that_names_the_dead_is_not_even_tried(cell, lock) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    lock.truncate(0)
    lock.seek(0)
    lock.write(f"process {ended.pid} on {socket.gethostname()}\n")
    lock.flush()
    assert owner_of(cell) is None  # though it is held: whoever starts has not written yet


def test_a_dataset_that_was_never_run_is_in_use_by_nobody(cell) -> None:
    assert owner_of(cell) is None


@given(st.integers(0, 10**15))
def test_sizes_keep_three_digits(count) -> None:
    number, unit = size_text(count).split()
    scale = {"bytes": 1, "kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}[unit]
    assert float(number) * scale == pytest.approx(count, rel=0.006)
    assert float(number) < 1000 or unit == "TB"


@pytest.mark.parametrize(
    ("age_s", "text"),
    [(-5, "0 s"), (59, "59 s"), (119, "119 s"), (120, "2 min"), (7200, "2 h"), (10**6, "11 days")],
)
def test_ages(age_s, text) -> None:
    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert age_text((now - timedelta(seconds=age_s)).isoformat(), now) == f"{text} ago"


# -- delete --------------------------------------------------------------------------------------


def test_a_folder_is_deleted_and_leaves_the_catalogue(cell, root, tmp_path) -> None:
    answer = inside("delete", cell, "--yes")
    assert (answer.code, answer.out, answer.err) == (0, f"{cell}: deleted\n", "")
    assert root.names() == []
    assert sorted(path.name for path in cell.parent.iterdir()) == [".fibstream", "catalogue"]
    with pytest.raises(NotFound):
        LocalFiles(cell).put("raw/late", b"1")


def test_a_dataset_of_no_root_and_of_any_name_is_deleted(cell, tmp_path) -> None:
    mine = tmp_path / "my data"
    shutil.copytree(cell, mine)
    assert inside("delete", f"{tmp_path}/my data", "--yes").code == 0
    assert not mine.exists() and cell.exists()


def test_a_link_is_followed(cell, tmp_path) -> None:
    link = tmp_path / "link.zarr"
    link.symlink_to(cell)
    delete_folder(link)
    assert not cell.exists()


def test_what_a_killed_deletion_left_goes_with_the_next(cell) -> None:
    left = cell.with_name(f".{cell.name}.{'0' * 32}.deleted")
    (left / "raw").mkdir(parents=True)
    delete_folder(cell)
    assert not left.exists()


def test_deletion_asks(cell) -> None:
    before = tree(cell)
    answer = apart("delete", cell)  # stdin is at its end
    assert answer.code == 130 and "raw and all results? [y/N]" in answer.out
    assert tree(cell) == before


def test_a_dataset_at_work_is_not_deleted_and_named(cell, lock) -> None:
    is_rejected(cell, ["delete", cell, "--yes"], f"cell.zarr: in use by {HERE}")


def test_what_is_no_dataset_is_not_deleted(tmp_path) -> None:
    (tmp_path / "photos.zarr").mkdir()
    (tmp_path / "photos.zarr" / "a.jpg").write_bytes(b"1")
    with pytest.raises(WrongUse, match="not a dataset"):
        delete_folder(tmp_path / "photos.zarr")
    assert (tmp_path / "photos.zarr" / "a.jpg").exists()


# -- temporaries ---------------------------------------------------------------------------------


def test_temporaries_are_where_writers_put_them(tmp_path) -> None:
    files = LocalFiles(tmp_path)
    part = abandon(files, 0)
    assert [path for path, _ in temporaries(tmp_path)] == [part]
    (part.parent / "note").write_text("mine")
    assert [path for path, _ in temporaries(tmp_path)] == [part]
    assert list(temporaries(tmp_path / "none")) == []


def test_only_what_nobody_wrote_to_for_long_is_swept(tmp_path) -> None:
    files = LocalFiles(tmp_path)
    old, young = abandon(files, ABANDONED_S + 10, 30), abandon(files, ABANDONED_S - 10)
    assert sweep_abandoned(tmp_path, old.stat().st_mtime + ABANDONED_S + 10) == 30
    assert not old.exists() and young.exists()


def test_a_writer_whose_file_was_taken_does_it_again(tmp_path) -> None:
    """The rule is safe, not only likely: no put is ever half done, or thought done."""
    files = LocalFiles(tmp_path)
    part = files._write(b"new")
    sweep_abandoned(tmp_path, part.stat().st_mtime + ABANDONED_S + 1)
    with pytest.raises(FileNotFoundError):
        files._move(part, tmp_path / "a")
    assert files.put("a", b"new") and (tmp_path / "a").read_bytes() == b"new"


def test_a_service_sweeps_its_root_and_its_datasets(cell, root) -> None:
    parts = [abandon(LocalFiles(Path(root.url)), ABANDONED_S + 60),
             abandon(root.files("cell"), ABANDONED_S + 60)]  # fmt: skip
    young = abandon(root.files("cell"), 0)
    supervisor = Supervisor("ingest", root, (), 1, None)
    supervisor.watch()
    supervisor.close()
    assert not any(part.exists() for part in parts) and young.exists()


def test_a_root_that_cannot_be_read_does_not_stop_a_service(root, cell) -> None:
    shutil.rmtree(cell)
    (cell.parent / PRIVATE / "tmp").mkdir(parents=True, exist_ok=True)
    supervisor = Supervisor("ingest", root, (), 1, None)
    supervisor.watch()
    supervisor.close()
