"""The fold of a service that has none answers nothing, whatever it takes."""

import numpy as np

from fibstream.core.fold import NoFold
from fibstream.core.grid import Grid
from fibstream.core.stage import Input


def test_a_fold_of_nothing_answers_nothing() -> None:
    fold = NoFold()
    fold.put(Input("raw", "raw"), (0, 0, 0), "hash", {"n": np.arange(3)})
    fold.landed(3)
    fold.seal(Grid((8, 8, 8), (4, 4, 4)))
    assert fold.inputs == ()
    assert fold.extra("labels/x", (0, 0, 0)) is None
    assert [list(found) for found in (fold.dirty(), fold.changes())] == [[], []]
