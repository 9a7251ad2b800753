"""The status of a dataset lists changes of objects in one order, whatever order they came in."""

import os
from contextlib import closing
from pathlib import Path
from typing import get_args

from fibstream.app.status import describe, stage_lines, status_of
from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import Organelle, Prediction
from fibstream.core.events import Change, ObjectChanged, Record
from fibstream.core.rules import object_rules
from fibstream.runtime.root import Root, bus_path
from fibstream.services.ingest.edges.datasets import DatasetDesign, create
from fibstream.services.refine.recipe import recipes
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.wrong import CELL

MITO = CELL.model_copy(
    update={
        "predictions": (Prediction(name="mito"),),
        "organelles": (
            Organelle(
                name="mito", recipe="generic", inputs={"prediction": "mito"},
                settings=recipes()["generic"].settings.model_dump(mode="json"),
            ),
        ),
    }
)  # fmt: skip


def made(folder: Path) -> tuple[Path, str]:
    """Create the dataset; return its folder, and the digest of the settings of its organelle."""
    with closing(Root(str(folder))) as root:
        create(root, DatasetDesign(MITO, {}, []))
        path = Path(root.url_of("cell"))
    bus_path(path).parent.mkdir(exist_ok=True)
    return path, object_rules(read_dataset(LocalFiles(path)))["mito"]


def test_objects_of_an_organelle_that_was_dropped_are_not_counted(tmp_path) -> None:
    path, rule = made(tmp_path)
    with closing(SqliteBus(bus_path(path))) as bus:
        for name in ("mito", "er"):
            value = wire.encode(ObjectChanged(name, "final", 1, 1, rule=rule))
            bus.publish(wire.OBJECTS, f"cell/{name}/1", value)
    assert status_of(path)["objects"] == {"mito": {"final": 1}}


def test_the_profile_of_a_network_is_told(tmp_path) -> None:
    found = status_of(made(tmp_path)[0])
    assert found["networks"] == {}
    profile = {"runtime": "openvino 2026.4", "provider": "OpenVINO CPU", "precision": "bf16"}
    line = describe({**found, "networks": {"net": {**profile, "digest": "ab"}}}).splitlines()[1]
    assert line == "  network net: openvino 2026.4, OpenVINO CPU, bf16"


def test_changes_are_counted_in_a_fixed_order(tmp_path) -> None:
    path, rule = made(tmp_path)
    kinds = [kind for kind in reversed(get_args(Change)) if kind != "closed"] * 2
    with closing(SqliteBus(bus_path(path))) as bus:
        for n, kind in enumerate(kinds):
            value = wire.encode(ObjectChanged("mito", kind, n, 1, rule=rule))
            bus.publish(wire.OBJECTS, f"cell/mito/{n}", value)
    lines = describe(status_of(path)).splitlines()
    (line,) = (line.split() for line in lines if "objects/mito" in line)
    text = "2 opened, 2 grown, 2 merged into, 2 final, 2 withdrawn"
    assert " ".join(line) == f"objects/mito {text}"


def test_objects_of_other_settings_are_not_counted(tmp_path) -> None:
    path, rule = made(tmp_path)
    with closing(SqliteBus(bus_path(path))) as bus:
        for n, given in enumerate((rule, "", "of other settings")):
            value = wire.encode(ObjectChanged("mito", "final", n + 1, 1, rule=given))
            bus.publish(wire.OBJECTS, f"cell/mito/{n + 1}", value)
    assert status_of(path)["objects"] == {"mito": {"final": 1}}


def test_a_log_that_is_still_to_be_made_or_begun_holds_nothing(tmp_path, monkeypatch) -> None:
    path, _ = made(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)  # of somebody else: root may write anywhere
    for begin in (lambda: None, bus_path(path).touch):
        begin()
        found = status_of(path)
        assert found["recorded"] == 0 and set(found["stages"].values()) == {0}
        assert "nothing is recorded" in describe(found)


def test_the_log_of_a_run_of_somebody_else_is_read(tmp_path, monkeypatch) -> None:
    path, _ = made(tmp_path)
    monkeypatch.setattr(os, "access", lambda *_: False)
    with closing(SqliteBus(bus_path(path))) as live:
        record = wire.encode(Record("raw", (0, 0, 0), "failed", reason="no such chunk"))
        live.publish(wire.ledger_topic("raw"), wire.record_key("cell", "raw", (0, 0, 0)), record)
        found = status_of(path)
    assert found["recorded"] == 1 and "nothing is recorded" not in describe(found)


def test_stages_of_a_kind_that_are_equally_far_share_a_line() -> None:
    names = [f"organelle-{n}" for n in range(27)]
    stages = {"raw": 12, "labels/late": 11} | {f"labels/{name}": 12 for name in names}
    found = {"stages": stages, "wanted": dict.fromkeys(stages, 12), "outdated": {"labels/late": 1}}
    first, late, *several = "\n".join(stage_lines(found)).splitlines()
    assert (first.split(), late.split()[:4]) == (
        ["raw", "12", "of", "12"],
        ["labels/late", "11", "of", "12,"],
    )
    assert "1 of earlier settings" in late
    assert several[0].split(":")[0].split() == [
        "labels,",
        "27",
        "of",
        "them",
        "12",
        "of",
        "12",
        "each",
    ]
    assert " ".join(several).split(": ")[1].replace(",", " ").split() == names
    assert max(map(len, several)) <= 100
