"""Chunk stores as people report them: names, fill values and codecs of other writers, parts."""

import json
from pathlib import Path
from typing import Any

import numcodecs
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Box
from fibstream.volumes.zarr_n5 import presence
from fibstream.volumes.zarr_n5.chunk_files import ChunkFiles
from fibstream.volumes.zarr_n5.presence import (
    SAMPLED,
    SAMPLED_REMOTE,
    presence_in_bucket,
    presence_in_folder,
)

from .layouts import SIZE, VOLUME, assert_holds, n5_array, opened

CHUNK = (4, 3, 2)
DELTA = {"id": "delta", "dtype": "<u2"}
SCALED = {"id": "fixedscaleoffset", "offset": 0, "scale": 1, "dtype": "<u2", "astype": "<u4"}


def zarr_v2(path: Path, volume: NDArray[Any] = VOLUME, separator: str = ".", **stated: Any) -> Path:
    """Chunks as numcodecs encodes them, beside the metadata ``stated``."""
    path.mkdir()
    metadata = {
        "zarr_format": 2, "shape": volume.shape, "chunks": CHUNK, "dtype": volume.dtype.str,
        "compressor": None, "fill_value": 0, "order": "C", "filters": None,
        "dimension_separator": separator, **stated,
    }  # fmt: skip
    (path / ".zarray").write_text(json.dumps(metadata))
    (path / ".zattrs").write_text(json.dumps({"resolution": SIZE, "units": "nm"}))
    codecs = [*(metadata["filters"] or []), *filter(None, [metadata["compressor"]])]
    codecs = [{k: v for k, v in codec.items() if k != "checksum"} for codec in codecs]
    for index in np.ndindex(*ChunkFiles(volume.shape, CHUNK).counts):
        corner = tuple(slice(i * c, i * c + c) for i, c in zip(index, CHUNK, strict=True))
        block = np.zeros(CHUNK, volume.dtype)
        block[tuple(slice(n) for n in volume[corner].shape)] = volume[corner]
        data: Any = block.ravel(metadata["order"])
        for codec in codecs:
            data = numcodecs.get_codec(codec).encode(data)
        file = path / separator.join(map(str, index))
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(np.ascontiguousarray(data).tobytes())
    return path


WRITTEN: dict[str, dict[str, Any]] = {
    "checksum": {"compressor": {"id": "zstd", "level": 0, "checksum": False}},
    "fill value as text": {"fill_value": "0"},
    "fill value as a float": {"fill_value": 0.0},
    "no fill value": {"fill_value": None},
    "no filters": {"filters": []},
    "lz4": {"compressor": {"id": "lz4", "acceleration": 1}},
    "delta": {"compressor": {"id": "zlib", "level": 1}, "filters": [DELTA]},
    "delta, then nothing": {"filters": [DELTA]},
    "delta, x first": {"filters": [DELTA], "order": "F"},
    "stored in more bytes": {"filters": [SCALED], "compressor": {"id": "zlib", "level": 1}},
    "delta in zstd": {"compressor": {"id": "zstd", "level": 1}, "filters": [DELTA]},
    "delta in blosc": {"compressor": {"id": "blosc"}, "filters": [DELTA]},
    "delta in bz2": {"compressor": {"id": "bz2", "level": 1}, "filters": [DELTA]},
    "shuffle": {
        "compressor": {"id": "gzip", "level": 1}, "filters": [{"id": "shuffle", "elementsize": 2}],
    },
}  # fmt: skip


@pytest.mark.parametrize("separator", ["/", "."])
@pytest.mark.parametrize("name", WRITTEN)
def test_what_other_writers_write_is_read(
    name: str, separator: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert_holds(opened(zarr_v2(tmp_path / "v.zarr", separator=separator, **WRITTEN[name])))
    assert not caplog.records


def as_v3(path: Path, codecs: list[Any], **stated: Any) -> Path:
    """The chunks of a Zarr v2 array with metadata of v3."""
    metadata = {
        "zarr_format": 3, "node_type": "array", "shape": VOLUME.shape, "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": CHUNK}},
        "chunk_key_encoding": {"name": "v2", "configuration": {"separator": "."}},
        "fill_value": 0, "codecs": codecs, "attributes": {"resolution": SIZE, "units": "nm"},
        **stated,
    }  # fmt: skip
    (path / ".zarray").unlink()
    (path / "zarr.json").write_text(json.dumps(metadata))
    return path


def numcodecs_of(name: str, **settings: Any) -> dict[str, Any]:
    return {"name": f"numcodecs.{name}", "configuration": settings}


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}


@pytest.mark.parametrize(
    ("written", "codecs"),
    [
        ({"compressor": {"id": "lz4"}}, [BYTES, numcodecs_of("lz4")]),
        (WRITTEN["delta"], [numcodecs_of("delta", dtype="<u2"), BYTES, numcodecs_of("zlib")]),
        (WRITTEN["delta in zstd"], [numcodecs_of("delta", dtype="<u2"), BYTES, {"name": "zstd"}]),
        (WRITTEN["shuffle"], [BYTES, numcodecs_of("shuffle", elementsize=2), numcodecs_of("gzip")]),
        ({}, [BYTES]),
    ],
)
def test_codecs_of_numcodecs_in_zarr_v3(
    written: dict[str, Any], codecs: list[Any], tmp_path: Path
) -> None:
    assert_holds(opened(as_v3(zarr_v2(tmp_path / "v.zarr", **written), codecs)))


def test_the_order_of_bytes_is_that_of_the_codec(tmp_path: Path) -> None:
    path = zarr_v2(tmp_path / "v.zarr", VOLUME.astype(">u2"), compressor={"id": "lz4"})
    big = {"name": "bytes", "configuration": {"endian": "big"}}
    assert_holds(opened(as_v3(path, [big, numcodecs_of("lz4")])))


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    # tensorstore ends the process where it finds no memory for a chunk.
    "chunk of terabytes": (
        {"chunks": [2**20, 2**20, 8], "compressor": {"id": "zlib", "level": 1}},
        "its chunks hold 17,592 GB each; expected at most 2",
    ),
    "pickle": ({"filters": [{"id": "pickle", "protocol": 4}]}, "codec 'pickle'; read are zlib"),
    "unknown": ({"compressor": {"id": "zfpy"}}, "codec 'zfpy'; read are zlib, gzip"),
    "objects": ({"dtype": "|O"}, "dtype is '|O'"),
    "fill": ({"fill_value": "black"}, "fill_value is 'black'"),
    "fill too large": ({"fill_value": 70_000}, "fill_value is 70000; expected a uint16"),
    "separator": ({"dimension_separator": "-"}, "dimension_separator is '-'; expected . or /"),
    "chunks": ({"chunks": [4, 0, 2]}, "chunks is [4, 0, 2]"),
    "chunks of two axes": ({"chunks": [4, 2]}, "2 numbers for 3 axes"),
    "chunk too large": (
        {"chunks": [2**10, 2**10, 80], "compressor": {"id": "lz4"}}, "at most 100 MB are read",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_named(name: str, tmp_path: Path) -> None:
    stated, words = REFUSED[name]
    path = zarr_v2(tmp_path / "v.zarr")
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(metadata | stated))
    with pytest.raises(WrongUse, match=r"v\.zarr cannot be read: ") as raised:
        opened(path)
    assert words in str(raised.value)


def test_an_lz4_chunk_that_states_another_size_is_not_unpacked(tmp_path: Path) -> None:
    path = zarr_v2(tmp_path / "v.zarr", compressor={"id": "lz4"})
    (path / "0.0.0").write_bytes(b"\xff\xff\xff\x7f" + bytes(20))
    source = opened(path)
    with pytest.raises(WrongUse, match=r"chunk 0\.0\.0: it states another size than 48 bytes"):
        assert_holds(source)


# -- what is promised against what is stored -------------------------------------------------------


@pytest.mark.parametrize(("stored", "stated"), [(".", "/"), ("/", ".")])
@pytest.mark.parametrize("kind", ["raw", "labels"])
def test_chunks_that_are_not_where_the_metadata_say(
    stored: str, stated: str, kind: str, tmp_path: Path
) -> None:
    path = zarr_v2(tmp_path / "v.zarr", separator=stored)
    metadata = json.loads((path / ".zarray").read_text())
    (path / ".zarray").write_text(json.dumps(metadata | {"dimension_separator": stated}))
    with pytest.raises(WrongUse, match="none of its 16 chunks is where its metadata say") as raised:
        opened(path, kind=kind)
    assert f"they name {stated.join('000')}, but " in str(raised.value)


def test_chunks_of_zarr_v3_without_their_prefix(tmp_path: Path) -> None:
    encoding = {"name": "default", "configuration": {"separator": "."}}
    path = as_v3(zarr_v2(tmp_path / "v.zarr"), [BYTES], chunk_key_encoding=encoding)
    with pytest.raises(WrongUse, match=r"they name c\.0\.0\.0, but "):
        opened(path)


@pytest.mark.parametrize("compressor", [None, {"id": "lz4"}])
@pytest.mark.parametrize("fill", [0, 7])
def test_a_part_of_the_chunks_is_read_and_reported(
    fill: int, compressor: Any, tmp_path: Path
) -> None:
    path = zarr_v2(tmp_path / "v.zarr", fill_value=fill, compressor=compressor)
    (path / "0.0.0").unlink()
    expected = VOLUME.copy()
    expected[:4, :3, :2] = fill
    source = opened(path)
    assert_holds(source, expected)
    assert source.notes == (f"15 of its 16 chunks are stored (94 %); the others read as {fill}",)
    assert not opened(path, growing=True).notes


def test_a_fill_value_that_is_no_number(tmp_path: Path) -> None:
    """The metadata that the reader is given are JSON, which has no NaN."""
    path = zarr_v2(tmp_path / "v.zarr", VOLUME.astype(np.float32), fill_value="NaN")
    (path / "0.0.0").unlink()
    source = opened(path)
    with pytest.raises(WrongUse, match="holds NaN or infinity"):
        source.read(Box((0, 0, 0), (1, 1, 1)))
    assert "the others read as 'NaN'" in source.notes[0]


def test_a_folder_is_no_chunk(tmp_path: Path) -> None:
    path = zarr_v2(tmp_path / "v.zarr")
    (path / "0.0.0").unlink()
    (path / "0.0.0").mkdir()
    assert opened(path).notes[0].startswith("15 of its 16 chunks are stored")


def test_a_part_of_the_blocks_of_n5(tmp_path: Path) -> None:
    path = n5_array(tmp_path / "s0", attributes={"resolution": SIZE[::-1], "units": "nm"})
    for file in (path / "0").rglob("*"):
        if file.is_file():
            file.unlink()
    (note,) = opened(path).notes
    assert note == "6 of its 12 chunks are stored (50 %); the others read as 0"


def test_metadata_alone_are_refused_but_labels_may_be_empty(tmp_path: Path) -> None:
    path = zarr_v2(tmp_path / "v.zarr")
    for file in path.glob("?.?.?"):
        file.unlink()
    with pytest.raises(WrongUse, match="none of its 16 chunks is stored, its metadata alone are"):
        opened(path, kind="raw")
    source = opened(path, kind="labels")
    assert source.notes == ("none of its 16 chunks is stored: it reads as 0",)
    assert_holds(source, np.zeros_like(VOLUME))


HUGE = ChunkFiles((2**21,) * 3, (1, 1, 1))


def test_the_time_is_bounded_for_any_array(tmp_path: Path) -> None:
    """2^63 chunks: a sample is looked for; one chunk in it is found by the walk."""
    found = presence_in_folder(HUGE, tmp_path)
    assert (found.found, found.looked, found.total, found.certain) == (0, SAMPLED, 2**63, True)
    (tmp_path / "5" / "6").mkdir(parents=True)
    (tmp_path / "5" / "6" / "7").write_bytes(b"")
    found = presence_in_folder(HUGE, tmp_path)
    assert not found.certain
    assert found.note("v", needed=True).endswith("were looked for, and none of them is stored")
    (tmp_path / "5" / "6" / "7").rename(tmp_path / "5.6.7")
    with pytest.raises(WrongUse, match=r"5\.6\.7 is stored"):
        presence_in_folder(HUGE, tmp_path).note("v", needed=True)


def test_a_sample_is_not_the_first_chunks_and_a_walk_that_ends_early_proves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import tensorstore

    files = ChunkFiles((100,) * 3, (1, 1, 1), separator=".")
    for x in range(100):
        (tmp_path / f"0.0.{x}").write_bytes(b"")
    assert presence_in_folder(files, tmp_path).found < 10  # one in ten thousand is stored
    other = ChunkFiles((100,) * 3, (1, 1, 1), ("c",), ".")
    (tmp_path / "empty").mkdir()
    assert presence_in_folder(other, tmp_path / "empty").certain
    for n in range(3):
        (tmp_path / "empty" / f"{n}.txt").write_bytes(b"")
    monkeypatch.setattr(presence, "WALKED", 3)
    assert not presence_in_folder(other, tmp_path / "empty").certain
    store = tensorstore.KvStore.open(f"file://{tmp_path}/empty/").result()
    found = presence_in_bucket(other, store)
    assert (found.looked, found.certain) == (SAMPLED_REMOTE, False)
    assert presence_in_bucket(ChunkFiles((2, 2, 2), (1, 1, 1)), store).certain


def test_a_bucket_is_asked_for_the_other_order_of_axes(tmp_path: Path) -> None:
    import tensorstore

    (tmp_path / "1.0.0").write_bytes(b"x")
    store = tensorstore.KvStore.open(f"file://{tmp_path}/").result()
    files = ChunkFiles((1, 1, 2), (1, 1, 1), separator=".")
    assert presence_in_bucket(files, store).elsewhere == "1.0.0"


@settings(max_examples=60, deadline=None)
@given(
    counts=st.tuples(*[st.integers(1, 5)] * 3), kept=st.integers(0, 2**16),
    mark=st.sampled_from("./"), prefix=st.sampled_from([(), ("c",)]),
)  # fmt: skip
def test_the_share_is_that_of_the_files(
    counts: tuple[int, ...], kept: int, mark: str, prefix: tuple[str, ...],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    import tensorstore

    folder = tmp_path_factory.mktemp("array")
    files = ChunkFiles(counts, (1, 1, 1), prefix, mark)
    names = [files.name(index) for index in np.ndindex(*counts)]
    assert [files.index(name) for name in names] == list(np.ndindex(*counts))
    stored = [name for n, name in enumerate(names) if kept >> n % 17 & 1]
    for name in stored:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"x")
    found = presence_in_folder(files, folder)
    assert (found.found, found.looked, found.total) == (len(stored), len(names), len(names))
    if len(names) <= 64:
        store = tensorstore.KvStore.open(f"file://{folder}/").result()
        again = presence_in_bucket(files, store)
        assert (again.found, again.looked, again.total) == (len(stored), len(names), len(names))
        if not stored:
            assert again.elsewhere == ""


def test_a_bucket_is_asked_for_other_forms_of_names(tmp_path: Path) -> None:
    import tensorstore

    for index in np.ndindex(2, 2, 2):
        (tmp_path / ".".join(map(str, index))).write_bytes(b"x")
    store = tensorstore.KvStore.open(f"file://{tmp_path}/").result()
    found = presence_in_bucket(ChunkFiles((2, 2, 2), (1, 1, 1)), store)
    assert (found.found, found.elsewhere) == (0, "0.0.0")


SHARDED = {"codecs": [BYTES, {"name": "zstd"}], "index_codecs": [BYTES, {"name": "crc32c"}]}


@pytest.mark.parametrize(
    ("shard", "inner", "words"),
    [
        ([2**20] * 3, [2**19] * 3, "its chunks hold 288,230,376 GB each"),
        ([2**20] * 3, [1] * 3, "its shards hold 1,152,921,504,606,846,976 chunks each"),
        ([2**20] * 3, [1], "its chunk_shape has 1 numbers for 3 axes"),
    ],
)
def test_a_shard_is_not_larger_than_any_writer_makes(
    shard: list[int], inner: list[int], words: str, tmp_path: Path
) -> None:
    codec = {"name": "sharding_indexed", "configuration": {"chunk_shape": inner, **SHARDED}}
    grid = {"name": "regular", "configuration": {"chunk_shape": shard}}
    path = as_v3(zarr_v2(tmp_path / "v.zarr"), [codec], chunk_grid=grid)
    with pytest.raises(WrongUse, match=words):
        opened(path)


def test_a_block_of_n5_is_not_larger_than_any_writer_makes(tmp_path: Path) -> None:
    path = n5_array(tmp_path / "s0", attributes={"resolution": SIZE[::-1]})
    metadata = json.loads((path / "attributes.json").read_text())
    (path / "attributes.json").write_text(json.dumps(metadata | {"blockSize": [2**20] * 3}))
    with pytest.raises(WrongUse, match="its chunks hold 2,305,843,009 GB each"):
        opened(path)


def test_a_chunk_is_not_far_wider_than_its_array(tmp_path: Path) -> None:
    """Found by the fuzz: six blocks of 33 MB were allocated for 210 voxels."""
    path = n5_array(tmp_path / "s0", attributes={"resolution": SIZE[::-1]})
    metadata = json.loads((path / "attributes.json").read_text())
    block = [metadata["blockSize"][0], 2**21, metadata["blockSize"][2]]
    (path / "attributes.json").write_text(json.dumps(metadata | {"blockSize": block}))
    with pytest.raises(WrongUse, match="its chunks have an edge of 2097152 voxels where it has"):
        opened(path)
    with pytest.raises(WrongUse, match="its chunks have an edge of 2097152 voxels where it has"):
        opened(zarr_v2(tmp_path / "v.zarr", chunks=[8, 2**21, 8]))
