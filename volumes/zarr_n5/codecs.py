"""Decoders of Zarr chunks with codecs of numcodecs that tensorstore does not know.

numcodecs has codecs that run code of their own (pickle) and some that write as much memory as a
header asks for; so only those named here are used, and each with the size that the array states.
"""

import bz2
import math
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.volumes.formats import Unreadable

Config = Mapping[str, Any]


def _inflate(data: bytes, size: int) -> bytes:
    return zlib.decompressobj(zlib.MAX_WBITS | 32).decompress(data, size + 1)  # zlib or gzip


def _bz2(data: bytes, size: int) -> bytes:
    return bz2.BZ2Decompressor().decompress(data, size + 1)


def _lz4(data: bytes, size: int) -> bytes:
    from numcodecs import lz4

    if struct.unpack_from("<i", data) != (size,):
        raise Unreadable(f"it states another size than {size} bytes")
    return bytes(lz4.decompress(data))


def _zstd(data: bytes, size: int) -> bytes:
    from numcodecs import zstd

    return bytes(zstd.decompress(data, np.zeros(size, np.uint8)))


def _blosc(data: bytes, size: int) -> bytes:
    from numcodecs import blosc

    return bytes(blosc.decompress(data, np.zeros(size, np.uint8)))


COMPRESSORS: Mapping[str, Callable[[bytes, int], bytes]] = MappingProxyType(
    {"zlib": _inflate, "gzip": _inflate, "bz2": _bz2, "lz4": _lz4, "zstd": _zstd, "blosc": _blosc}
)
FILTERS = ("delta", "shuffle", "fixedscaleoffset")
READ = (*COMPRESSORS, *FILTERS)


@dataclass(frozen=True)
class Chain:
    """How the bytes of a chunk become voxels.

    Attributes
    ----------
    compressor : str
        One of ``COMPRESSORS``; empty for none.
    filters : sequence of mapping
        Settings of numcodecs of each filter, in the order in which they were applied.
    dtype : dtype
        Of the voxels, in the byte order of the chunk.
    shape : tuple of int
        Of a chunk, in voxels.
    order : {"C", "F"}
        Of its bytes.
    """

    compressor: str
    filters: Sequence[Config]
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Any = "C"

    def decode(self, data: bytes) -> NDArray[Any]:
        """Return the voxels of a chunk; raises Unreadable where its size is another."""
        size = math.prod(self.shape) * self._encoded.itemsize
        if self.compressor:
            data = COMPRESSORS[self.compressor](data, size)
        if len(data) != size:
            raise Unreadable(f"it holds other than {size} bytes")
        array: Any = np.frombuffer(data, np.uint8)
        for codec in reversed([_filter(config) for config in self.filters]):
            array = codec.decode(array)
        voxels: NDArray[Any] = np.ascontiguousarray(array).view(self.dtype)
        return voxels.reshape(self.shape, order=self.order)

    @property
    def _encoded(self) -> np.dtype[Any]:
        """The dtype after all filters: some store voxels in fewer bytes."""
        stated = [config.get("astype") for config in self.filters]
        last = next((name for name in reversed(stated) if name), None)
        return self.dtype if last is None else np.dtype(last)


def _filter(config: Config) -> Any:
    import numcodecs

    return numcodecs.get_codec(dict(config))


def check_codecs(compressors: Sequence[Config], filters: Sequence[Config], name: str) -> None:
    """Raise Unreadable unless a chunk with these codecs can be decoded here."""
    for config, known in [(c, COMPRESSORS) for c in compressors] + [(f, FILTERS) for f in filters]:
        if (word := config.get("id")) not in known:
            raise Unreadable(
                f"its chunks are written with the codec {echo(word)}; read are {', '.join(READ)}"
            )
    if len(compressors) > 1:
        raise Unreadable(f"its chunks are compressed {len(compressors)} times; expected once")
    try:
        for config in filters:
            _filter(config)
    # numcodecs checks its settings in ways of its own.
    except Exception as error:
        raise Unreadable(f"{name}: its filters are not those of numcodecs") from error
