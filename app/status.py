"""`fibstream status`: progress of a dataset, from its log, and disk usage, from its folder."""

import os
import textwrap
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus
from fibstream.bus.reading import events_of
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Dataset
from fibstream.core.errors import NotFound
from fibstream.core.events import Change, ObjectChanged, Place, Progress, Record
from fibstream.core.ports import Bus, Files
from fibstream.core.rules import object_rules, pipeline_rule
from fibstream.core.subject import CHUNKS, WHOLE, Subjects, count, named, plain
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import bus_path
from fibstream.store.store import Store

from .catalogue import landed, outdated, stage_names, stages_of
from .choices import MOST_CHUNKS, unnamed
from .folder import open_dataset
from .housekeeping import age_text, size_text, usage_report

WIDTH = 100  # of a line for people


def status_of(path: Path) -> dict[str, Any]:
    """Return chunks per stage, objects per organelle, failures, disk usage and owner."""
    files, dataset = open_dataset(path)
    usage = usage_report(path)  # before the bus is opened, which writes beside itself
    bus = _log_of(path)
    records = list(ledger(bus, dataset.name))
    current = {(r.stage, r.subject): r for r in records if r.status == "ready"}
    old = _outdated(dataset, files, bus, current)
    ready = Counter(stage for stage, subject in current.keys() - old)
    stages: dict[str, Subjects] = {each.stage: each.subjects for each in landed(dataset)}
    stages |= {stage.name: stage.subjects for stage in stages_of(dataset, files)}
    names = stage_names(dataset, files)
    objects: dict[str, Counter[str]] = {}
    # Objects of an organelle that the pipeline no longer has, or of other settings, are not those
    # of the dataset.
    rules = object_rules(dataset)
    for change in _last_changes(bus, dataset.name):
        if change.organelle in rules and change.rule == rules[change.organelle]:
            objects.setdefault(change.organelle, Counter())[change.kind] += 1
    bus.close()
    grid = dataset.grid
    return {
        "dataset": dataset.name,
        "shape": list(dataset.shape),
        "chunk": list(dataset.chunk),
        "voxel_size_nm": list(dataset.voxel_size_nm),
        "sealed": dataset.grid.sealed,
        "chunks": count(CHUNKS, grid) if grid.sealed else None,
        "recorded": len(records),
        "networks": {model.name: dict(model.profile) for model in dataset.models},
        "stages": {name: ready[name] for name in stages},
        "wanted": {
            name: count(subjects, grid) if grid.sealed or subjects is WHOLE else None
            for name, subjects in stages.items()
        },
        "outdated": dict(sorted(Counter(stage for stage, _ in old).items())),
        "objects": {
            name: {kind: kinds[kind] for kind in get_args(Change) if kind in kinds}
            for name, kinds in sorted(objects.items())
        },
        "failed": [
            {"stage": r.stage, "chunk": plain(r.subject), "reason": r.reason}
            for r in records
            if r.status == "failed" and r.stage in names
        ],
        "choices": [] if old else unnamed(dataset, files, MOST_CHUNKS),
        **usage,
    }


def _log_of(path: Path) -> Bus:
    """Open the log of a dataset; an empty one while there is none that could be read."""
    log = bus_path(path)
    try:
        return SqliteBus(log, read_only=not os.access(log.parent, os.W_OK))
    except NotFound:
        return MemoryBus()


def _outdated(
    dataset: Dataset, files: Files, bus: Bus, records: Mapping[Place, Record]
) -> set[Place]:
    """Return the recorded outputs that are of other settings or inputs than they should be.

    Where all planners of this very pipeline had nothing left to do there are none: to look at each
    output again takes as long as a planner's start.
    """
    pipeline = pipeline_rule(dataset)
    settled: set[str] = set()
    for event in events_of(bus, [wire.PROGRESS], dataset.name):
        if isinstance(event, Progress):
            done = event.settled and event.pipeline == pipeline
            (settled.add if done else settled.discard)(event.service)
    if settled >= {service.name for service in registry.owners(dataset, files)}:
        return set()
    return outdated(dataset, Store(files, dataset.grid), records)


def _last_changes(bus: Bus, dataset: str) -> Iterable[ObjectChanged]:
    """Return the last change of every object: its present state."""
    last: dict[tuple[str, int], ObjectChanged] = {}
    for change in events_of(bus, [wire.OBJECTS], dataset):
        if isinstance(change, ObjectChanged):
            last[change.organelle, change.id] = change
    return last.values()


def describe(found: dict[str, Any]) -> str:
    """Return a status as lines for people."""
    size = " x ".join(str(s) for s in found["shape"])
    chunk = " x ".join(str(s) for s in found["chunk"])
    lines = [f"{found['dataset']}: {size} voxels in chunks of {chunk}"]
    for name, profile in found["networks"].items():
        told = (profile[key] for key in ("runtime", "provider", "device", "precision", "tile")
                if key in profile)  # fmt: skip
        lines.append(f"  network {name}: {', '.join(told)}")
    if not found["recorded"]:
        lines.append("  nothing is recorded in its log yet")
    lines += stage_lines(found)
    for name, kinds in found["objects"].items():
        counts = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
        lines.append(f"  objects/{name:<16} {counts}")
    for item in found["failed"]:
        lines.append(f"  failed: {item['stage']} {named(item['chunk'])}: {item['reason']}")
    lines += [f"  {line}" for line in found["choices"]]
    return "\n".join([*lines, *_usage_lines(found)])


def stage_lines(found: dict[str, Any]) -> Iterable[str]:
    """Yield lines of stages; those of one kind that are equally far share one."""
    alike: dict[tuple[str, str], list[str]] = {}
    for name, made in found["stages"].items():
        wanted = found["wanted"][name]
        old = found["outdated"].get(name)
        note = f", {old} of earlier settings or inputs" if old else ""
        far = f"{made} of {'?' if wanted is None else wanted}{note}"
        kind, _, of = name.partition("/")
        alike.setdefault((kind, far), []).append(of)
    for (kind, far), names in alike.items():
        if len(names) == 1:
            yield f"  {'/'.join([kind, *filter(None, names)]):<24} {far}"
        else:
            text = f"  {f'{kind}, {len(names)} of them':<24} {far} each: {', '.join(names)}"
            yield textwrap.fill(text, WIDTH, subsequent_indent=" " * 27, break_on_hyphens=False)


def _usage_lines(found: dict[str, Any]) -> list[str]:
    """Return disk usage and owner as lines."""
    parts = ", ".join(f"{name} {size_text(n)}" for name, n in found["bytes"].items())
    lines = [f"  on disk: {size_text(sum(found['bytes'].values()))} ({parts})"]
    if found["temporary_bytes"]:
        lines.append(f"  temporaries: {size_text(found['temporary_bytes'])}")
    lines.append(f"  last change: {found['changed']} ({age_text(found['changed'])})")
    if found["in_use_by"]:
        lines.append(f"  at work: {found['in_use_by']}")
    return lines
