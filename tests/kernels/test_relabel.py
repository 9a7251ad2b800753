"""Mappings: exact, small, and refused when they are damaged."""

import zlib

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.grid import Grid
from fibstream.core.ids import BACKGROUND_BIT
from fibstream.kernels.mapping import decode_mapping, encode_mapping
from fibstream.kernels.relabel import relabel
from fibstream.services.refine.rule import FillHoles, object_fold

from ..refine.whole import cut, rule_of


def random_mapping(rng: np.random.Generator) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    ids = np.unique(rng.integers(1, 2**62, rng.integers(0, 60)).astype(np.uint64))
    ids[ids.size // 2 :] |= np.uint64(BACKGROUND_BIT)
    ids.sort()
    labels = rng.integers(1, 2**62, ids.size).astype(np.uint64)
    kind = rng.integers(0, 3, ids.size)
    return ids, np.where(
        kind == 0, 0, np.where(kind == 1, ids & ~np.uint64(BACKGROUND_BIT), labels)
    )


def test_a_mapping_is_decoded_as_it_was_encoded() -> None:
    rng = np.random.default_rng(1)
    for _ in range(100):
        ids, labels = random_mapping(rng)
        assert np.array_equal(decode_mapping(ids, encode_mapping(ids, labels)), labels)


def test_relabel_is_a_look_up() -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        ids, labels = random_mapping(rng)
        at = (
            rng.integers(-1, ids.size, rng.integers(1, 9, 3))
            if ids.size
            else np.full((2, 1, 3), -1)
        )
        pieces = np.append(ids, np.uint64(0))[at]
        expected = np.append(labels, np.uint64(0))[at]
        assert np.array_equal(relabel(pieces, ids, encode_mapping(ids, labels)), expected)


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"no",
        zlib.compress(b""),
        zlib.compress(b"\x02"),
        zlib.compress(b"\x03"),
        zlib.compress(b"\x01" * 9),
    ],
)
def test_a_damaged_mapping_is_poison(damaged: bytes) -> None:
    ids = np.array([3], np.uint64)
    with pytest.raises(Poison, match="mapping"):
        relabel(ids.reshape(1, 1, 1), ids, damaged)


def test_a_fragment_without_a_summary_is_poison() -> None:
    ids = np.array([3], np.uint64)
    with pytest.raises(Poison, match="fragment"):
        relabel(np.array([[[4]]], np.uint64), ids, encode_mapping(ids, ids))


@pytest.mark.parametrize("holes", ["none", "one"])
def test_a_mapping_of_a_hundred_thousand_pieces_is_an_event(holes: FillHoles) -> None:
    """The worst a chunk holds is noise; its mapping still fits into 64 KB."""
    rng = np.random.default_rng(3)
    grid, rule = Grid((200, 128, 64), (100, 128, 64)), rule_of(fill_holes=holes)
    volume = np.where(rng.random(grid.extent) < 0.16, 255, 0).astype(np.uint8)
    fold = object_fold(rule)
    summaries = {i: cut(volume, grid, i, set(), rule)[1] for i in grid.indices()}
    for index, summary in summaries.items():
        fold.put(index, summary)
    assert sum(s["ids"].size for s in summaries.values()) > 100_000
    assert max(len(fold.mapping(index)) for index in summaries) < 64 * 1024
