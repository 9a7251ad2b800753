"""What fails in one dataset is that dataset's: a worker of many goes on with the others."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from fibstream.bus import wire
from fibstream.bus.reading import UNREADABLE
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.errors import Retryable
from fibstream.core.events import DeadLetter, Record, Task
from fibstream.core.keys import canonical
from fibstream.core.service import Capability, Service
from fibstream.core.stage import RAW, Block, Stage
from fibstream.runtime import loops
from fibstream.runtime.host import PlannerHost
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import Root
from fibstream.runtime.site import Site
from fibstream.runtime.worker_host import WorkerHost
from fibstream.store.store import Blob, Store

from .line import CHUNKS, GRID, RAW_INPUT, STAGE, blur, make_stage, volume
from .serving import QUEUE, SETTINGS, SharedRoot, dataset_named, land_all


def stages(dataset: Dataset, _: object) -> Sequence[Stage]:
    """Return a stage that fails in a dataset by its name."""

    def compute(block: Block) -> dict[str, Any]:
        if dataset.name == "bug":
            raise ZeroDivisionError("of this version")
        if dataset.name == "away":
            raise Retryable("its disk is away")
        return blur(block)

    return [make_stage(compute)]


SERVICE = Service(
    "inference", 7999, "made", (Capability(("prediction",), stages),), lambda _: None,
    lambda _: [RAW_INPUT],
)  # fmt: skip


@pytest.fixture(params=[Root, SharedRoot])
def root(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Root]:
    monkeypatch.setattr(loops, "ATTEMPTS", 1)
    (tmp_path / "root").mkdir()
    with closing(request.param(str(tmp_path / "root"))) as made:
        for name in ("bug", "away", "well"):
            made.make(name)
            files = made.files(name)
            files.put(RECORD, canonical(dataset_named(name).model_dump(mode="json")))
            site = Site(name, Store(files, GRID), made.bus(name))
            land_all(site, volume())
            made.enter(name)
        yield made


def test_a_bug_and_a_disk_that_is_away_stop_no_other_dataset(root: Root) -> None:
    with (
        closing(PlannerHost(SERVICE, root, SETTINGS)) as planners,
        closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker,
    ):
        for _ in range(60):
            planners.turn()
            worker.turn()
        made = Store(root.files("well"), GRID)
        assert all(made.intact(Blob("blur", index, "uint8")) for index in CHUNKS)
        assert worker.quarantine.reasons == {"away": "its disk is away"}
    bus = root.bus("bug")
    failed = {r.subject: r for r in ledger(bus, "bug") if r.status == "failed"}
    assert failed.keys() == set(CHUNKS)
    assert all(r.crashed and "ZeroDivisionError" in r.reason for r in failed.values())
    letters = [wire.decode(e.value) for e in bus.read([wire.dead_letter_topic("inference")], 0)]
    assert len(letters) == len(CHUNKS)
    assert all(isinstance(letter, DeadLetter) for letter in letters)
    assert not [r for r in ledger(root.bus("away"), "away") if r.status == "failed"]


FORGED: dict[str, tuple[str, Task | Record]] = {
    "of no dataset": ("nobody/raw/0.0.0", Task("raw", (0, 0, 0), "k", ())),
    "of a path": ("../../x/raw/0.0.0", Task("raw", (0, 0, 0), "k", ())),
    "of another service": ("well/labels/mito/0.0.0", Task("labels/mito", (0, 0, 0), "k", ())),
    "of no service": ("well/cake/0.0.0", Task("cake", (0, 0, 0), "k", ())),
    "of an earlier pipeline": (
        "well/prediction/old/0.0.0",
        Task("prediction/old", (0, 0, 0), "k", ()),
    ),
    "under another key": (f"well/{STAGE}/0.0.0", Task(STAGE, (1, 0, 0), "k", ())),
    "beyond the grid": (f"well/{STAGE}/0.9.0", Task(STAGE, (0, 9, 0), "k", ())),
    "a record": (f"well/{STAGE}/0.0.0", Record(RAW, (0, 0, 0), "ready")),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_task_leaves_its_queue_and_ends_nobody(root: Root, name: str) -> None:
    key, event = FORGED[name]
    bus, before = root.bus("well"), UNREADABLE.count
    ends = bus.end(wire.ledger_topics())
    bus.send(QUEUE, key, wire.encode(event))
    with closing(WorkerHost(SERVICE, root, SETTINGS, "host:1")) as worker:
        for _ in range(3):
            worker.turn()
        assert worker.quarantine.reasons == {}
    assert bus.backlog(QUEUE) == 0 and bus.end(wire.ledger_topics()) == ends
    letters = bus.read([wire.dead_letter_topic("inference")], 0)
    assert len(letters) == (name in ("of another service", "of no service"))
    # A dataset that went, a stage that went and a cell that the seal cut off are no forgery.
    real = {"of an earlier pipeline", "beyond the grid"}
    real |= {"of no dataset"} if isinstance(root, SharedRoot) else set()
    assert (UNREADABLE.count == before) == (name in real)
