"""docs/cells.md tells of every column that `compare` and `sensitivity` write."""

import pytest

from fibstream.app.cells.comparison import DISTRIBUTION, EFFECTS
from fibstream.app.cells.halves import COLUMNS as HALVES
from fibstream.app.cells.shifts import SHIFTS
from fibstream.app.cells.totals import COLUMNS

from .test_docs import rows

TABLES = {
    "organelles": COLUMNS,
    "objects": DISTRIBUTION,
    "effects": EFFECTS,
    "sensitivity": SHIFTS,
    "halves": HALVES,
}


@pytest.mark.parametrize("name", TABLES)
def test_every_column_is_described_as_the_code_does(name) -> None:
    columns = TABLES[name]
    described = [[f"`{column}`", made.type, made.meaning] for column, made in columns.items()]
    assert rows("docs/cells.md", f"column of `{name}`") == described
