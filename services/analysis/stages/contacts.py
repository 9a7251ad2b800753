"""``contacts/<name>``: where two organelles, or objects of one, are near each other.

Fragments of contacts are cut chunk by chunk, folded into contact objects as organelles are, and
measured like them; the table also names the two objects of each contact.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, ValidationError

from fibstream.core.dataset import MAX_NAME, Dataset, Frozen, check_name
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse
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

from .measures import measure_stage, with_raw
from .tables import total_of

MAX_DISTANCE_NM = 1000.0  # a micrometre: beyond it nothing touches
# Voxels an axis from a voxel to what is near it: it is compared with up to 137,000 others then, in
# 0.3 ms (measured), and with 64 it would be with a million. Contacts in use reach 10 to 80 nm.
MAX_REACH = 32
MEANING = {"id_a": "id of the object of the first organelle", "id_b": "that of the second"}


class Contact(Frozen):
    """One entry of ``contacts:``: two organelles (or one twice) and the contact distance."""

    a: str = Field(max_length=MAX_NAME)
    b: str = Field(max_length=MAX_NAME)
    distance_nm: float = Field(ge=0, le=MAX_DISTANCE_NM, strict=True)
    kind: Literal["naive"] = "naive"
    name: str = Field(default="", max_length=MAX_NAME)

    @property
    def path(self) -> str:
        """The stage and the array of its contacts."""
        return f"contacts/{self.name}"

    @property
    def fragments(self) -> Input:
        """The fragments of its contacts."""
        return Input(f"contact-fragments/{self.name}", f"fragments/{self.path}", "uint64")

    @property
    def summary(self) -> Input:
        """The summaries of its fragments."""
        return Input(self.fragments.stage, f"summaries/contact-fragments/{self.name}")


def resolve(dataset: Dataset, entries: Sequence[Contact]) -> list[Contact]:
    """Return contacts with a before b and a name each; raise WrongUse for what cannot be made."""
    known, found = [o.name for o in dataset.organelles], list[Contact]()
    for entry in entries:
        for name in (entry.a, entry.b):
            if name not in known:
                raise WrongUse(f"contacts: no organelle {echo(name, 70)}: {listed(known)}")
        a, b = sorted((entry.a, entry.b))
        pair = f"{a}--{b}"
        name = pair if entry.name in ("", pair) else _named(entry.name)
        reach = max(entry.distance_nm / edge for edge in dataset.voxel_size_nm) + 1
        if reach > MAX_REACH:
            raise WrongUse(
                f"contacts {cut(name, 50)}: distance_nm {entry.distance_nm:g}: expected at most "
                f"{(MAX_REACH - 1) * min(dataset.voxel_size_nm):g}, {MAX_REACH - 1} of the "
                "smallest edge of a voxel"
            )
        if name.lower() in {other.name.lower() for other in found}:
            raise WrongUse(
                f"contacts: {cut(name)} is named twice; give one of them a name of its own"
            )
        found.append(entry.model_copy(update={"a": a, "b": b, "name": name}))
    return found


def _named(name: str) -> str:
    try:
        return check_name(name)
    except ValueError as error:
        raise WrongUse(f"contacts: {error}") from None


def contacts_of(dataset: Dataset) -> list[Contact]:
    """Return the contacts of a dataset's pipeline; raise WrongUse where its record is forged."""
    try:
        steps = [Contact.model_validate(dict(s)) for s in dataset.steps.get("contacts", ())]
    except ValidationError as error:
        raise WrongUse(f"contacts: {error.errors()[0]['msg']}") from None
    return resolve(dataset, steps)


def fragment_stage(dataset: Dataset, contact: Contact) -> Stage:
    """Return the stage that cuts contacts into fragments."""
    voxel = dataset.voxel_size_nm
    halo = halo_of(contact.distance_nm, voxel)
    paths = list(dict.fromkeys(f"labels/{name}" for name in (contact.a, contact.b)))

    def compute(block: Block) -> Mapping[str, Made]:
        from fibstream.kernels.contacts import cut_contacts

        one, *other = (block.patches[path] for path in paths)
        near = footprint(contact.distance_nm, voxel)
        two = other[0] if other else None
        ids, summary = cut_contacts(one, two, block.core, near, declared(dataset, block))
        return {contact.fragments.name: ids, contact.summary.name: summary}

    inputs = [Input(path, path, "uint64", halo) for path in paths]
    parameters: dict[str, Any] = {
        "distance_nm": contact.distance_nm,
        "kind": contact.kind,
        "voxel_size_nm": list(voxel),
    }
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
    return [
        HostedObjects(contact.path, contact.summary, contact.path, ObjectFold())
        for contact in contacts_of(dataset)
    ]


CONTACTS = Capability(
    ("contact-fragments", "contacts"), _stages, _folds, (Word("contacts", Contact, resolve),)
)
