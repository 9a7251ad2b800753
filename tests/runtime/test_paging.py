"""Page tokens: they give back what they name, and anything else is wrong use."""

import base64
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.keys import canonical
from fibstream.runtime.paging import (
    MAX_PAGE,
    MAX_POSITION,
    PAGE,
    decode_token,
    encode_token,
    page_size,
)

POSITIONS = st.integers(1, MAX_POSITION - 1)
NAMES = st.text(max_size=20)


@given(POSITIONS, NAMES, NAMES)
def test_a_token_gives_back_position_and_version(position: int, request: str, version: str) -> None:
    assert decode_token(encode_token(position, request, version), request) == (position, version)


@given(POSITIONS, NAMES, NAMES)
def test_a_token_is_valid_for_its_request_alone(position: int, request: str, other: str) -> None:
    if request != other:
        with pytest.raises(WrongUse, match="page_token"):
            decode_token(encode_token(position, request), other)


def test_the_first_page_has_no_token() -> None:
    assert decode_token("", "cell/mito") == (0, None)


def token(*parts: object) -> str:
    return base64.urlsafe_b64encode(canonical(list(parts))).decode()


GOOD = encode_token(7, "cell/mito")
BAD = [
    "x", "\u00e9", "====", "a" * 10_000, f"{GOOD}\n", GOOD[:-4], "!" + GOOD, token(),
    token(7, "cell/mito"), token(7, "cell/mito", "", ""), token("7", "cell/mito", ""),
    token(1.5, "cell/mito", ""), token(True, "cell/mito", ""), token(0, "cell/mito", ""),
    token(-7, "cell/mito", ""), token(MAX_POSITION, "cell/mito", ""), token(7, "cell/er", ""),
    token(7, "cell/mito", 3), token(7, "cell/mito", None), token(*[[]] * 3),
    base64.b64encode(b"[" * 200).decode(), base64.b64encode(b"7").decode(),
    base64.b64encode(canonical({"a": 1, "b": 2, "c": 3})).decode(), token("x" * 500, "", ""),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD)
def test_what_is_no_token_of_the_request_is_wrong_use(bad: str) -> None:
    with pytest.raises(WrongUse, match="page_token: not one that"):
        decode_token(bad, "cell/mito")


def test_random_bytes_are_no_token() -> None:
    chance = random.Random(1)
    for count in range(1, 100):
        bad = base64.urlsafe_b64encode(chance.randbytes(count)).decode()
        with pytest.raises(WrongUse, match="page_token"):
            decode_token(bad, "cell/mito")


def test_a_page_has_a_default_size_and_a_limit() -> None:
    assert [page_size(n) for n in (0, 1, MAX_PAGE)] == [PAGE, 1, MAX_PAGE]
    with pytest.raises(LimitExceeded, match=f"page_size {MAX_PAGE + 1}: at most {MAX_PAGE}"):
        page_size(MAX_PAGE + 1)
