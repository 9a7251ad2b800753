"""The work of `fibstream sensitivity`: organelles made anew of stored predictions, and measured."""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from fibstream.app.cells.error_bars import error_bars
from fibstream.app.cells.shifts import AS_IT_IS, SCHEMA, Shifted, shifts
from fibstream.app.cells.specimen import open_specimen
from fibstream.app.cells.totals import Row, totals
from fibstream.app.charts import as_png
from fibstream.app.folder import open_dataset
from fibstream.app.kept import Kept
from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut, listed
from fibstream.core.errors import WrongUse
from fibstream.core.keys import canonical, digest
from fibstream.services.analysis.stages.measures import measure_stage
from fibstream.services.analysis.stages.tables import total_of
from fibstream.services.analysis.table import finish
from fibstream.services.refine.recipe import find_recipe
from fibstream.store.store import Store

from .comparing import both, check_out, write_all
from .outputs import Volume
from .stages import StageRun

log = logging.getLogger(__name__)


def sensitivity(path: Path, out: Path, organelles: Sequence[str] = ()) -> list[Path]:
    """Write how the figures of organelles change with their thresholds; return the files.

    Raises WrongUse for a dataset that is not finished, or has no such organelle or threshold.
    """
    check_out(out, [path])
    files, dataset = open_dataset(path)
    known = {o.name: o for o in dataset.organelles}
    for name in organelles:
        if name not in known:
            raise WrongUse(f"--organelle {cut(name)}: {path} has {listed(known)}")
    tables = open_specimen(path, dataset.name).tables
    kept, rows = Kept(Store(files, dataset.grid)), list[Row]()
    for name in dict.fromkeys(organelles or known):
        try:
            found, left_out = shifts(dataset, known[name])
        except WrongUse as error:
            if organelles:
                raise
            found, left_out = [], [str(error)]
        for note in left_out:
            log.warning("left out: %s", note)
        for each in found:
            table = tables[name] if each.shift == AS_IT_IS else measured(each, kept)
            rows.append(totals(dataset.name, {name: table}, None)[0] | each.row)
    if not rows:
        raise WrongUse(f"{path}: no organelle of it has a threshold")
    table = pa.Table.from_pylist(rows, SCHEMA)
    return write_all(
        out, {**both("sensitivity", table), "sensitivity.png": as_png(error_bars(rows, path.stem))}
    )


def measured(shifted: Shifted, kept: Kept) -> pa.Table:
    """Return the table of objects of one organelle, made of what a dataset holds.

    It is that of a run with this threshold, without grey values; labels that mask it are as they
    are.
    """
    dataset = shifted.dataset
    (organelle,) = dataset.organelles
    recipe = find_recipe(organelle.recipe)
    # Of floats no grey values are measured: raw need not be read.
    plain = dataset.model_copy(update={"dtype": "float32"})
    measure = measure_stage(plain, f"labels/{organelle.name}")
    stages = [*recipe.stages(dataset, organelle), measure]
    outputs = [o for stage in stages for o in stage.outputs if o.dtype]
    key = digest(canonical([organelle.recipe, dict(organelle.settings)]))
    with tempfile.TemporaryDirectory(prefix="fibstream-") as folder:
        volume = Volume(Path(folder), dataset, outputs, key)
        run = StageRun(volume, dataset.grid, {}, recipe.fold(dataset, organelle), kept)
        for stage in stages:
            run.run(stage)
        return _table(run, dataset, measure.outputs[0].name)


def _table(run: StageRun, dataset: Dataset, rows: str) -> pa.Table:
    return finish(total_of(run.cells(rows), dataset.grid), dataset.voxel_size_nm)
