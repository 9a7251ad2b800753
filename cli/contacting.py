"""The work of `fibstream contacts`: the stages of contacts on two label volumes, one by one."""

import io
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from fibstream.app.charts import as_png
from fibstream.app.contact_figures import gaps as gap_figure
from fibstream.app.contact_figures import matrix
from fibstream.app.design import fitting_chunk
from fibstream.app.parquet import read_parquet
from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Block, Stage
from fibstream.core.subject import WHOLE
from fibstream.kernels.hosted import HostedObjects
from fibstream.kernels.near import footprint, lengths_nm
from fibstream.kernels.objects import ObjectFold
from fibstream.services.analysis.profiles import PROFILES
from fibstream.services.analysis.sites import gap_table, pair_table, sum_sites
from fibstream.services.analysis.stages.contact_sites import site_stage
from fibstream.services.analysis.stages.contact_words import Contact, check_contact
from fibstream.services.analysis.stages.contacts import (
    contact_stage,
    fragment_stage,
    parents_of,
    table_stage,
)
from fibstream.services.analysis.stages.measures import measure_stage
from fibstream.services.analysis.table import to_csv
from fibstream.volumes.positions import check_same_grid
from fibstream.volumes.sources import Source, open_volume

from .chance import NullFlags, against_null, open_chance
from .flags import parse_chunk
from .oneshot import Voxel, new_dataset
from .outputs import Volume, check_group, new_groups
from .stages import StageRun

NAME = "a--b"
FILES = (
    "contacts.csv", "contacts.parquet", "matrix.csv", "matrix.png", "gaps.csv", "gaps.png",
    "null.csv", "null.png", "placements.csv",
)  # fmt: skip


def find_contacts(
    paths: tuple[str, str], distance_nm: float, options: Mapping[str, Any], out: Path, *,
    voxel_size_nm: Voxel | None, chunk: str | None, profile: str | None, null: NullFlags | None,
) -> int:  # fmt: skip
    """Write contacts of two label volumes, or of the objects of one; return how many there are."""
    if profile not in (None, *PROFILES):
        raise WrongUse(f"--profile {cut(profile or '')}: expected {' or '.join(PROFILES)}")
    contact = _contact(paths, distance_nm, options)
    check_group(out)
    _check_files(out, contact.path)
    sources = {
        label: open_volume(path, kind="labels", voxel_size_nm=voxel_size_nm)
        for label, path in zip(contact.labels, paths, strict=False)
    }
    first = sources[contact.labels[0]]
    for source in sources.values():
        check_same_grid(first, source)
    edges = fitting_chunk(parse_chunk(chunk), first.shape, None)
    dataset = new_dataset(out.name, first, edges, "uint64")
    check_contact(dataset, contact, NAME)
    chance = None if null is None else open_chance(null, contact, first)
    with new_groups(out, [contact.path]) as scratch:
        table, gaps = _compute(scratch, dataset, contact, sources)
        files = {
            "matrix.csv": to_csv(pair_table(table)), "gaps.csv": to_csv(gaps),
            "contacts.parquet": _parquet(table),
        }  # fmt: skip
        voxel = dataset.voxel_size_nm
        files["contacts.csv"] = (
            to_csv(table)
            if profile is None
            else PROFILES[profile].sites(table, voxel, dataset.offset_nm, ("a", "b"))
        )
        if table.num_rows:
            files["matrix.png"] = as_png(matrix(pair_table(table), ("a", contact.b)))
        if gaps.num_rows:
            files["gaps.png"] = as_png(gap_figure(gaps))
        if chance is not None:
            files |= against_null(contact, dataset, sources, chance)
        for name, data in files.items():
            (scratch / name).write_bytes(data)
        shutil.rmtree(scratch / "fragments", ignore_errors=True)
    for name in set(FILES) - set(files):  # an earlier call with other flags left them
        (out / name).unlink(missing_ok=True)
    return int(table.num_rows)


def _check_files(out: Path, group: str) -> None:
    """Raise WrongUse for a group with files of these names that no call of this command wrote."""
    held = [name for name in FILES if (out / name).exists()]
    if held and not (out / group).exists():
        raise WrongUse(f"--out {out}: holds another {held[0]}; expected a group without it")


def _contact(paths: tuple[str, str], distance_nm: float, options: Mapping[str, Any]) -> Contact:
    """Return the contact that flags ask for: its organelles are a and b, or a twice."""
    second = "a" if paths[0] == paths[1] else "b"
    given = {"a": "a", "b": second, "distance_nm": distance_nm, "name": NAME, **options}
    try:
        return Contact.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        flag = str(first["loc"][0]).replace("_", "-")
        raise WrongUse(f"--{flag} {cut(str(first['input']))}: {first['msg']}") from None


def _compute(
    scratch: Path, dataset: Dataset, contact: Contact, sources: Mapping[str, Source]
) -> tuple[pa.Table, pa.Table]:
    """Compute all stages of the contacts of a dataset; return their table and their gaps."""
    measured, sited = measure_stage(dataset, contact.path), site_stage(dataset, contact)
    stages = [fragment_stage(dataset, contact), contact_stage(contact), measured, sited]
    key = digest(canonical(contact.model_dump(mode="json")))
    outputs = [o for stage in stages for o in stage.outputs if o.dtype]
    fold = HostedObjects(
        contact.path, contact.summary, contact.path,
        ObjectFold(least=contact.least(dataset.voxel_size_nm)),
    )  # fmt: skip
    run = StageRun(Volume(scratch, dataset, outputs, key), dataset.grid, sources, fold)
    for stage in stages:
        run.run(stage)
    table = _whole(run, dataset, table_stage(dataset, contact, measured, sited))
    sites = sum_sites(
        run.cells(sited.outputs[0].name).values(),
        parents_of(run.cells(contact.summary.name)), same=contact.a == contact.b,
    )  # fmt: skip
    voxel = dataset.voxel_size_nm
    return table, gap_table(
        sites.values(), lengths_nm(footprint(contact.distance_nm, voxel), voxel)
    )


def _whole(run: StageRun, dataset: Dataset, stage: Stage) -> pa.Table:
    """Return the table that a stage of the whole dataset makes."""
    cells = {source.name: run.cells(source.name) for source in stage.inputs}
    block = Block(WHOLE, dataset.grid.volume, {}, cells=cells, grid=dataset.grid)
    data = stage.compute(block)[stage.outputs[0].name]
    assert isinstance(data, bytes)
    return read_parquet(data)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()
