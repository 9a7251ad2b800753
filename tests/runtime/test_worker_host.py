"""Workers of many datasets: one that cannot be read does not keep the others from their work."""

import random
from pathlib import Path

from fibstream.core.dataset import RECORD
from fibstream.core.keys import canonical
from fibstream.core.service import Service
from fibstream.runtime.host import WorkerHost
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings

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
