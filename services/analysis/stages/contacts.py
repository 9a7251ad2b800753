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
from fibstream.kernels.near import footprint, lengths_nm
from fibstream.kernels.near import halo as halo_of
from fibstream.kernels.objects import ObjectFold

from .contact_sites import site_stage
from .contact_words import Contact, contacts_of, resolve
from .measures import measure_stage, with_raw
from .tables import total_of


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


def table_stage(dataset: Dataset, contact: Contact, measured: Stage, sited: Stage) -> Stage:
    """Return the stage that makes the table of contacts: measures, and both sides of each."""
    rows, sides = (Input(s.name, s.outputs[0].name) for s in (measured, sited))
    voxel, raw, path = dataset.voxel_size_nm, with_raw(dataset), f"tables/{contact.path}.parquet"

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.services.analysis.sites import Common, sum_sites, with_sites
        from fibstream.services.analysis.table import finish, to_parquet
        from fibstream.services.analysis.totals import select

        assert block.grid is not None
        # A chunk that is measured in one way alone counts as one that is not known.
        known = Common(block.cells[rows.name], block.cells[sides.name])
        total = total_of(known, block.grid)
        parents = parents_of(block.cells[contact.summary.name])
        told = np.isin(total["id"], np.array(sorted(parents), np.uint64))
        table = finish(select(total, told), voxel, raw=raw)
        sites = sum_sites(
            (block.cells[sides.name][index] for index in known), parents,
            same=contact.a == contact.b,
        )  # fmt: skip
        lengths = lengths_nm(footprint(contact.distance_nm, voxel), voxel)
        table = with_sites(table, parents, sites, lengths, voxel)
        return {
            path: to_parquet(table, {"contacts": contact.name, "voxel_size_nm": str(list(voxel))})
        }

    parameters = {
        "voxel_size_nm": list(voxel), "raw": raw, "distance_nm": contact.distance_nm,
        "same": contact.a == contact.b,
    }  # fmt: skip
    inputs = (rows, sides, contact.summary)
    return Stage(
        f"tables/{contact.path}", 3, inputs, (Output(path),), parameters, compute, subjects=WHOLE
    )


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
        measured, sited = measure_stage(dataset, contact.path), site_stage(dataset, contact)
        found += [fragment_stage(dataset, contact), contact_stage(contact), measured, sited]
        found.append(table_stage(dataset, contact, measured, sited))
    return found


def _folds(dataset: Dataset) -> Sequence[Fold]:
    found = []
    for contact in contacts_of(dataset):
        fold = ObjectFold(least=contact.least(dataset.voxel_size_nm))
        found.append(HostedObjects(contact.path, contact.summary, contact.path, fold))
    return found


CONTACTS = Capability(
    ("contact-fragments", "contacts", "contact-sites"), _stages, _folds,
    (Word("contacts", Contact, resolve),),
)  # fmt: skip
