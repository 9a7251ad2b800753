"""A triple is three positive numbers, or one for all; anything else is one line."""

import pytest

from fibstream.cli.flags import parse_triple
from fibstream.core.errors import WrongUse


@pytest.mark.parametrize(
    ("text", "kind", "triple"),
    [
        ("64", int, (64, 64, 64)),
        ("64,32,16", int, (64, 32, 16)),
        (" 64, 32,16 ", int, (64, 32, 16)),
        ("10", float, (10.0, 10.0, 10.0)),
        ("5.5,4,1e1", float, (5.5, 4.0, 10.0)),
    ],
)
def test_what_is_read(text, kind, triple) -> None:
    found = parse_triple(text, "--chunk", kind)
    assert found == triple
    assert all(type(number) is kind for number in found)


@pytest.mark.parametrize("kind", [int, float])
@pytest.mark.parametrize(
    "text",
    ["", ",", "1,2", "1,2,3,4", "a", "1,2,x", "1;2;3", "0", "1,-2,3", "1,,2", "1_0", "nan", "inf"],
)
def test_what_is_refused(text, kind) -> None:
    with pytest.raises(
        WrongUse, match=r"--chunk .*expected three positive .*numbers Z,Y,X"
    ) as line:
        parse_triple(text, "--chunk", kind)
    assert "\n" not in str(line.value)


def test_a_chunk_has_whole_voxels() -> None:
    with pytest.raises(WrongUse, match="whole numbers"):
        parse_triple("1.5", "--chunk", int)
