"""Tables are described: their columns, and whether they are final."""

import re
from pathlib import Path

from fibstream import registry
from fibstream.core.events import Record
from fibstream.core.subject import WHOLE
from fibstream.services.analysis.columns import MEANING
from fibstream.v1 import analysis_pb2 as pb

from ..support.patience import PATIENCE_S
from .cell import COUNT, Cell, Stub, rows


def test_every_column_has_a_meaning_in_one_place() -> None:
    assert rows(0).column_names == list(MEANING)
    assert all(MEANING.values())


VOXEL = {"voxel_size_nm": "[8.0, 4.0, 4.0]"}


def units_of_the_page() -> dict[str, str]:
    """Return the unit of each column of objects as docs/formats.md has it."""
    page = (Path(__file__).parents[2] / "docs" / "formats.md").read_text()
    text = page.split("\n## Tables\n")[1].split("\n\nA Parquet file")[0]
    rows = [line.split("|")[1:4:2] for line in text.splitlines() if line.startswith("| `")]
    plain = str.maketrans("²³", "23")
    return {
        name: unit.strip().translate(plain) for names, unit in rows
        for name in re.findall(r"`(\w+)`", names)
    }  # fmt: skip


def described(stub: Stub) -> dict[str, pb.Table]:
    answer = stub.Describe(pb.DescribeRequest(dataset="cell"), timeout=PATIENCE_S)
    return {table.organelle: table for table in answer.tables}


def test_tables_are_described_before_and_after_they_are_made(cell: Cell, stub: Stub) -> None:
    before = described(stub)
    assert {name: t.rows for name, t in before.items()} == {"generic": 0, "mito": 0}
    cell.write(rows(1))
    after = described(stub)
    assert {name: t.rows for name, t in after.items()} == {"generic": 0, "mito": COUNT}
    assert before["mito"].columns == after["mito"].columns == after["generic"].columns
    columns = {c.name: (c.type, c.meaning) for c in after["mito"].columns}
    assert columns["id"] == ("uint64", MEANING["id"])
    assert {c.name: c.unit for c in after["mito"].columns} == units_of_the_page()
    assert before["mito"].hash == "" and before["mito"].provenance == {"organelle": "mito"} | VOXEL
    assert after["mito"].provenance == {"organelle": "mito", "key": "key"}
    assert after["mito"].hash != after["generic"].hash == ""
    assert [c.name for c in after["mito"].columns] == list(MEANING)


def test_a_table_is_final_when_everything_is_sealed_seen_and_settled(
    cell: Cell, stub: Stub
) -> None:
    cell.write(rows(1))

    def final() -> bool:
        found = described(stub)
        assert not found["generic"].final  # it is not there
        return found["mito"].final

    for service in registry.names()[:-1]:
        cell.report(service)
    assert not final()
    cell.report(registry.names()[-1])
    assert not final()  # not sealed
    cell.record(z=12)
    assert final()
    cell.report("refine", failed=1)
    assert not final()
    cell.report("refine", settled=False)
    assert not final()
    cell.report("refine")
    assert final()
    cell.publish(Record("raw", (0, 0, 0), "ready", "2", {"raw": "h"}))
    assert not final()  # nobody has seen that one yet
    for service in registry.names():
        cell.report(service)
    assert final()
    hash_ = cell.write(rows(2))
    record = Record("tables/mito", WHOLE, "ready", "key", {"tables/mito.parquet": "other"})
    cell.publish(record)
    for service in registry.names():
        cell.report(service)
    assert not final() and hash_ != "other"  # the log has another table than the store
