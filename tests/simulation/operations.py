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
from fibstream.services.refine.recipe import resolve
from fibstream.store.record import read_dataset

from ..support.light import KEPT
from .services import SERVICES

if TYPE_CHECKING:
    from .world import World


def other_pipeline(rng: random.Random, dataset: Dataset) -> Dataset:
    """Return a dataset whose organelles have other settings."""
    given = {"smooth_nm": rng.choice((0, 4)), "min_volume_nm3": rng.choice((0, 4000))}
    organelles = [
        each.model_copy(update={"settings": resolve(each.recipe, given).model_dump()})
        for each in dataset.organelles
    ]
    return dataset.model_copy(update={"organelles": tuple(organelles)})


def updated(world: World) -> None:
    """Give the dataset another pipeline, as the call of ingest does."""
    rng = random.Random(world.rng.random())
    design = other_pipeline(rng, world.final)

    def designed(there: Dataset) -> DatasetDesign:
        return DatasetDesign(
            there.model_copy(update={"organelles": design.organelles}), {}, []
        )  # fmt: skip

    site = world.site()
    update(site.store.files, site, designed)
    world.dataset, world.final = designed(world.dataset).dataset, design
    world.changes += 1


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
    stages = [stage for service in SERVICES for stage in world.stages(service)]
    names = {each.name for each in lands} | {o.name for s in stages for o in s.outputs}
    for path in world.files.paths:
        own = path in (RECORD, *KEPT) or path.startswith("provenance/manifests/")
        if not own and not any(path == name or path.startswith(f"{name}/") for name in names):
            yield path


assert {service.name for service in SERVICES} == set(registry.names())
