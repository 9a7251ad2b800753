"""Registrations that stages of a dataset found, written as `fibstream register` writes its own."""

import contextlib
import json
from pathlib import Path

from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.echo import echo, listed
from fibstream.core.errors import WrongState, WrongUse
from fibstream.core.ports import Files
from fibstream.services.registration.answer import facts_of as answer_facts
from fibstream.services.registration.edges.images import read_prediction
from fibstream.services.registration.edges.lights import kept
from fibstream.services.registration.edges.stored import FOLDER, REPORT, answered
from fibstream.services.registration.planned import Planned, registrations_of
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .registered import Found, Named, facts_of, write_none, write_registered
from .registering import check_names


def write_all(out: Path, name: str | None = None) -> dict[str, str]:
    """Write what the stages of a dataset in a folder found, where it is not there yet.

    Returns the status of each registration, or of the one of a name. Raises WrongUse where there is
    none, or something else has the place of one, and WrongState where nothing is known of it yet.
    """
    if not (out / RECORD).is_file():
        raise WrongUse(f"--out {out}: is no dataset; give --light and --em to register")
    files = LocalFiles(out)
    dataset = read_dataset(files)
    known = {planned.name: planned for planned in registrations_of(dataset)}
    if not known:
        raise WrongUse(f"--out {out}: its pipeline has no registration; give --light and --em")
    if name is not None and name not in known:
        raise WrongUse(f"--name {echo(name)}: the pipeline of {out} has {listed(known)}")
    chosen = known if name is None else {name: known[name]}
    return {each: _written(out, files, dataset, chosen[each]) for each in chosen}


def _written(out: Path, files: Files, dataset: Dataset, planned: Planned) -> str:
    found = answered(files, planned.path)
    if found is None:
        raise WrongState(f"registration {planned.name}: nothing is known of it yet")
    answer, content = found
    status = answer.judgement.status
    if _last(out, planned.name) == content:
        return status
    check_names(out, planned.name)
    more = {"landed": answer.landed, "answer": content}
    if answer.found is None:
        facts = {"name": planned.name, **answer_facts(answer), **more}
        write_none(out, planned.name, facts)
        return status
    path, *apart = (f"{out}#{dataset.prediction(each).path}" for each in planned.sources)
    em, light = read_prediction(path).image, kept(files, planned.light)
    by = (planned.microscope, planned.settings)
    named = Named(path, em), Named(planned.light.file, light)
    facts = facts_of(planned.name, *named, answer.found, by) | {"held_out": None, **more}
    if planned.held_out is not None and answer.apart is not None:
        names = {"light": planned.held_out.light.file, "em": apart[0]}
        facts["held_out"] = names | answer.apart._asdict()
    assert answer.valid is not None  # there is a registration
    made = Found(answer.found, answer.valid)
    write_registered(out, planned.name, facts, made, (em, light), by)
    return status


def _last(out: Path, name: str) -> str | None:
    """Return the content hash of the answer that was written last."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads((out / FOLDER / name / REPORT).read_text())["answer"])
    return None
