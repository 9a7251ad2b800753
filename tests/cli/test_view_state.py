"""The state that Neuroglancer is given: layers, colours, panels, and what a user has changed."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.app.colours import css
from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.cli.viewer.opening import open_viewable
from fibstream.cli.viewer.scene import ObjectLog, ViewableDataset
from fibstream.cli.viewer.state import (
    MAX_COLOURED,
    MAX_MESHES,
    Layer,
    Objects,
    Scene,
    layer_state,
    merged,
    properties,
    viewer_state,
)
from fibstream.core.events import ObjectChanged
from fibstream.core.rules import object_rules
from fibstream.runtime.root import bus_path
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from ..support.command import inside
from .viewing import COLOURS, DATASET, FIRST, SECOND, SHAPE, VOXEL_NM, land, make, named


def scene(*layers: Layer, **changes: Any) -> Scene:
    known: dict[str, Any] = {
        "name": "cell", "voxel_size_nm": (20.0, 10.0, 8.0), "shape": (100, 200, 400),
        "focus": (1.0, 2.0, 3.0), "layers": layers,
    }  # fmt: skip
    return Scene(**(known | changes))


def test_axes_lengths_and_position_are_those_of_the_dataset() -> None:
    state = viewer_state(scene())
    assert state["dimensions"] == {"x": [8e-9, "m"], "y": [10e-9, "m"], "z": [20e-9, "m"]}
    assert list(state["dimensions"]) == ["x", "y", "z"]  # the xy panel comes first
    assert state["position"] == [3.0, 2.0, 1.0]


@given(
    st.tuples(*[st.integers(1, 100_000)] * 3),
    st.tuples(*[st.floats(0.5, 100.0)] * 3),
)
def test_the_volume_fits_every_panel_and_fills_one(
    shape: tuple[int, int, int], voxel: tuple[float, float, float]
) -> None:
    state = viewer_state(scene(shape=shape, voxel_size_nm=voxel))
    z, y, x = (
        n * s / min(voxel) / state["crossSectionScale"] for n, s in zip(shape, voxel, strict=True)
    )
    used = [x / 455, y / 340, z / 340, z / 455]  # xy, xz and zy in panels of 455 x 340 pixels
    assert max(used) == pytest.approx(0.95)


@pytest.mark.parametrize(("invert", "window"), [(False, [20.0, 220.0]), (True, [220.0, 20.0])])
def test_raw_has_the_contrast_of_the_dataset(
    tmp_path: Path, invert: bool, window: list[float]
) -> None:
    dataset = DATASET.model_copy(update={"invert": invert})
    found = open_viewable(str(make(tmp_path / "x.zarr", z=(), dataset=dataset)))
    raw = layer_state(found.scene(str, named).layers[0])
    assert (raw["name"], raw["shaderControls"]["grey"]["range"]) == ("raw", window)


def test_layers_are_raw_the_hidden_prediction_and_the_labels_with_their_colours(
    finished: Path,
) -> None:
    state = viewer_state(open_viewable(str(finished)).scene("D{}/".format, "M{}/{}/".format))
    raw, prediction, labels = state["layers"]
    assert [layer["name"] for layer in state["layers"]] == ["raw", "prediction mito", "mito"]
    assert raw["source"] == [{"url": "Draw/|zarr3:"}]
    assert prediction["visible"] is False
    urls = [source["url"] for source in labels["source"]]
    assert urls == ["Dlabels/mito/|zarr3:", "Mlabels/mito/2/|neuroglancer-precomputed:"]
    assert labels["segments"] == [str(FIRST), str(SECOND)]  # the largest first
    ids = np.array([FIRST, SECOND], np.uint64)
    wanted = zip(ids, COLOURS(ids), strict=True)  # as in the report
    assert labels["segmentColors"] == {str(n): css(c) for n, c in wanted}


def test_objects_have_short_names_beside_their_ids(finished: Path) -> None:
    found = properties(open_viewable(str(finished)).objects("labels/mito"))["inline"]
    assert found["ids"] == [str(FIRST), str(SECOND)]
    label, size = found["properties"]
    assert (label["type"], label["values"]) == ("label", ["mito 1", "mito 2"])
    assert size["values"] == sorted(size["values"], reverse=True)


def test_the_window_of_a_grey_array_stays_once_it_has_grey_values(tmp_path: Path) -> None:
    """Each state of the viewer is compared with the last: what it shows must not flicker."""
    content = open_viewable(str(make(tmp_path / "x.zarr", z=())))
    assert isinstance(content, ViewableDataset)
    assert content.window("raw") is None
    land(content.root, [(0, 1, 1)])
    first = content.window("raw")
    assert first == (0, 255)
    land(content.root, DATASET.grid.indices())
    assert content.window("raw") == first
    assert content.window("not/there") is None


def test_what_travels_is_limited() -> None:
    ids = np.arange(1, MAX_COLOURED + 100, dtype=np.uint64)
    layer = Layer("mito", "labels", "u", objects=Objects(ids, ids.astype(np.int64), len(ids)))
    state = layer_state(layer)
    assert len(state["segmentColors"]) == MAX_COLOURED
    assert len(state["segments"]) == MAX_MESHES


def test_objects_without_a_row_have_a_colour_and_no_surface() -> None:
    ids = np.array([7, 5, 3], np.uint64)
    state = layer_state(Layer("mito", "labels", "u", objects=Objects(ids, np.array([9]), 1)))
    assert list(state["segmentColors"]) == ["7", "5", "3"]
    assert state["segments"] == ["7"]


def test_open_objects_come_from_the_log(tmp_path: Path) -> None:
    root = make(tmp_path / "x.zarr", table=False)
    assert open_viewable(str(root)).objects("labels/mito").ids.tolist() == []
    path = bus_path(root)
    path.parent.mkdir(exist_ok=True)
    log, rule = ObjectLog(path), object_rules(read_dataset(LocalFiles(root)))["mito"]
    with closing(SqliteBus(path)) as bus:

        def publish(
            kind: Any, number: int, voxels: int = 1, into: int | None = None, given: str = rule
        ) -> None:
            change = ObjectChanged("mito", kind, number, voxels, into, given)
            bus.publish(wire.OBJECTS, f"x/mito/{number}", wire.encode(change))

        publish("opened", 2**63 + 1, 5)
        publish("opened", 9, 8)
        publish("opened", 10, 8, given="of earlier settings")
        assert log.alive("mito", rule) == [9, 2**63 + 1]
        publish("merged_into", 9, 8, 2**63 + 1)
        publish("grown", 11, 99)
        assert log.alive("mito", rule) == [11, 2**63 + 1]
    assert open_viewable(str(root)).objects("labels/mito").ids.tolist() == [11, 2**63 + 1]


def test_the_focus_is_where_something_has_landed(tmp_path: Path) -> None:
    whole = open_viewable(str(make(tmp_path / "whole.zarr"))).scene(str, named)
    assert whole.focus == (15, 23, 31)
    root = make(tmp_path / "part.zarr", z=())
    land(root, [(0, 2, 3)])
    assert open_viewable(str(root)).scene(str, named).focus == (15, 32, 48)
    land(root, [(0, 0, 0)])
    assert open_viewable(str(root)).scene(str, named).focus == (15, 15, 15)


def test_an_open_z_is_shown_as_far_as_it_reaches(tmp_path: Path) -> None:
    record = DATASET.model_copy(update={"shape": (None, *SHAPE[1:])})
    root = make(tmp_path / "x.zarr", dataset=record)
    assert open_viewable(str(root)).scene(str, named).shape == SHAPE


def test_what_is_new_is_taken_and_what_the_user_chose_stays() -> None:
    def labels(url: str, segments: list[str], colour: str) -> dict[str, Any]:
        return {"name": "mito", "source": [url], "segments": segments,
                "segmentColors": dict.fromkeys(segments, colour)}  # fmt: skip

    before = {"layers": [labels("1", ["5", "7"], "#a"), {"name": "raw", "source": ["1"]}]}
    fresh = {"layers": [labels("2", ["5", "7", "9"], "#b"), {"name": "raw", "source": ["2"]},
                        {"name": "new", "source": ["2"]}]}  # fmt: skip
    mine = {"name": "mine", "source": ["x"]}
    seen: dict[str, Any] = {
        "position": [1],
        "layers": [mine, labels("1", ["7", "5"], "#a") | {"visible": False}],
    }
    found = merged(seen, before, fresh)
    assert found == {
        "position": [1],
        # raw was closed by the user, and stays closed
        "layers": [mine, labels("2", ["5", "7", "9"], "#b") | {"visible": False},
                   {"name": "new", "source": ["2"]}],
    }  # fmt: skip
    seen["layers"][1] |= {"segments": ["7"]}
    assert merged(seen, before, fresh)["layers"][1]["segments"] == ["7"]


def test_a_group_without_a_dataset_is_shown_with_all_it_holds(tmp_path: Path) -> None:
    out = tmp_path / "cell.zarr"
    flags = ("--size", "40", "--voxel-size-nm", "12", "--organelles", "mito,er", "--light", "sim")
    assert inside("phantom", "--out", out, *flags).code == 0
    found = open_viewable(str(out))
    groups = ["raw", "predictions/er_membrane", "predictions/mito_membrane", "labels/er"]
    assert found.groups() == [*groups, "labels/fine", "labels/mito"]
    state = viewer_state(found.scene("D{}/".format, named))
    layers = {layer["name"]: layer for layer in state["layers"]}
    assert list(layers) == [
        "raw", "prediction er_membrane", "prediction mito_membrane", "er", "fine", "mito",
    ]  # fmt: skip
    hidden = {name for name, layer in layers.items() if layer.get("visible") is False}
    assert hidden == {"prediction er_membrane", "prediction mito_membrane", "fine"}
    assert layers["mito"]["type"] == "segmentation" and layers["raw"]["type"] == "image"
    assert layers["er"]["source"][0]["url"] == "Dlabels/er/|zarr3:"
    assert found.mesh("labels/er", 1) is None


def test_a_group_and_an_array_are_shown_alone(finished: Path) -> None:
    group = open_viewable(f"{finished}#labels/mito").scene("D{}/".format, named)
    (layer,) = group.layers
    assert (layer.kind, layer.source, layer.transform) == ("labels", "Dlabels/mito/|zarr3:", None)
    assert layer.objects is not None
    assert set(layer.objects.ids.tolist()) == {FIRST, SECOND}
    assert (group.shape, group.voxel_size_nm) == (SHAPE, VOXEL_NM)
    (layer,) = open_viewable(f"{finished / 'raw'}").scene("D{}/".format, named).layers
    assert (layer.kind, layer.window, layer.source) == ("raw", (0.0, 255.0), "D/|zarr3:")
