"""A dataset that is created anew, or whose bus goes, at any moment: it is opened anew."""

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import Damaged, Retryable
from fibstream.core.events import Task
from fibstream.core.keys import canonical
from fibstream.core.ports import Bus, Delivery, Files
from fibstream.runtime import host as host_module
from fibstream.runtime import worker_host as worker_module
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import Root, bus_path
from fibstream.runtime.site import Site
from fibstream.runtime.worker_host import WorkerHost
from fibstream.store.store import Blob, Store

from .line import CHUNKS, GRID, STAGE, volume
from .serving import QUEUE, SERVICE, SETTINGS, SharedRoot, dataset_named, land_all


class Changing(Root):
    """A root whose dataset is replaced once, at a moment that a test chooses."""

    moment: Callable[[], None] | None = None

    def replace(self) -> None:
        """Delete the dataset and create one of its name."""
        self.remove("cell")
        self.create(1)

    def create(self, number: int) -> None:
        """Create the dataset, with all chunks; each has other contents."""
        dataset = dataset_named("cell", incarnation=str(number))
        self.make("cell")
        files = self.files("cell")
        files.put(RECORD, canonical(dataset.model_dump(mode="json")))
        with closing(super().bus("cell")) as bus:
            site = Site("cell", Store(files, GRID), bus)
            land_all(site, volume(number))
        self.enter("cell")

    def bus(self, name: str, creation: str | None = None) -> Bus:
        """Open the bus; the moment is just after it."""
        bus = super().bus(name, creation)
        if not isinstance(self, SharedRoot):
            self.pass_moment()
        return bus

    def dataset(self, name: str, files: Files | None = None) -> Dataset:
        """Read the record; on a bus that datasets share the moment is just after it."""
        found = super().dataset(name, files)
        if isinstance(self, SharedRoot):
            self.pass_moment()
        return found

    def pass_moment(self) -> None:
        """Let what a test chose happen, once."""
        moment, self.moment = self.moment, None
        if moment is not None:
            moment()


class ChangingShared(Changing, SharedRoot):
    """The same, on a bus that datasets share."""


@pytest.fixture
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Changing]:
    monkeypatch.setattr(host_module, "SCAN_S", 0.0)
    monkeypatch.setattr(worker_module, "SCAN_S", 0.0)
    (tmp_path / "root").mkdir()
    with closing(getattr(request, "param", Changing)(str(tmp_path / "root"))) as made:
        made.create(0)
        yield made


def complete(root: Root) -> bool:
    """Whether all is made and, on the bus that the dataset has now, recorded."""
    made = Store(root.files("cell"), GRID)
    with closing(root.bus("cell")) as bus:
        ready = {r.subject for r in ledger(bus, "cell") if (r.stage, r.status) == (STAGE, "ready")}
    return ready == set(CHUNKS) and all(made.intact(Blob("blur", i, "uint8")) for i in CHUNKS)


def until_complete(root: Root, planners: PlannerHost, worker: WorkerHost) -> None:
    for _ in range(60):
        planners.turn()
        worker.turn()
    assert complete(root)
    assert planners.quarantine.reasons == worker.quarantine.reasons == {}


def test_a_task_of_the_old_dataset_is_not_carried_out_for_the_new_one(root: Changing) -> None:
    taken: list[Delivery] = []
    with closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker:
        worker.turn()
        old = worker.loops["cell"][1]
        old.send(QUEUE, f"cell/{STAGE}/0.0.0", wire.encode(Task(STAGE, (0, 0, 0), "k", ())))
        take = old.take

        def change(topic: str, owner: str, lease_s: float) -> Delivery | None:
            if (delivery := take(topic, owner, lease_s)) is not None:
                taken.append(delivery)
                root.replace()
            return delivery

        old.take = change  # type: ignore[method-assign]
        assert worker.turn() and taken
        assert not worker.loops and not list(root.files("cell").list("blur"))
        with pytest.raises(Damaged, match="closed"):
            old.wait(0)
        worker.turn()
        assert worker.loops["cell"][1] is not old
        with closing(PlannerHost(SERVICE, root, SETTINGS)) as planners:
            until_complete(root, planners, worker)


@pytest.mark.parametrize("root", [Changing, ChangingShared], indirect=True)
@pytest.mark.parametrize("role", [PlannerHost, WorkerHost])
def test_a_dataset_that_is_replaced_while_it_is_opened_is_opened_anew(
    root: Changing, role: type
) -> None:
    def opening(kind: type) -> None:
        root.moment = root.replace if kind is role else None

    with (
        closing(PlannerHost(SERVICE, root, SETTINGS)) as planners,
        closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker,
    ):
        opening(PlannerHost)
        planners.turn()
        opening(WorkerHost)
        worker.turn()
        assert root.moment is None
        until_complete(root, planners, worker)


def test_a_bus_that_is_removed_while_it_is_open_is_opened_anew(root: Changing) -> None:
    with (
        closing(PlannerHost(SERVICE, root, SETTINGS)) as planners,
        closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker,
    ):
        planners.turn()
        worker.turn()
        for part in bus_path(Path(root.url_of("cell"))).parent.glob("bus.sqlite*"):
            part.unlink()
        planners.turn()
        worker.turn()
        assert planners.loops["cell"].bus.is_current
        assert worker.loops["cell"][1].is_current


def test_a_bus_that_fails_while_the_only_dataset_waits_ends_no_worker(root: Changing) -> None:
    def away(timeout_s: float) -> bool:
        raise Retryable("its disk is away")

    with closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker:
        worker.turn()
        worker.loops["cell"][1].wait = away  # type: ignore[method-assign]
        worker.wait(0)
        assert worker.quarantine.reasons == {"cell": "its disk is away"}
        assert not worker.loops
