"""The labels of the fragments of one chunk, as bytes; importing it brings no compiler.

A mapping is the compressed concatenation of a 2-bit code for each id of the chunk's summary, four
in a byte from the least bits up, and the labels that are explicit, ``<u8`` in the order of the
ids. Codes: 0 no label, 1 the id itself, 2 explicit.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.ids import BACKGROUND_BIT

Names = NDArray[np.uint64]

NO_LABEL, OWN_ID, EXPLICIT = range(3)
SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)


def encode_mapping(ids: Names, labels: Names) -> bytes:
    """Return the mapping of ``ids`` to ``labels``, both uint64 ``(n,)``; label 0 is none."""
    own = ids & np.uint64(BACKGROUND_BIT - 1)
    codes = np.full(-(-ids.size // 4) * 4, NO_LABEL, np.uint8)
    codes[: ids.size] = np.where(labels == 0, NO_LABEL, np.where(labels == own, OWN_ID, EXPLICIT))
    packed = np.bitwise_or.reduce(codes.reshape(-1, 4) << SHIFTS, axis=1)
    return zlib.compress(
        packed.tobytes() + labels[codes[: ids.size] == EXPLICIT].astype("<u8").tobytes()
    )


def decode_mapping(ids: Names, mapping: bytes) -> Names:
    """Return the label of each id, uint64 ``(n,)``, 0 for none.

    Raises
    ------
    Poison
        When ``mapping`` is damaged or belongs to other ids.
    """
    try:
        data = zlib.decompress(mapping)
    except zlib.error as error:
        raise Poison(f"the mapping of a chunk is damaged: {error}") from None
    size = -(-ids.size // 4)
    packed = np.frombuffer(data[:size], np.uint8)
    codes = (packed[:, None] >> SHIFTS & 3).ravel()[: ids.size]
    explicit = codes == EXPLICIT
    if codes.size != ids.size or len(data) - size != 8 * explicit.sum() or (codes > EXPLICIT).any():
        raise Poison(f"the mapping of a chunk is not for its {ids.size} fragments")
    labels = np.where(codes == OWN_ID, ids & np.uint64(BACKGROUND_BIT - 1), np.uint64(0))
    labels[explicit] = np.frombuffer(data[size:], "<u8")
    return labels
