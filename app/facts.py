"""What the results of a dataset follow from, as names and values: source, parameters, hashes."""

import json
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fibstream.core.dataset import Dataset
from fibstream.core.ports import Files
from fibstream.store.store import Store

from .catalogue import outdated, stored

SOURCE = "provenance/source.json"  # where a run notes what it has read
Facts = list[tuple[str, str]]


def source_record(raw: str) -> bytes:
    """Return the record of where raw came from: a URL, or a path with the folder spelled out."""
    place, mark, inside = raw.partition("#")
    whole = raw if "://" in place else f"{Path(place).absolute()}{mark}{inside}"
    return json.dumps({"raw": whole}).encode()


def source_of(out: Path) -> str:
    """Return where raw came from, as the last run has noted it."""
    try:
        return str(json.loads((out / SOURCE).read_text())["raw"])
    except (OSError, ValueError, LookupError, TypeError):
        return "not recorded: chunks were landed by a client, or by an earlier version"


def missing(dataset: Dataset, files: Files) -> str:
    """Return why a dataset has no hashes yet; empty where all is stored that is wanted now."""
    if not dataset.grid.sealed:
        return "the dataset is open: its extent in z is not known yet"
    store = Store(files, dataset.grid)
    every = dict(stored(dataset, store))
    records = {place: record for place, record in every.items() if record is not None}
    if lacking := len(every) - len(records):
        return f"{lacking} of {len(every)} outputs are not stored yet"
    old = len(outdated(dataset, store, records))
    return f"{old} of {len(every)} outputs are of earlier settings" if old else ""


def provenance(
    dataset: Dataset, hashes: tuple[str, str] | str, source: str, credit: str = ""
) -> Facts:
    """Return all that the results follow from; ``hashes`` is why there are none, or both."""
    facts = [("fibstream", version("fibstream")), ("source", source + _averaged(dataset))]
    if credit:
        facts.append(("credit", credit))
    contrast = "{:g} to {:g}".format(*dataset.contrast)
    facts.append(("contrast", contrast + (", inverted" if dataset.invert else "")))
    if dataset.absent_value is not None:
        facts.append(("never imaged", f"voxels of value {dataset.absent_value:g}"))
    if dataset.absent_mask:
        facts.append(("mask", "landed beside raw: 0 where nothing was imaged"))
    for model in dataset.models:
        facts.append((f"network {model.name}", f"sha256 {model.sha256}"))
        facts.append(("engine profile", _listed(model.profile)))
    for landed in (p for p in dataset.predictions if not p.model):
        kind = f"squash length {landed.squash_nm:g} nm" if landed.is_distance else "a probability"
        kind += f", distances of {landed.made_of}" if landed.made_of else ""
        made = f"landed beside raw, {kind}"
        facts.append((f"prediction {landed.name}", made))
    for o in dataset.organelles:
        made = f"recipe {o.recipe} from {', '.join(o.inputs.values())}; {_listed(o.settings)}"
        facts.append((f"organelle {o.name}", made))
    for word, entries in dataset.steps.items():
        facts += [(word, _listed(entry)) for entry in entries]
    if isinstance(hashes, str):
        return [*facts, ("hashes", f"none: {hashes}")]
    return [*facts, ("labels hash", hashes[0]), ("tables hash", hashes[1])]


def _averaged(dataset: Dataset) -> str:
    """Return of what voxels of the source each voxel is the mean; nothing where it is one."""
    if dataset.downsample == (1, 1, 1):
        return ""
    factors = " x ".join(map(str, dataset.downsample))
    pairs = zip(dataset.voxel_size_nm, dataset.downsample, strict=True)
    own = [f"{edge / factor:g}" for edge, factor in pairs]
    size = own[0] if len(set(own)) == 1 else " x ".join(own)
    return f"; every voxel is the mean of {factors} voxels of {size} nm"


def _listed(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{n} {'none' if v is None else v}" for n, v in values.items())
