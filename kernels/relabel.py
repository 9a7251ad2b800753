"""From fragments to labels, by the mapping that the fold gives to one chunk.

A mapping is the compressed concatenation of a 2-bit code for each id of the chunk's summary, four
in a byte from the least bits up, and the labels that have to be spelled out, ``<u8`` in the order
of the ids.  Codes: 0 no label, 1 the id itself, 2 spelled out.
"""

import zlib

import numpy as np
from numpy.typing import NDArray

from fibstream.core.errors import Poison
from fibstream.core.ids import BACKGROUND_BIT

from .compiled import compiled

Names = NDArray[np.uint64]

NOTHING, ITSELF, SPELLED = range(3)
SHIFTS = np.arange(0, 8, 2, dtype=np.uint8)


def encode_mapping(ids: Names, labels: Names) -> bytes:
    """Return the mapping of ``ids`` to ``labels``, each in the place of its id."""
    itself = ids & np.uint64(BACKGROUND_BIT - 1)
    codes = np.full(-(-ids.size // 4) * 4, NOTHING, np.uint8)
    codes[: ids.size] = np.where(labels == 0, NOTHING, np.where(labels == itself, ITSELF, SPELLED))
    packed = np.bitwise_or.reduce(codes.reshape(-1, 4) << SHIFTS, axis=1)
    return zlib.compress(
        packed.tobytes() + labels[codes[: ids.size] == SPELLED].astype("<u8").tobytes()
    )


def decode_mapping(ids: Names, mapping: bytes) -> Names:
    """Return the label of each id.

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
    spelled = codes == SPELLED
    if codes.size != ids.size or len(data) - size != 8 * spelled.sum() or (codes > SPELLED).any():
        raise Poison(f"the mapping of a chunk is not for its {ids.size} pieces")
    labels = np.where(codes == ITSELF, ids & np.uint64(BACKGROUND_BIT - 1), np.uint64(0))
    labels[spelled] = np.frombuffer(data[size:], "<u8")
    return labels


def relabel(fragments: Names, ids: Names, mapping: bytes) -> Names:
    """Return the labels of a chunk.

    Parameters
    ----------
    fragments
        Ids of pieces, uint64, ``(z, y, x)``, 0 for none.
    ids
        The sorted ids of the chunk's summary.
    mapping
        What the fold says of them.

    Raises
    ------
    Poison
        When ``mapping`` is damaged, or fragments, ids and mapping do not belong together.
    """
    labels = decode_mapping(ids, mapping)
    out = np.empty(fragments.shape, np.uint64)
    if not _look_up(
        np.ascontiguousarray(fragments).reshape(-1, fragments.shape[-1]),
        ids,
        labels,
        out.reshape(-1, fragments.shape[-1]),
    ):
        raise Poison("a fragment of a chunk is not in its summary")
    return out


@compiled
def _look_up(fragments: Names, ids: Names, labels: Names, out: Names) -> bool:
    """Fill ``out``; return whether all fragments are known."""
    for r in range(fragments.shape[0]):
        piece, label = np.uint64(0), np.uint64(0)
        for i in range(fragments.shape[1]):
            if fragments[r, i] != piece:
                piece = fragments[r, i]
                if piece == 0:
                    label = np.uint64(0)
                elif r > 0 and fragments[r - 1, i] == piece:
                    label = out[r - 1, i]
                else:
                    at = np.searchsorted(ids, piece)
                    if at == ids.size or ids[at] != piece:
                        return False
                    label = labels[at]
            out[r, i] = label
    return True
