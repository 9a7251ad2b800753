"""Arrays in Zarr v2 and v3: opened by tensorstore, or chunk by chunk where it knows no codec.

Members of metadata that tensorstore refuses (``checksum`` of zstd, a fill value as text) are kept
from it.
"""

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from fibstream.core.echo import cut, echo
from fibstream.volumes.formats import Unreadable

from .blocks import by_block
from .caching import source_context
from .chunk_files import ChunkFiles, check_chunk, edges
from .codecs import READ, Chain, Config, check_codecs
from .overlay import open_with

# Parameters of compression are not needed to decompress, and differ between writers.
_BLOSC = {"cname": "lz4", "clevel": 5, "shuffle": 1, "blocksize": 0}
COMPRESSORS_V2 = MappingProxyType(
    {"zlib": {"level": 1}, "gzip": {"level": 1}, "bz2": {"level": 1}, "zstd": {"level": 1}}
    | {"blosc": _BLOSC}
)
COMPRESSORS_V3 = MappingProxyType(
    {"gzip": {"level": 1}, "zstd": {"level": 1}, "crc32c": {}}
    | {"blosc": {**_BLOSC, "shuffle": "shuffle", "typesize": 1}}
)
_NOT_FINITE = MappingProxyType({"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"})
SHARD_CHUNKS = 2**22  # in a shard: its index of 16 bytes for each is read whole
NUMCODECS = "numcodecs."  # begins the names of its codecs in Zarr v3
_INTEGERS = ("uint8", "uint16", "uint32", "uint64", "int8", "int16", "int32", "int64")
DTYPES = ("bool", *_INTEGERS, "float16", "float32", "float64")


def open_zarr(store: Any, metadata: Mapping[str, Any], files: ChunkFiles, name: str) -> Any:
    """Return a Zarr array as a tensorstore, axes in C order.

    Parameters
    ----------
    store
        tensorstore.KvStore of the array, whose path ends with /.
    metadata
        What is in its ``.zarray`` (v2) or ``zarr.json`` (v3).
    files
        The names of its chunks: ``chunk_files.zarr_files(metadata)``.
    name
        The array's name in messages.

    Raises
    ------
    Unreadable
        If the type or a codec cannot be read, or the metadata are malformed.
    """
    v2 = metadata.get("zarr_format") == 2
    context = source_context()
    needed, chain = (_v2 if v2 else _v3)(metadata, files, name)
    if chain is not None:
        fill = needed["fill_value"]
        return by_block(store, files, chain.dtype, chain.decode, fill or 0, context)
    driver, file = ("zarr", ".zarray") if v2 else ("zarr3", "zarr.json")
    return open_with(store, driver, file, needed, context)


def _v2(
    metadata: Mapping[str, Any], files: ChunkFiles, name: str
) -> tuple[dict[str, Any], Chain | None]:
    dtype = _dtype(metadata.get("dtype"))
    order = metadata.get("order", "C")
    if order not in ("C", "F"):
        raise Unreadable(f"its order is {echo(order, 40)}; expected C or F")
    compressor = _config(metadata.get("compressor"), "compressor")
    filters = metadata.get("filters") or []
    if not isinstance(filters, list):
        raise Unreadable(f"its filters are {echo(filters, 40)}; expected a list")
    filters = [_config(each, "filters") for each in filters]
    kind = compressor.get("id", "") if compressor else ""
    needed = {
        "zarr_format": 2, "shape": files.shape, "chunks": files.chunk, "dtype": dtype.str,
        "compressor": {"id": kind, **COMPRESSORS_V2[kind]} if kind in COMPRESSORS_V2 else None,
        "fill_value": _fill(metadata.get("fill_value"), dtype), "order": order, "filters": None,
        "dimension_separator": files.separator,
    }  # fmt: skip
    check_chunk(files.chunk, dtype.itemsize, files.shape)
    if not filters and (not kind or kind in COMPRESSORS_V2):
        return needed, None
    check_codecs([compressor] if compressor else [], filters, name)
    return needed, Chain(kind, filters, dtype, files.chunk, order)


def _v3(
    metadata: Mapping[str, Any], files: ChunkFiles, name: str
) -> tuple[dict[str, Any], Chain | None]:
    word = metadata.get("data_type")
    if word not in DTYPES:
        raise Unreadable(f"its data_type is {echo(word, 60)}; expected one of {', '.join(DTYPES)}")
    dtype = np.dtype(word)
    codecs = _codecs(metadata.get("codecs"))
    check_chunk(_inner_chunk(codecs, files.chunk), dtype.itemsize, files.shape)
    chain = None
    if any(str(codec["name"]).startswith(NUMCODECS) for codec in codecs):
        chain = _chain(codecs, dtype, files, name)
        codecs = []
    needed = {
        "zarr_format": 3, "node_type": "array", "shape": files.shape, "data_type": word,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": files.chunk}},
        "chunk_key_encoding": {
            "name": "default" if files.prefix else "v2",
            "configuration": {"separator": files.separator},
        },
        "fill_value": _fill(metadata.get("fill_value"), dtype),
        "codecs": [_plain(codec) for codec in codecs],
    }  # fmt: skip
    if needed["fill_value"] is None:
        needed["fill_value"] = False if word == "bool" else 0
    return needed, chain


def _inner_chunk(codecs: Sequence[Mapping[str, Any]], chunk: tuple[int, ...]) -> tuple[int, ...]:
    """Return the chunk that is decoded at a time: that of shards, where there are any."""
    for codec in codecs:
        settings = codec.get("configuration")
        if codec["name"] == "sharding_indexed" and isinstance(settings, dict):
            inner = edges(settings, "chunk_shape", like=chunk)
            count = math.prod(-(-n // c) for n, c in zip(chunk, inner, strict=True))
            if count > SHARD_CHUNKS:
                raise Unreadable(
                    f"its shards hold {count:,} chunks each; expected at most {SHARD_CHUNKS:,}"
                )
            return _inner_chunk(_codecs(settings.get("codecs")), inner)
    return chunk


def _codecs(stated: object) -> list[dict[str, Any]]:
    """Return the codecs of Zarr v3 as objects; a codec without settings may be a bare word."""
    if not isinstance(stated, list):
        raise Unreadable(f"its codecs are {echo(stated, 60)}; expected a list")
    codecs = [{"name": each} if isinstance(each, str) else each for each in stated]
    if not all(isinstance(each, dict) and isinstance(each.get("name"), str) for each in codecs):
        raise Unreadable(f"its codecs are {echo(stated, 60)}; expected a name in each")
    return codecs


def _plain(codec: Mapping[str, Any]) -> dict[str, Any]:
    """Return a codec as tensorstore takes it."""
    name, settings = codec["name"], codec.get("configuration") or {}
    if not isinstance(settings, dict):
        raise Unreadable(f"its codec {cut(name, 40)} has no settings")
    if name == "sharding_indexed":
        inner = {word: _codecs(settings.get(word)) for word in ("codecs", "index_codecs")}
        plain = {word: [_plain(each) for each in found] for word, found in inner.items()}
        return {"name": name, "configuration": {**settings, **plain}}
    if name in COMPRESSORS_V3:
        return {"name": name, "configuration": COMPRESSORS_V3[name]}
    if name in ("bytes", "transpose"):
        return {"name": name, "configuration": settings}
    raise Unreadable(
        f"its chunks are written with the codec {echo(name, 40)}; read are bytes, transpose, "
        f"sharding_indexed, crc32c and, of numcodecs, {', '.join(READ)}"
    )


def _chain(
    codecs: Sequence[Mapping[str, Any]], dtype: np.dtype[Any], files: ChunkFiles, name: str
) -> Chain:
    """Return the decoder of a chunk with codecs of numcodecs."""
    names = [str(codec["name"]) for codec in codecs]
    if names.count("bytes") != 1:
        raise Unreadable(
            f"its codecs are {cut(', '.join(names))}; of numcodecs none are read there"
        )
    place = names.index("bytes")
    configs = [
        {**(codec.get("configuration") or {}), "id": word.removeprefix(NUMCODECS)}
        for codec, word in zip(codecs, names, strict=True)
    ]
    filters, compressors = configs[:place], configs[place + 1 :]
    # A shuffle follows the conversion to bytes in Zarr v3; it is a filter all the same.
    filters += [each for each in compressors if each["id"] == "shuffle"]
    compressors = [each for each in compressors if each["id"] != "shuffle"]
    check_codecs(compressors, filters, name)
    order: Any = ">" if configs[place].get("endian") == "big" else "<"
    kind = compressors[0]["id"] if compressors else ""
    return Chain(kind, filters, dtype.newbyteorder(order), files.chunk)


def _config(stated: object, word: str) -> Config:
    if stated is None:
        return {}
    if not isinstance(stated, dict) or not isinstance(stated.get("id"), str):
        raise Unreadable(f"its {word} are {echo(stated, 60)}; expected the id of a codec")
    return stated


def _dtype(stated: object) -> np.dtype[Any]:
    try:
        dtype = np.dtype(stated) if isinstance(stated, str) else None
    except (TypeError, ValueError):
        dtype = None
    if dtype is None or dtype.name not in DTYPES:
        raise Unreadable(f"its dtype is {echo(stated, 60)}; expected a number such as |u1 or <u2")
    return dtype


def _fill(stated: Any, dtype: np.dtype[Any]) -> Any:
    """Return the fill value as a JSON number of the dtype; some writers store it as text."""
    if stated is None:
        return None
    try:
        if dtype.kind == "f":
            value = float(stated)
            return value if math.isfinite(value) else _NOT_FINITE[str(value)]
        number = float(stated) if isinstance(stated, str) and not stated.isdecimal() else stated
        exact = int(number)
        least, most = (0, 1) if dtype.kind == "b" else _limits(dtype)
        if (isinstance(number, float) and exact != number) or not least <= exact <= most:
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise Unreadable(f"its fill_value is {echo(stated, 40)}; expected a {dtype.name}") from None
    return bool(exact) if dtype.kind == "b" else exact


def _limits(dtype: np.dtype[Any]) -> tuple[int, int]:
    found = np.iinfo(dtype)
    return int(found.min), int(found.max)
