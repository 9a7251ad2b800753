"""All services in one process: seeded schedules, faults between any two effects, and an oracle.

The planners, workers, folds, landings and stores are the production ones, on the memory bus. A
seed draws a volume, a grid, parameters, contents of every chunk over time, and a schedule of
steps and faults; the same seed replays it. In the end nothing may be left to do, and every array
and table must equal the whole volume computed as one block by the same pure functions.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import AlreadyExists, NotFound
from fibstream.core.events import Record, Task
from fibstream.core.fold import Folds
from fibstream.core.grid import Grid, Index
from fibstream.core.keys import canonical
from fibstream.core.ports import Delivery, Generation
from fibstream.core.service import Service
from fibstream.core.stage import MASK, Input, Stage
from fibstream.core.subject import OBJECTS, ObjectId, members
from fibstream.runtime.planner import Planner
from fibstream.runtime.site import Site
from fibstream.store.decoded import Decoded
from fibstream.store.record import RecordWatch, read_generation
from fibstream.store.store import Blob, Store

from ..support.light import KEPT
from . import operations
from .comparison import differences
from .draws import SMALL, Draws, draw_mask
from .faults import Actor, Diverged, Faults, Rules
from .oracle import Whole, read_array, whole
from .outside import DamagedFiles, Folder, LossyBus
from .services import SERVICES

DECODED = 2_000  # bytes that all workers keep of what they read: some ten inner chunks
MAX_PASSES = 12  # reconcile passes after the last fault; the model of the protocol needed 4


class World:
    """One seeded schedule."""

    def __init__(
        self,
        seed: int,
        faults: Faults | None = None,
        rules: Rules | None = None,
        *,
        steady: bool | None = None,
        draws: Draws = SMALL,
    ) -> None:
        self.seed = seed
        self.draws = draws
        # Steady: every chunk is acquired once, so whatever is predicted must be final at once.
        self.steady = seed % 4 == 0 if steady is None else steady
        self.rng = random.Random(seed)
        self.rules = rules or Rules()
        self.faults = faults or Faults.of(seed)
        self.folder = Folder()
        self.steps = 0
        self.computed = 0
        self._decoded = Decoded(DECODED)
        self.changes = 0  # of the dataset: created anew, or another pipeline
        self.asleep: list[Actor] = []
        self.actors: list[Actor] = []
        self._owners = 0
        self._begin(draws.dataset(self.rng, rich=seed % 5 == 3))
        self._watches: dict[str, RecordWatch] = {}
        self._noticed = {service.name: 0 for service in SERVICES}
        self.planners = {service.name: self.planner(service) for service in SERVICES}
        self.turns: dict[str, Iterator[None]] = {}

    def _begin(self, dataset: Dataset) -> None:
        """Draw the contents of a dataset, and create it."""
        self.dataset = dataset
        self.final = self.dataset.sealed(self.draws.extent(self.rng))
        self.plan = self.draws.contents(self.rng, self.final)
        if self.steady:
            self.plan = {index: contents[-1:] for index, contents in self.plan.items()}
        self._raw, *arrays = (each for s in SERVICES for each in s.lands(self.dataset))
        self.stored = {
            each: draw_mask(self.final, self.plan)
            if each.stage == MASK
            else self.draws.beside(self.rng, self.final, self.plan, each)
            for each in arrays
        }
        self.folder.files = DamagedFiles()
        self.bus = LossyBus()
        for path, data in KEPT.items():
            self.files.put(path, data)
        self.files.put(RECORD, canonical(self.dataset.model_dump(mode="json")))
        self.landed: set[Index] = set()
        self._kept: tuple[Generation, Dataset, dict[str, list[Stage]]] | None = None
        self.left: set[str] = set()  # what earlier pipelines made
        self.sealed = False
        others = [actor for actor in self.actors if actor.kind != "client"]
        self.actors = [*others, *(Actor(self._client(i), "client") for i in self.plan)]
        self.sent: list[tuple[str, str, bytes]] = []
        self._oracle: tuple[Dataset, Whole] | None = None  # and of which dataset it is

    def recreate(self) -> None:
        """Delete the dataset and create one of its name; who was at work on it is so still."""
        anew = self.dataset if self.rng.random() < 0.5 else self.draws.dataset(self.rng)
        self.changes += 1
        for actor in self._mortal():
            actor.kind = "zombie"
        self._begin(anew.model_copy(update={"incarnation": str(self.changes)}))

    # -- building --------------------------------------------------------------------------------

    @property
    def files(self) -> DamagedFiles:
        return self.folder.files

    def _grid(self) -> Grid:
        return self.rules.grid(self.record(), self.landed)

    def record(self) -> Dataset:
        """Return the record as it is; what follows from it is kept until it is put again."""
        handle = self.files.open(RECORD)
        if self._kept is None or handle is None or self._kept[0] != handle.generation:
            dataset, generation = read_generation(self.files)
            self._kept = generation, dataset, {s.name: s.stages(dataset, self.files)
                                               for s in SERVICES}  # fmt: skip
        return self._kept[1]

    def site(self) -> Site:
        store = self.rules.store(self.rules.files(self.folder), self._grid(), self._decoded)
        return Site(self.dataset.name, store, self.bus)

    def microscope(self) -> Site:
        """Where chunks land: on the grid as it is, whatever a mutant thinks of it."""
        files = self.rules.files(self.folder)
        store = self.rules.store(files, self.record().grid)
        return Site(self.dataset.name, store, self.bus)

    def stages(self, service: Service) -> list[Stage]:
        self.record()
        assert self._kept is not None
        return self._kept[2][service.name]

    def oracle(self) -> Whole:
        """Return the whole volume computed as one block from the last content of each chunk."""
        if self._oracle is None or self._oracle[0] != self.final:
            plans = {self._raw: self.plan, **self.stored}
            last = {
                array: {index: contents[-1][1] for index, contents in plan.items()}
                for array, plan in plans.items()
            }
            made = whole(SERVICES, self.files, self.final, last)
            self._oracle = self.final, made
        return self._oracle[1]

    def planner(self, service: Service) -> Planner:
        dataset, site = self.record(), self.site()
        self._watches[service.name] = RecordWatch(site.store.files, dataset)
        return self.rules.planner(
            site, service.name, self.stages(service),
            Folds(service.folds(dataset)), self._grid, service.lands(dataset),
        )  # fmt: skip

    # -- actors ----------------------------------------------------------------------------------

    def _client(self, index: Index) -> Iterator[None]:
        """A microscope: acquires the contents of one chunk one after the other, retrying each."""
        whole = index in self._whole_chunks()
        while not self.sealed and not whole:
            yield  # a short last chunk lands when it is known to be the last
        for revision, voxels in self.plan[index]:
            yield from self._landing(self._raw, index, voxels, revision)
            self.landed.add(index)
            for array, contents in self.stored.items():
                yield from self._landing(array, index, dict(contents[index])[revision], revision)
            while self.rng.random() < 0.5:
                yield

    def _landing(
        self, array: Input, index: Index, voxels: np.ndarray | None, revision: int
    ) -> Iterator[None]:
        """Land one content of one array, again until it is done."""
        done: list[bool] = []
        kind = f"land{array.name}{index}{revision}"
        while not done:
            if not any(actor.kind == kind for actor in self.actors):
                steps = self.rules.land(
                    self.microscope(), index, voxels, array.dtype, revision,
                    stage=array.stage, name=array.name,
                )  # fmt: skip
                self.actors.append(Actor(steps, kind, result=partial(done.append, True)))
            yield

    def _whole_chunks(self) -> set[Index]:
        """The chunks that the end of the volume does not cut short."""
        grid, final = self.dataset.grid, self.final.grid
        return {index for index in self.plan if final.box(index) == grid.box(index)}

    def work(self, service: Service, delivery: Delivery, owner: str) -> Iterator[None]:
        site = self.site()
        worker = self.rules.worker(site, self.stages(service), self._grid)
        task = wire.decode(delivery.value)
        assert isinstance(task, Task)
        outcome = yield from worker.handle(task)
        if self.steady and isinstance(task.subject, tuple) and task.stage.startswith("prediction/"):
            self._check_prediction(task.subject)
        self.computed += outcome == "computed"
        yield
        site.bus.acknowledge(delivery, owner)

    def seal(self) -> None:
        self.sealed = True
        operations.sealed(self.microscope(), self.final)

    # -- the schedule ----------------------------------------------------------------------------

    def step(self) -> bool:
        """Take one step of one actor drawn at random; False when nobody can take one."""
        self.steps += 1
        if self.steps > self.draws.most_steps:
            raise Diverged(f"seed {self.seed}: live-lock")
        self._misfortune()
        choices: list[Callable[[], None]] = []
        for service in SERVICES:
            planner = self.planners[service.name]
            if self._noticed[service.name] != self.changes:
                choices.append(partial(self._scan, service))
            if service.name in self.turns or self._has_work(planner):
                choices += [partial(self._plan, service)] * 3
            if self.bus.waits(wire.task_topic(service.name)):
                choices.append(partial(self._take, service))
        choices += [partial(self._advance, actor) for actor in self.actors]
        if not self.sealed and (self._whole_chunks() <= self.landed or self.rng.random() < 0.01):
            choices.append(self.seal)
        if not choices:
            return False
        self.rng.choice(choices)()
        return True

    def _has_work(self, planner: Planner) -> bool:
        return (
            planner.offset < planner.site.bus.end(wire.ledger_topics())
            or not planner.frontier.idle
            or planner.announcing
        )

    def _plan(self, service: Service) -> None:
        turn = self.turns.get(service.name)
        if turn is None:
            turn = self.turns[service.name] = self._turn(self.planners[service.name])
        try:
            if next(turn, self) is self:
                self.turns.pop(service.name)
        except NotFound:  # the dataset was deleted meanwhile
            self._reopen(service)

    def _scan(self, service: Service) -> None:
        """Look at the record, as a host does every second."""
        self._noticed[service.name] = self.changes
        if self.rules.outdated(self._watches[service.name]):
            self._reopen(service)

    def _reopen(self, service: Service) -> None:
        self.planners[service.name] = self.planner(service)
        self.turns.pop(service.name, None)

    def _turn(self, planner: Planner) -> Iterator[None]:
        yield from planner.consume()
        yield from planner.act()
        if self.rules.reconcile and self.rng.random() < 0.02:
            yield from planner.reconcile()

    def _take(self, service: Service) -> None:
        self._owners += 1
        owner = f"w{self._owners}"
        delivery = self.bus.take(wire.task_topic(service.name), owner, 1.0)
        if delivery is not None and self._spend("parks", 0.05):
            task = wire.decode(delivery.value)
            assert isinstance(task, Task)
            operations.parked(self.site(), task)
            self.bus.acknowledge(delivery, owner)
        elif delivery is not None:
            steps = self.work(service, delivery, owner)
            self.actors.append(Actor(steps, "worker", delivery, owner))
            self.sent.append((wire.task_topic(service.name), delivery.key, delivery.value))

    def _advance(self, actor: Actor) -> None:
        try:
            if next(actor.steps, self) is self:
                self.actors.remove(actor)
                actor.result()
        except (NotFound, AlreadyExists) as error:  # its dataset was deleted meanwhile
            if actor.kind != "zombie" and not isinstance(error, NotFound):
                raise
            self.actors.remove(actor)

    # -- faults ----------------------------------------------------------------------------------

    def _spend(self, fault: str, chance: float) -> bool:
        left = getattr(self.faults, fault)
        if left and self.rng.random() < chance:
            setattr(self.faults, fault, left - 1)
            return True
        return False

    def _misfortune(self) -> None:
        if self._spend("crashes", 0.01):
            mortal = self._mortal()
            if self.rng.random() < 0.3 or not mortal:
                self._reopen(self.rng.choice(SERVICES))
            else:
                self._kill(self.rng.choice(mortal))
        if self._mortal() and self._spend("naps", 0.01):
            self._sleep(self.rng.choice(self._mortal()))
        if self.asleep and self.rng.random() < 0.005:
            self._wake()
        if self.sent and self._spend("rewinds", 0.005):
            self.bus.send(*self.rng.choice(self.sent))
        if self._spend("duplicates", 0.01):
            self._duplicate()
        if self._spend("losses", 0.01):
            self._lose()
        if self._spend("flips", 0.005):
            self._flip()
        if self._spend("torn", 0.005):
            self._tear()
        if self._spend("recreations", 0.01):
            self.recreate()
        if self._spend("updates", 0.01):
            operations.updated(self)
        if self.sealed and self._spend("seals", 0.01):
            self.seal()

    def _mortal(self) -> list[Actor]:
        return [actor for actor in self.actors if actor.kind != "client"]

    def _kill(self, actor: Actor) -> None:
        self.actors.remove(actor)
        if actor.delivery is not None:
            self.bus.reclaim(actor.owner)

    def _sleep(self, actor: Actor) -> None:
        """An actor stops without dying: its lease runs out, and it may go on at any later time."""
        self._kill(actor)
        actor.result = lambda: None
        actor.kind = "zombie"
        self.asleep.append(actor)

    def _wake(self) -> None:
        self.actors.append(self.asleep.pop(self.rng.randrange(len(self.asleep))))

    def _duplicate(self) -> None:
        entries = self.bus.all(wire.ledger_topics())
        if entries:
            old = self.rng.choice(entries)
            self.bus.publish(old.topic, old.key, old.value)

    def _lose(self) -> None:
        """The broker loses a task or a record, the seal apart: its reader looks at the store."""
        topics = [wire.task_topic(service.name) for service in SERVICES]
        waiting = sorted(each for topic in topics for each in self.bus.waiting(topic))
        entries = self.bus.all(wire.ledger_topics())
        if waiting and self.rng.random() < 0.5:
            self.bus.discard(self.rng.choice(waiting))
        elif entries:
            self.bus.lose(self.rng.choice(entries))

    def _derived(self) -> list[str]:
        landed = tuple(f"{array.name}/s0/" for array in (self._raw, *self.stored))
        return [p for p in self.files.paths if p != RECORD and not p.startswith(landed)]

    def _flip(self) -> None:
        def flipped(data: bytes) -> bytes:
            at = self.rng.randrange(len(data))
            return data[:at] + bytes([data[at] ^ (1 << self.rng.randrange(8))]) + data[at + 1 :]

        self._damage(flipped)

    def _tear(self) -> None:
        self._damage(lambda data: data[: self.rng.randrange(len(data))])

    def _damage(self, change: Callable[[bytes], bytes]) -> None:
        paths = [path for path in self._derived() if path not in KEPT]
        if paths:
            self.files.damage(self.rng.choice(paths), change)

    # -- the end ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Run to the end and compare with the oracle; return the number of reconcile passes."""
        passes = 0
        while True:
            while self.step() or self._look():
                pass
            if self.asleep:
                self._wake()  # all is quiet, and a zombie goes on alone, perhaps to its death
                zombie = self.actors[-1]
                for _ in range(self.rng.randint(1, 12)):
                    if zombie in self.actors:
                        self._advance(zombie)
                if zombie in self.actors and self.rng.random() < 0.5:
                    self.actors.remove(zombie)
                continue
            for service in SERVICES:
                self._scan(service)
            if operations.replayed(self):
                continue
            if not self.rules.reconcile or not self._reconcile():
                break
            passes += 1
            if passes > MAX_PASSES:
                raise Diverged(f"seed {self.seed}: no rest after {passes} reconciles")
        self.check()
        return passes

    def _look(self) -> bool:
        """Let every planner look once though nothing calls it; whether it found something to do."""
        before = self.bus.end(wire.ledger_topics())
        for planner in self.planners.values():
            for _ in planner.act():
                pass
        return self._waiting() or self.bus.end(wire.ledger_topics()) != before

    def _waiting(self) -> bool:
        """Whether a task waits for a worker."""
        return any(self.bus.backlog(wire.task_topic(service.name)) for service in SERVICES)

    def _reconcile(self) -> bool:
        """Verify every object and reconcile every planner; whether anything was found."""
        before = self.bus.end(wire.ledger_topics())
        self._verify()
        for planner in self.planners.values():
            for _ in planner.reconcile():
                pass
        # As a service does, each planner looks once more: it has forgotten what it sent, and an
        # output of the whole dataset whose task was lost is due only when nothing else is left.
        busy = self._look() or any(self._has_work(p) for p in self.planners.values())
        return busy or self.bus.end(wire.ledger_topics()) != before

    def _verify(self) -> None:
        """The deep look of ``fibstream verify``: contents, not stamps alone."""
        site = self.site()
        items = [
            (stage.name, subject, item)
            for service in SERVICES
            for stage in self.stages(service)
            for subject in (*members(stage.subjects, self.final.grid), *self._stored(stage))
            for item in site.blobs(stage, subject)
        ]
        for name, subject, item in items:
            if self.files.open(item.path) is not None and site.store.intact(item) is None:
                site.publish(Record(name, subject, "suspect"))

    def _stored(self, stage: Stage) -> set[ObjectId]:
        """Return the objects that a stage has a file of."""
        return {
            ObjectId(int(path.rpartition("/")[2]))
            for output in stage.outputs
            if stage.subjects is OBJECTS
            for path in self.files.list(output.name)
        }

    def _check_prediction(self, index: Index) -> None:
        """A prediction made while the volume grows is that of the whole volume, or damaged."""
        store = Store(self.files, self.final.grid)
        item = Blob("predictions/mito", index, "uint8")
        if store.intact(item) is not None:
            box = self.final.grid.box(index)
            wanted = self.oracle().arrays["predictions/mito", "uint8"][box.slices()]
            if not np.array_equal(read_array(store, item, box), wanted):
                raise Diverged(f"seed {self.seed}: {item.path} was announced and is not final")

    def check(self) -> None:
        """Compare everything that is stored with the whole computation on the final content."""
        for wrong in differences(Store(self.files, self.final.grid), self.bus, self.oracle()):
            raise Diverged(f"seed {self.seed}: {wrong}")
        for path in operations.strangers(self, [self._raw, *self.stored]):
            raise Diverged(f"seed {self.seed}: {path} is of another dataset")
