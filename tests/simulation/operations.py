"""What users and operators do at any moment: delete and create anew, update, seal again, replay."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from fibstream import registry
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.events import Record, Task
from fibstream.core.rules import pipeline_rule
from fibstream.core.stage import Input
from fibstream.runtime.site import Site
from fibstream.services.ingest.edges.datasets import DatasetDesign, seal, update
from fibstream.services.ingest.edges.progress import DatasetFollower, replay
from fibstream.store.record import read_dataset

from ..support.light import KEPT
from .services import SERVICES

if TYPE_CHECKING:
    from .world import World


def updated(world: World) -> None:
    """Give the dataset another pipeline, as the call of ingest does."""
    other = world.draws.other(random.Random(world.rng.random()), world.final)
    site = world.site()
    world.left |= outputs(world)
    update(site.store.files, site, lambda there: DatasetDesign(other(there), {}, []))
    world.dataset, world.final = other(world.dataset), other(world.final)
    world.changes += 1


def outputs(world: World) -> set[str]:
    """Return the names of all that the stages of a dataset make."""
    stages = [stage for service in SERVICES for stage in world.stages(service)]
    return {output.name for stage in stages for output in stage.outputs}


def sealed(site: Site, final: Dataset) -> None:
    """Seal a dataset, once more if it is, as the call of ingest does."""
    seal(site.store.files, site, final.shape[0])


def parked(site: Site, task: Task) -> None:
    """Give a task up, as a worker does that finds that others died of it."""
    reason = "its worker died 3 times"
    site.publish(Record(task.stage, task.subject, "failed", task.key, reason=reason, crashed=True))


def replayed(world: World) -> int:
    """Put what failed back, as the call of ingest does; return how many outputs those are."""
    site, lands = world.site(), [each for s in SERVICES for each in s.lands(world.dataset)]
    stages = {stage.name for service in SERVICES for stage in world.stages(service)}
    stages |= {each.stage for each in lands}
    names = [service.name for service in SERVICES]
    pipeline = pipeline_rule(read_dataset(world.files))
    follower = DatasetFollower(site.bus, site.dataset, names, lands, stages, pipeline)
    follower.poll(site.store.grid)
    return len(replay(site, follower))


def strangers(world: World, lands: Collection[Input]) -> Iterator[str]:
    """Yield the files that are no part of the dataset: of one that had its name before."""
    names = {each.name for each in lands} | outputs(world) | world.left
    for path in world.files.paths:
        own = path in (RECORD, *KEPT) or path.startswith("provenance/manifests/")
        if not own and not any(path == name or path.startswith(f"{name}/") for name in names):
            yield path


assert {service.name for service in SERVICES} == set(registry.names())
