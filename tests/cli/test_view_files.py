"""What the viewer serves: versions of files, and the state that browsers share."""

import json
import os
import threading
from pathlib import Path

import pytest

from fibstream.cli.viewer.files import VersionedFiles
from fibstream.cli.viewer.sharing import SharedState, Snapshot

from ..support.patience import PATIENCE_S


def contents(files: VersionedFiles, version: int, path: str) -> bytes | None:
    """Return what a file holds under a version of its group."""
    opened = files.open(version, path)
    if opened is None:
        return None
    with os.fdopen(opened.descriptor, "rb") as file:
        return file.read()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("raw/a", "raw2/b", "secret"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    (tmp_path / "outside").write_text("outside")
    return tmp_path / "d"


@pytest.mark.parametrize(
    "path",
    ["secret", "raw2/b", "raw", "raw/", "raw/../secret", "raw/./a", "raw//a", "../outside",
     "/etc/passwd", "raw/../../outside", "raw/x\0", "raw/" + "a" * 5000, ""],
)  # fmt: skip
def test_only_files_of_shown_groups_are_opened(tree: Path, path: str) -> None:
    files = VersionedFiles(tree, ["raw"])
    assert contents(files, 1, "raw/a") == b"raw/a"
    assert contents(files, 1, path) is None


def test_a_link_out_of_the_dataset_is_not_followed(tree: Path) -> None:
    (tree / "raw/link").symlink_to(tree.parent / "outside")
    (tree / "raw/circle").symlink_to(tree / "raw/circle")
    (tree / "raw/inside").symlink_to(tree / "raw/a")
    files = VersionedFiles(tree, ["raw"])
    assert contents(files, 1, "raw/link") is None
    assert contents(files, 1, "raw/circle") is None
    assert contents(files, 1, "raw/inside") == b"raw/a"
    assert not files.refresh()


def replace(path: Path, text: str) -> None:
    path.with_name("new").write_text(text)
    path.with_name("new").replace(path)


def test_a_version_lasts_until_something_read_is_another(tree: Path) -> None:
    files = VersionedFiles(tree, ["raw", "raw2"])
    assert contents(files, 1, "raw/a") == b"raw/a"
    assert contents(files, 1, "raw/late") is None
    assert not files.refresh()
    replace(tree / "raw/unread", "new")  # never requested: nothing to redraw
    assert not files.refresh()
    replace(tree / "raw/late", "come")
    assert contents(files, 1, "raw/late") is None  # under this version it is not there
    assert files.refresh()
    assert (files.version("raw"), files.version("raw2")) == (2, 1)
    assert contents(files, 2, "raw/late") == b"come"
    assert contents(files, 1, "raw/late") is None
    replace(tree / "raw/late", "else")
    assert contents(files, 2, "raw/late") is None  # never another under the same version
    assert files.refresh()
    assert contents(files, 3, "raw/late") == b"else"
    (tree / "raw/late").unlink()
    assert files.refresh()


def snapshot(shared: SharedState, client: str, last: str, timeout_s: float = 0) -> Snapshot:
    """Return the state that a browser receives."""
    found = shared.wait(client=client, last=last, timeout_s=timeout_s)
    assert found is not None
    return found


def test_a_state_from_an_old_one_is_refused() -> None:
    shared = SharedState({"layers": []})
    first = snapshot(shared, "a", "")
    posted = shared.post({"layers": [], "p": 1}, client="a", number="1", previous=first.generation)
    assert posted == "a/1"
    assert shared.post({"p": 2}, client="b", number="1", previous=first.generation) is None
    assert json.loads(snapshot(shared, "b", first.generation).text)["p"] == 1


def test_a_browser_does_not_get_its_own_state_back_but_after_a_reload() -> None:
    shared = SharedState({"layers": []})
    first = snapshot(shared, "a", "").generation
    shared.post({"layers": [], "p": 1}, client="a", number="1", previous=first)
    assert shared.wait(client="a", last=first, timeout_s=0) is None
    assert snapshot(shared, "other", "").generation == "a/1"
    shared.renew({"layers": [{"name": "x", "source": []}]})
    renewed = snapshot(shared, "a", "a/1")
    assert json.loads(renewed.text) == {"layers": [{"name": "x", "source": []}], "p": 1}


def test_a_waiting_browser_is_woken() -> None:
    shared = SharedState({"layers": []})
    last = snapshot(shared, "a", "").generation
    found: list[Snapshot] = []
    thread = threading.Thread(
        target=lambda: found.append(snapshot(shared, "a", last, timeout_s=60))
    )
    thread.start()
    shared.renew({"layers": []})
    thread.join(PATIENCE_S)
    assert found[0].generation != last
