"""Workers of many datasets: one that cannot be read does not keep the others from their work."""

import random
from contextlib import closing
from pathlib import Path

from fibstream.bus import wire
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.events import Task
from fibstream.core.keys import canonical
from fibstream.core.service import Capability, Service
from fibstream.core.stage import Stage
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.runtime.worker_host import WorkerHost

from ..simulation.draws import draw_dataset


def test_a_dataset_of_another_format_is_passed_over(tmp_path: Path) -> None:
    root = Root(str(tmp_path))
    record = draw_dataset(random.Random(1)).model_dump(mode="json")
    for name, version in (("a", 1), ("b", 2)):
        root.make(name)
        root.files(name).put(RECORD, canonical({**record, "name": name, "format": version}))
        root.enter(name)
    service = Service("census", 7999, "counted", (), lambda _: None)
    host = WorkerHost(service, root, Settings.model_validate({}), "host:1")
    assert host.turn() is False
    assert list(host.loops) == ["b"]
    host.close()


def test_a_task_is_carried_out_by_the_pipeline_that_the_record_has_now(tmp_path: Path) -> None:
    """A stage that came is known at once; a task of one that went is dropped without a record."""
    root = Root(str(tmp_path))
    dataset = draw_dataset(random.Random(1)).model_copy(update={"name": "a", "organelles": ()})
    root.make("a")
    root.files("a").put(RECORD, canonical(dataset.model_dump(mode="json")))
    root.enter("a")
    seen: list[int] = []

    def stages(opened: Dataset, _: object) -> list[Stage]:
        seen.append(len(opened.models))
        return []

    capability = Capability(("counted",), stages)
    service = Service("census", 7999, "counted", (capability,), lambda _: None)
    with closing(WorkerHost(service, root, Settings.model_validate({}), "host:1")) as host:
        host.turn()
        sealed = dataset.sealed(dataset.chunk[0])  # the extent is no other pipeline
        root.files("a").put(RECORD, canonical(sealed.model_dump(mode="json")))
        host.turn()
        changed = sealed.model_copy(update={"models": ()})
        root.files("a").put(RECORD, canonical(changed.model_dump(mode="json")))
        bus = host.loops["a"][1]
        bus.send(wire.task_topic("census"), "a/counted/gone/0.0.0",
                 wire.encode(Task("raw/gone", (0, 0, 0), "k", ())))  # fmt: skip
        end = bus.end(wire.ledger_topics())
        assert host.turn()
        bus = host.loops["a"][1]
        assert (bus.backlog(wire.task_topic("census")), bus.end(wire.ledger_topics())) == (0, end)
    assert seen == [len(dataset.models), 0]
