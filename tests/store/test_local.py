"""Files in a folder: a kill leaves the old file or the new one, and a full disk is said to be."""

import fcntl
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import pytest

from fibstream.core.errors import DiskFull, Retryable
from fibstream.core.ports import Generation
from fibstream.store.local import PRIVATE, LocalFiles

from ..support.patience import PATIENCE_S

KILLED = """
import os, signal, sys
from pathlib import Path
from fibstream.store import local
moment = getattr(local.LocalFiles, sys.argv[2])
def die(*given: object) -> None:
    {before}
    os.kill(os.getpid(), signal.SIGKILL)
setattr(local.LocalFiles, sys.argv[2], die)
local.LocalFiles(Path(sys.argv[1])).put("folder/a", b"new" * 1000)
"""


@pytest.fixture
def files(tmp_path: Path) -> LocalFiles:
    made = LocalFiles(tmp_path / "x.zarr")
    made.root.mkdir()
    made.put("folder/a", b"old")
    return made


def read(files: LocalFiles, path: str = "folder/a") -> bytes:
    handle = files.open(path)
    assert handle is not None
    data = handle.read(0, handle.size)
    handle.close()
    return data


def temporaries(files: LocalFiles) -> list[Path]:
    folder = files.root / PRIVATE / "tmp"
    return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.mark.parametrize(
    ("before", "content", "left"), [("pass", b"old", 1), ("moment(*given)", b"new" * 1000, 0)]
)
def test_a_kill_around_the_rename_leaves_one_whole_file(
    files: LocalFiles, before: bytes, content: bytes, left: bool
) -> None:
    script = KILLED.format(before=before)
    ended = subprocess.run([sys.executable, "-c", script, files.root, "_move"], check=False)
    assert ended.returncode == -signal.SIGKILL
    assert read(files) == content
    assert list(files.list("folder")) == ["folder/a"]
    assert len(temporaries(files)) == left
    files.sweep()
    assert temporaries(files) == []
    assert read(files) == content


def test_a_put_leaves_no_temporary(files: LocalFiles) -> None:
    files.put("folder/b", b"x")
    assert not files.put("folder/b", b"y", expected=())
    assert temporaries(files) == []


def test_sweeping_where_nothing_was_written_does_nothing(tmp_path: Path) -> None:
    LocalFiles(tmp_path / "nothing").sweep()
    assert list(tmp_path.iterdir()) == []


def full(files: LocalFiles) -> Any:
    """Let the next temporary be written to the device on which there is never any room."""
    number = next(files._numbers) + 1
    (files.root / PRIVATE / "tmp" / f"{files._writer}-{number}").symlink_to("/dev/full")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("expected", [None, ()])
def test_a_full_disk_is_said_and_leaves_the_old_file(
    files: LocalFiles, expected: Generation | None
) -> None:
    full(files)
    with pytest.raises(DiskFull, match=r"no space left for .*folder/a"):
        files.put("folder/a", b"new", expected)
    assert read(files) == b"old"
    assert temporaries(files) == []
    assert files.put("folder/a", b"new")


def test_a_name_below_a_file_is_an_error_that_may_pass(files: LocalFiles) -> None:
    with pytest.raises(Retryable, match="folder/a/b"):
        files.put("folder/a/b", b"x")
    assert read(files) == b"old"
    assert temporaries(files) == []


@pytest.mark.parametrize("expected", [None, ()])
@pytest.mark.parametrize("full", [False, True])
def test_a_folder_where_a_file_belongs_is_no_file_and_is_set_aside(
    files: LocalFiles, expected: Generation | None, full: bool
) -> None:
    (files.root / "folder/b").mkdir()
    if full:
        (files.root / "folder/b/note.txt").write_text("mine")
    assert files.open("folder/b") is None
    assert files.put("folder/b", b"new", expected)
    assert read(files, "folder/b") == b"new"
    (aside,) = (files.root / PRIVATE / "aside").iterdir()
    assert [path.read_text() for path in aside.iterdir()] == ["mine"] * full
    assert temporaries(files) == []
    (files.root / "folder/c").mkdir()
    files.delete("folder/c")
    assert not (files.root / "folder/c").exists()
    files.sweep()


def test_what_is_no_file_of_its_own_is_not_opened_and_replaced(files: LocalFiles) -> None:
    os.mkfifo(files.root / "folder/pipe")
    (files.root / "folder/loop").symlink_to("loop")
    (files.root / "folder/lost").symlink_to("nowhere")
    for name in ("folder/pipe", "folder/loop", "folder/lost"):
        assert files.open(name) is None
        assert files.put(name, b"new", ())
        assert read(files, name) == b"new"
    assert read(files) == b"old"


def test_processes_that_put_over_one_generation_win_once(files: LocalFiles) -> None:
    """Each adds one to what it read; a put over an older generation would lose a count."""
    files.put("folder/a", b"0")
    script = (
        "import sys; from pathlib import Path; from fibstream.store.local import LocalFiles\n"
        "files, done = LocalFiles(Path(sys.argv[1])), 0\n"
        "while done < 40:\n"
        "    handle = files.open('folder/a')\n"
        "    number = int(handle.read(0, handle.size))\n"
        "    done += files.put('folder/a', str(number + 1).encode(), handle.generation)\n"
        "    handle.close()\n"
    )
    children = [subprocess.Popen([sys.executable, "-c", script, files.root]) for _ in range(2)]
    assert [child.wait(PATIENCE_S) for child in children] == [0, 0]
    assert read(files) == b"80"
    assert temporaries(files) == []


def test_generations_are_compared_under_a_lock(files: LocalFiles) -> None:
    """Who waits for the lock sees what its holder wrote, and gives way."""
    handle = files.open("folder/a")
    assert handle is not None
    with ThreadPoolExecutor(1) as pool, (files.root / PRIVATE / "put.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        waiting = pool.submit(files.put, "folder/a", b"late", handle.generation)
        while not temporaries(files) and not waiting.done():
            time.sleep(0.001)
        # It never ends while the lock is held; one that does not ask for it ends at once.
        assert not wait([waiting], timeout=0.1).done
        files.put("folder/a", b"first")
        fcntl.flock(lock, fcntl.LOCK_UN)
        assert waiting.result() is False
    handle.close()
    assert read(files) == b"first"


def test_writers_in_one_process_do_not_share_a_temporary(tmp_path: Path) -> None:
    """Two calls of a service hold files of their own: what one writes never lies at the other's."""

    def writing(name: str) -> None:
        for number in range(50):
            LocalFiles(tmp_path).put(f"{name}/{number}", name.encode() * 20_000)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(writing, "abcd"))
    files = LocalFiles(tmp_path)
    for name in "abcd":
        for number in range(50):
            assert read(files, f"{name}/{number}") == name.encode() * 20_000
