"""From fragments to labels, by the mapping of one chunk."""

import numpy as np

from fibstream.core.errors import Poison

from .compiled import compiled
from .mapping import Names, decode_mapping


def relabel(fragments: Names, ids: Names, mapping: bytes) -> Names:
    """Return the labels of a chunk.

    Parameters
    ----------
    fragments
        Ids of fragments, uint64, ``(z, y, x)``, 0 for none.
    ids
        The sorted ids of the chunk's summary, uint64 ``(n,)``.
    mapping
        Their labels, as `encode_mapping` returns them.

    Returns
    -------
    NDArray[np.uint64]
        The label of each voxel, ``(z, y, x)``, 0 for none.

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
        fragment, label = np.uint64(0), np.uint64(0)
        for i in range(fragments.shape[1]):
            if fragments[r, i] != fragment:
                fragment = fragments[r, i]
                if fragment == 0:
                    label = np.uint64(0)
                elif r > 0 and fragments[r - 1, i] == fragment:
                    label = out[r - 1, i]
                else:
                    at = np.searchsorted(ids, fragment)
                    if at == ids.size or ids[at] != fragment:
                        return False
                    label = labels[at]
            out[r, i] = label
    return True
