"""`fibstream status`: how far a dataset is, from its log alone."""

from collections import Counter
from pathlib import Path
from typing import Any

from fibstream import wire
from fibstream.events import ObjectChanged
from fibstream.root import bus_path
from fibstream.sqlite import SqliteBus

from .catalogue import SERVICES, stage_names
from .run import ledger
from .verify import open_dataset


def status_of(path: Path) -> dict[str, Any]:
    """Return chunks per stage, objects per organelle and failures."""
    files, dataset = open_dataset(path)
    bus = SqliteBus(bus_path(path))
    records = list(ledger(bus))
    ready = Counter(r.stage for r in records if r.status == "ready")
    stages = [s.name for service in SERVICES for s in service.stages(dataset, files)]
    names = stage_names(dataset, files)
    objects: dict[str, Counter[str]] = {}
    for entry in bus.read([wire.OBJECTS], 0, limit=1 << 30):
        change = wire.decode(entry.value)
        if isinstance(change, ObjectChanged):
            objects.setdefault(change.organelle, Counter())[change.kind] += 1
    bus.close()
    z, y, x = dataset.grid.count
    return {
        "dataset": dataset.name,
        "shape": list(dataset.shape),
        "chunk": list(dataset.chunk),
        "voxel_size_nm": list(dataset.voxel_size_nm),
        "sealed": dataset.grid.sealed,
        "chunks": z * y * x if dataset.grid.sealed else None,
        "stages": {name: ready[name] for name in ["raw", *stages]},
        "objects": {name: dict(kinds) for name, kinds in sorted(objects.items())},
        "failed": [
            {"stage": r.stage, "chunk": list(r.index), "reason": r.reason}
            for r in records
            if r.status == "failed" and r.stage in names
        ],
    }


def describe(found: dict[str, Any]) -> str:
    """Return a status as lines for people."""
    size = " x ".join(str(s) for s in found["shape"])
    chunk = " x ".join(str(s) for s in found["chunk"])
    total = found["chunks"] if found["chunks"] is not None else "?"
    lines = [f"{found['dataset']}: {size} voxels in chunks of {chunk}"]
    lines += [f"  {name:<24} {count} of {total}" for name, count in found["stages"].items()]
    for name, kinds in found["objects"].items():
        said = ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in kinds.items())
        lines.append(f"  objects/{name:<16} {said}")
    for item in found["failed"]:
        lines.append(f"  failed: {item['stage']} {tuple(item['chunk'])}: {item['reason']}")
    return "\n".join(lines)
