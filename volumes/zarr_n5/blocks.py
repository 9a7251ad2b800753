"""Arrays whose chunks are decoded here, where tensorstore does not know the compression."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fibstream.volumes.formats import SPARE_BYTES, Unreadable

from .chunk_files import ChunkFiles

# Takes the bytes of a file; returns its voxels, which at the end of an array may be fewer.
Decode = Callable[[bytes], NDArray[Any]]


def by_block(
    store: Any, files: ChunkFiles, dtype: np.dtype[Any], decode: Decode, fill: Any, context: Any
) -> Any:
    """Return a tensorstore whose chunks are decoded by ``decode``; tensorstore caches them.

    Parameters
    ----------
    store
        tensorstore.KvStore of the array, whose path ends with /.
    files
        Shape, chunk and names, in the order of axes that ``decode`` returns.
    dtype
        Of the voxels, in either byte order.
    decode
        Returns the voxels of one file, or raises Unreadable.
    fill
        The value where no chunk is stored.
    """
    import tensorstore

    if (size := math.prod(files.chunk) * dtype.itemsize) > SPARE_BYTES:
        raise Unreadable(
            f"its chunks hold {size / 1e6:,.0f} MB; of this compression at most "
            f"{SPARE_BYTES / 1e6:,.0f} MB are read"
        )
    return tensorstore.virtual_chunked(
        _reader(store, files, decode, fill),
        dtype=tensorstore.dtype(dtype.newbyteorder("=")),
        domain=tensorstore.IndexDomain(shape=files.shape),
        chunk_layout=tensorstore.ChunkLayout(read_chunk_shape=files.chunk),
        context=context,
    )


def _reader(
    store: Any, files: ChunkFiles, decode: Decode, fill: Any
) -> Callable[[Any, NDArray[Any], Any], Any]:
    """Return the function that fills an array with one chunk; tensorstore calls it."""
    import tensorstore

    # Nothing here may block: it would hold a thread that the awaited read may need.
    def read(domain: Any, out: NDArray[Any], _: Any) -> Any:
        index = [start // edge for start, edge in zip(domain.origin, files.chunk, strict=True)]
        key = files.name(index)
        promise: Any
        filled: Any
        promise, filled = tensorstore.Promise.new()

        def copy(found: Any) -> None:
            try:
                _copy(out, found.result(), decode, fill)
            # An exception raised here would be lost; the promise hands it to the reader.
            except Unreadable as error:
                promise.set_exception(Unreadable(f"chunk {key}: {error}"))
            except Exception:
                promise.set_exception(Unreadable(f"chunk {key} is damaged"))
            else:
                promise.set_result(None)

        store.read(key).add_done_callback(copy)
        return filled

    return read


def _copy(out: NDArray[Any], found: Any, decode: Decode, fill: Any) -> None:
    """Copy a stored chunk into ``out``; ``fill`` where it was never written."""
    out[...] = fill
    if found.state == "value":
        part = decode(bytes(found.value))
        inside = tuple(slice(min(a, b)) for a, b in zip(part.shape, out.shape, strict=True))
        out[inside] = part[inside]
