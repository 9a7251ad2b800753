"""``contacts/<name>``: where two organelles, or objects of one, are near each other.

Fragments of contacts are cut chunk by chunk, folded into contact objects as organelles are, and
measured like them; the table also names the two objects of each contact.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fibstream.core.dataset import Dataset
from fibstream.core.fold import Fold
from fibstream.core.grid import Index
from fibstream.core.ports import Files
from fibstream.core.service import Capability, Word
from fibstream.core.stage import Arrays, Block, Input, Made, Output, Stage
from fibstream.core.subject import WHOLE
from fibstream.kernels.absent import declared, declaring_inputs
from fibstream.kernels.hosted import HostedObjects
from fibstream.kernels.near import footprint
from fibstream.kernels.near import halo as halo_of
from fibstream.kernels.objects import ObjectFold

from .contact_words import Contact, contacts_of, resolve
from .measures import measure_stage, with_raw
from .tables import total_of

MEANING = {"id_a": "id of the object of the first organelle", "id_b": "that of the second"}


def fragment_stage(dataset: Dataset, contact: Contact) -> Stage:
    """Return the stage that cuts contacts into fragments."""
    voxel = dataset.voxel_size_nm
    halo = halo_of(contact.distance_nm, voxel, contact.kind)

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.kernels.contacts import cut_contacts

        one, two = contact.sides(block)
        near = footprint(contact.distance_nm, voxel, contact.ties)
        ids, summary = cut_contacts(
            one, two, block.core, near, declared(dataset, block), kind=contact.kind
        )
        return {contact.fragments.name: ids, contact.summary.name: summary}

    inputs = [Input(path, path, "uint64", halo) for path in contact.labels]
    parameters: dict[str, Any] = {
        "distance_nm": contact.distance_nm,
        "kind": contact.kind,
        "voxel_size_nm": list(voxel),
    }
    # Those at their default were not there once: contacts of then keep their keys.
    if contact.ties != "smallest":
        parameters["ties"] = contact.ties
    if contact.loses is not None:
        parameters["loses"] = contact.loses
    if dataset.absent_value is not None:
        parameters["absent_value"] = dataset.absent_value
    return Stage(
        contact.fragments.stage, 1,
        (*inputs, *declaring_inputs(dataset)),
        (Output(contact.fragments.name, "uint64", final=False), Output(contact.summary.name)),
        parameters,
        compute,
    )  # fmt: skip


def contact_stage(contact: Contact) -> Stage:
    """Return the stage that gives fragments the ids of their contacts."""

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.kernels.relabel import relabel

        ids = block.summaries[contact.summary.name]["ids"]
        fragments = block.patches[contact.fragments.name].array
        return {contact.path: relabel(fragments, ids, block.extra)}

    output = Output(contact.path, "uint64", "mode")
    inputs = (contact.fragments, contact.summary)
    return Stage(contact.path, 1, inputs, (output,), {}, compute, folded=True)


def table_stage(dataset: Dataset, contact: Contact, measured: Stage) -> Stage:
    """Return the stage that makes the table of contacts: measures, and the objects of each."""
    rows = Input(measured.name, measured.outputs[0].name)
    voxel, raw, path = dataset.voxel_size_nm, with_raw(dataset), f"tables/{contact.path}.parquet"

    def compute(block: Block) -> Mapping[str, Made]:
        import pyarrow as pa

        from fibstream.services.analysis.table import finish, to_parquet
        from fibstream.services.analysis.totals import select

        assert block.grid is not None
        total = total_of(block.cells[rows.name], block.grid)
        parents = parents_of(block.cells[contact.summary.name])
        known = np.isin(total["id"], np.array(sorted(parents), np.uint64))
        table = finish(select(total, known), voxel, raw=raw)
        for n, column in enumerate(MEANING):
            field = pa.field(column, pa.uint64(), metadata={"meaning": MEANING[column]})
            ids = [parents[i][n] for i in table["id"].to_pylist()]
            table = table.append_column(field, pa.array(ids, pa.uint64()))
        return {
            path: to_parquet(table, {"contacts": contact.name, "voxel_size_nm": str(list(voxel))})
        }

    parameters = {"voxel_size_nm": list(voxel), "raw": raw}
    return Stage(
        f"tables/{contact.path}", 1, (rows, contact.summary), (Output(path),), parameters, compute,
        subjects=WHOLE,
    )  # fmt: skip


def parents_of(cells: Mapping[Index, Arrays]) -> dict[int, tuple[int, int]]:
    """Return the two objects of each fragment by its id; a contact has the id of one of its own."""
    found: dict[int, tuple[int, int]] = {}
    for index in cells:
        summary = cells[index]
        rows = summary["parents"].tolist()
        found.update((i, (a, b)) for i, (a, b) in zip(summary["ids"].tolist(), rows, strict=True))
    return found


def _stages(dataset: Dataset, files: Files) -> Sequence[Stage]:  # noqa: ARG001
    found = list[Stage]()
    for contact in contacts_of(dataset):
        measured = measure_stage(dataset, contact.path)
        found += [fragment_stage(dataset, contact), contact_stage(contact), measured]
        found.append(table_stage(dataset, contact, measured))
    return found


def _folds(dataset: Dataset) -> Sequence[Fold]:
    found = []
    for contact in contacts_of(dataset):
        fold = ObjectFold(least=contact.least(dataset.voxel_size_nm))
        found.append(HostedObjects(contact.path, contact.summary, contact.path, fold))
    return found


CONTACTS = Capability(
    ("contact-fragments", "contacts"), _stages, _folds, (Word("contacts", Contact, resolve),)
)
