"""Published hashes: the plainest definition, whoever reads and however."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.grid import Box
from fibstream.store.published import BOX, labels_hash, tables_hash

VOLUME = np.random.default_rng(3).integers(0, 2**40, (70, 65, 130), np.uint64)


def by_definition(volumes: Any) -> Any:
    """Return sha256 over 64³ boxes in raster order: shape, dtype, C-order little-endian bytes."""
    state = hashlib.sha256()
    for name, array in sorted(volumes.items()):
        state.update(name.encode() + b"\n")
        for z in range(0, array.shape[0], 64):
            for y in range(0, array.shape[1], 64):
                for x in range(0, array.shape[2], 64):
                    part = array[z : z + 64, y : y + 64, x : x + 64]
                    said = [list(part.shape), part.dtype.newbyteorder("<").str]
                    state.update(json.dumps(said, separators=(",", ":")).encode())
                    state.update(np.ascontiguousarray(part).tobytes())
    return state.hexdigest()


def reader(volume: NDArray[Any]) -> Callable[[Box], NDArray[Any]]:
    return lambda box: volume[box.slices()]


def published(**volumes: NDArray[Any]) -> str:
    return labels_hash({n: (a.shape, reader(a)) for n, a in volumes.items()})


def test_the_hash_is_its_definition() -> None:
    assert BOX == 64
    small = VOLUME[:3, :4, :5]
    for volumes in ({"a": VOLUME}, {"b": VOLUME, "a": small}, {}):
        assert published(**volumes) == by_definition(volumes)


@pytest.mark.parametrize(
    "same", [np.asfortranarray(VOLUME), VOLUME.astype(">u8"), VOLUME[::-1].copy()[::-1]]
)
def test_the_hash_does_not_know_how_voxels_were_read(same: Any) -> None:
    assert published(a=same) == published(a=VOLUME)


def test_the_hash_does_not_know_which_volume_came_first() -> None:
    small = VOLUME[:3]
    assert published(a=small, b=VOLUME) == published(b=VOLUME, a=small)


def test_the_hash_sees_every_difference() -> None:
    other = VOLUME.copy()
    other[-1, -1, -1] += np.uint64(1)
    volumes = [
        VOLUME, other, VOLUME.astype(np.int64), VOLUME[:-1], VOLUME.transpose(1, 0, 2),
        VOLUME.reshape(130, 65, 70),
    ]  # fmt: skip
    hashes = {published(a=v) for v in volumes} | {published(b=VOLUME), published()}
    assert len(hashes) == len(volumes) + 2


def test_the_hash_of_tables_is_of_names_and_rows() -> None:
    tables = {"a": "1", "b": "2"}
    assert tables_hash(dict(reversed(tables.items()))) == tables_hash(tables)
    others = [{"a": "2", "b": "1"}, {"a": "1"}, {"a": "1", "c": "2"}, {"a1": "", "b": "2"}, {}]
    assert len({tables_hash(t) for t in [tables, *others]}) == 6
