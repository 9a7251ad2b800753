"""How far a dataset of running services is, as text or JSON."""

import json
from typing import Any

import typer

from fibstream import registry
from fibstream.bus import wire
from fibstream.core.subject import named, plain

from .connect import check_name, connected


def show_status(name: str, server: str, *, as_json: bool) -> None:
    """Print how far a dataset of running services is."""
    check_name(name)
    with connected(server) as client:
        answer = next(client.watch(name, once=True))
    found = _status(answer)
    if as_json:
        typer.echo(json.dumps(found))
        return
    z, y, x = found["shape"]
    if found["quarantined"]:
        typer.echo(f"{name}: left alone by services: {found['quarantined']}")
    typer.echo(f"{name}: {z or '?'} x {y} x {x} voxels, {'sealed' if found['sealed'] else 'open'}, "
        f"{_word(found)}")  # fmt: skip
    for stage, chunks in found["landed"].items():
        typer.echo(f"  {stage:<24} {chunks['landed']} of {chunks['wanted'] or '?'} landed")
    for service in registry.names():
        if counts := found["services"].get(service):
            typer.echo(f"  {service:<12} {counts['recorded']} of {counts['wanted']}")
    for item in found["failed"]:
        typer.echo(f"  failed: {item['stage']} {named(item['chunk'])}: {item['reason']}")


def _word(found: dict[str, Any]) -> str:
    """Say whether a dataset is complete; one with failures is only done."""
    if found["complete"] and found["failed"]:
        return "done, but what failed is missing"
    return "complete" if found["complete"] else "not complete"


def _status(answer: Any) -> dict[str, Any]:
    shape = answer.dataset.shape
    return {
        "dataset": answer.dataset.name,
        "shape": [shape.z or None, shape.y, shape.x],
        "sealed": answer.sealed,
        "complete": answer.complete,
        "quarantined": answer.quarantined,
        "landed": {
            each.stage: {"landed": each.landed, "wanted": each.wanted or None}
            for each in answer.arrays
        },
        "services": {
            p.service: {"recorded": p.recorded, "wanted": p.wanted, "failed": p.failed}
            for p in answer.services
        },
        "failed": [
            {"stage": f.stage, "chunk": plain(wire.subject_of(f.subject)), "reason": f.reason}
            for f in answer.failed
        ],
    }
