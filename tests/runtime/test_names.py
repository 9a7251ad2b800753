"""A dataset's name is one folder below the root, whatever was sent."""

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import WrongUse
from fibstream.runtime.root import Root, check_name

NAMES = [
    "", ".", "..", "../cell", "a/b", "/etc", "a\\b", "a\0", "a\n", " a", "a ", "-a", ".a", "_a",
    "a.zarr", "\u00e9", "\u0430", "a" * 129, "a:b", "a#b", "a%2fb", "~a", "$HOME", "a;b",
    "<script>",
    "a'b", "s3://a", "file:a", "a*", "a?b",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_that_is_no_folder_is_refused_and_makes_none(tmp_path: Path, name: str) -> None:
    root = Root(str(tmp_path / "root"))
    for use in (root.dataset, root.enter, root.leave, root.make, root.files, root.remove):
        with pytest.raises(WrongUse) as caught:
            use(name)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 400
    assert not list(tmp_path.rglob("*"))


PARTS = [".", "..", "/", "\\", "-", "_", "a", "Z", "9", "\0", "\n", ".zarr", "%2e", "\u00e9", " "]


@given(st.lists(st.sampled_from(PARTS), max_size=8).map("".join) | st.text(max_size=10))
def test_a_name_that_is_taken_is_one_part_of_a_path(name: str) -> None:
    try:
        check_name(name)
    except WrongUse:
        return
    assert PurePosixPath(f"/data/{name}.zarr").parent == PurePosixPath("/data")
    assert name.isascii() and name.isprintable() and name[0].isalnum()
    assert len(name) <= 128 and not name.endswith(".zarr")
