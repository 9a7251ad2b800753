"""Names that follow from content: equal things share one, different things never do."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.core.keys import (
    NamedInput,
    canonical,
    content_hash,
    digest,
    parameters_digest,
    wanted_key,
)
from fibstream.core.stage import Input, Output, Stage
from fibstream.core.subject import ObjectId

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
BOX = Box((0, 0, 0), (4, 5, 6))
WIDE = Box((0, 0, 0), (5, 6, 7))
INPUT = NamedInput("raw", "raw", (1, 2, 3), "abc")
STAGE = Stage(
    "blur/x",
    2,
    (Input("raw", "raw", "uint8"),),
    (Output("x", "uint8"),),
    {"a": 1},
    lambda _block: {},
)

PINNED = {
    "content": "27b8010d8f408b37061a36b15dc52d0a",
    "rule": "81c504a86038a783b96684e3b6fe32f0",
    "key": "4dc45cb9850db0debff37f6ab94654dc",
}


def backwards(value: Any) -> Any:
    """Return an equal value whose mappings were filled in the other order."""
    if isinstance(value, dict):
        return {k: backwards(v) for k, v in reversed(value.items())}
    return [backwards(v) for v in value] if isinstance(value, list) else value


@given(JSON)
def test_canonical_does_not_know_in_which_order_a_mapping_was_filled(value: Any) -> None:
    assert canonical(backwards(value)) == canonical(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x"])
def test_canonical_refuses_what_json_cannot_say(value: Any) -> None:
    with pytest.raises((ValueError, TypeError)):
        canonical([value])


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_digest_knows_where_parts_end(a: list[bytes], b: list[bytes]) -> None:
    assert (digest(*a) == digest(*b)) == (a == b)


def test_content_hash_distinguishes_shape_dtype_and_value() -> None:
    base = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    others: list[NDArray[Any]] = [
        base.reshape(3, 2, 4), base.reshape(24), base.astype(np.int16), base.view(np.uint8),
        base.astype(np.uint32), base + np.uint16(1), base[::-1], base.transpose(0, 2, 1),
        np.zeros((0, 3, 4), np.uint16), np.zeros((0, 4, 3), np.uint16), np.zeros(0, np.uint16),
    ]  # fmt: skip
    hashes = {content_hash(array) for array in [base, *others]}
    assert len(hashes) == 1 + len(others)


def test_content_hash_sees_voxels_not_memory() -> None:
    base = np.arange(24, dtype=np.uint16).reshape(2, 3, 4)
    same = [
        base.copy(order="F"), base.astype(">u2"), np.repeat(base, 2, axis=1)[:, ::2],
        base[::-1].copy()[::-1],
    ]  # fmt: skip
    assert {content_hash(array) for array in same} == {content_hash(base)}


def test_content_hash_tells_minus_zero_from_zero() -> None:
    zero = np.zeros(3, np.float32)
    assert content_hash(-zero) != content_hash(zero)


@pytest.mark.parametrize(
    "other",
    [{"name": "blur/y"}, {"version": 3}, {"parameters": {"a": 2}}, {"parameters": {"b": 1}}],
)
def test_a_stage_is_named_by_its_rule(other: dict[str, Any]) -> None:
    assert parameters_digest(replace(STAGE, **other)) != parameters_digest(STAGE)


def test_a_stage_is_not_named_by_how_it_is_written() -> None:
    same = replace(STAGE, compute=lambda _block: {}, inputs=(), outputs=(), folded=True)
    assert parameters_digest(same) == parameters_digest(STAGE)


def key(
    rule: str = "r",
    core: Box = BOX,
    boxes: Mapping[str, Box] | None = None,
    inputs: Iterable[NamedInput] = (INPUT,),
    extra: bytes = b"e",
) -> str:
    return wanted_key(rule, core, {"raw": BOX} if boxes is None else boxes, inputs, extra)


PARTS: dict[str, dict[str, Any]] = {
    "rule": {"rule": "s"},
    "core": {"core": WIDE},
    "a box": {"boxes": {"raw": WIDE}},
    "a box's name": {"boxes": {"row": BOX}},
    "one more box": {"boxes": {"raw": BOX, "row": BOX}},
    "input stage": {"inputs": (INPUT._replace(stage="row"),)},
    "input name": {"inputs": (INPUT._replace(name="row"),)},
    "input index": {"inputs": (NamedInput("raw", "raw", (1, 2, 4), "abc"),)},
    "input object": {"inputs": (NamedInput("raw", "raw", ObjectId(1), "abc"),)},
    "input hash": {"inputs": (INPUT._replace(hash="abd"),)},
    "order of inputs": {"inputs": (INPUT, INPUT._replace(hash="b"))},
    "other order": {"inputs": (INPUT._replace(hash="b"), INPUT)},
    "no input": {"inputs": ()},
    "extra": {"extra": b"f"},
    "no extra": {"extra": b""},
}


def test_a_wanted_key_changes_with_every_part() -> None:
    keys = {what: key(**change) for what, change in PARTS.items()}
    assert len({key(), *keys.values()}) == 1 + len(PARTS)


def test_a_wanted_key_changes_with_nothing_else() -> None:
    boxes = {"raw": BOX, "a": WIDE}
    first = key(boxes=boxes, inputs=iter([INPUT]))
    assert key(boxes=dict(reversed(boxes.items())), inputs=[INPUT]) == first


def test_names_do_not_drift_from_release_to_release() -> None:
    """A stored stamp is found again only while these stay as they were."""
    assert content_hash(np.arange(8, dtype=np.uint16).reshape(2, 2, 2)) == PINNED["content"]
    assert parameters_digest(STAGE) == PINNED["rule"]
    assert key() == PINNED["key"]
