"""The viewer: what it is told to show, the server of its files, and what a browser then draws."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import closing
from urllib.parse import urlsplit

import numpy as np
import pytest
import tensorstore
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from fibstream.app.colours import colours
from fibstream.app.reference import table_of
from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.cli.view import client_folder, follow, serving
from fibstream.cli.viewer.files import VersionedFiles
from fibstream.cli.viewer.opening import shown
from fibstream.cli.viewer.ranges import UNSATISFIABLE, wanted
from fibstream.cli.viewer.scene import ObjectLog
from fibstream.cli.viewer.sharing import SharedState
from fibstream.cli.viewer.state import (
    MAX_COLOURED,
    MAX_MESHES,
    ORIGIN,
    VEIL,
    Layer,
    Objects,
    Scene,
    layer_state,
    merged,
    viewer_state,
)
from fibstream.cli.viewer.surface import surface
from fibstream.core.dataset import RECORD, Dataset, Model, Organelle
from fibstream.core.errors import WrongUse
from fibstream.core.events import ObjectChanged
from fibstream.core.ids import gid
from fibstream.core.keys import canonical
from fibstream.core.stage import Output
from fibstream.runtime.root import bus_path
from fibstream.services.analysis.table import to_parquet
from fibstream.store import ngff
from fibstream.store.local import LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store

from ..support.chromium import browser
from ..support.command import inside

SHAPE, CHUNK, VOXEL_NM = (32, 48, 64), (16, 16, 16), (20.0, 10.0, 8.0)
BOXES = (((6, 4, 6), (20, 20, 40)), ((22, 10, 40), (30, 44, 60)))  # objects; the first is larger
DATASET = Dataset(
    name="cell", shape=SHAPE, chunk=CHUNK, dtype="uint8", voxel_size_nm=VOXEL_NM,
    contrast=(20, 220),
    models=(Model(name="m", classes=("mito",), sha256="0", spec={}, profile={}),),
    organelles=(Organelle(recipe="mito", source="mito", settings={}),),
)  # fmt: skip
ARRAYS = [("raw", "uint8", True), ("predictions/mito", "uint8", True),
          ("labels/mito", "uint64", True)]  # fmt: skip


def volumes():
    """Return raw, prediction and labels: raw has a step along each axis, another for each."""
    z, y, x = np.indices(SHAPE)
    raw = (60 + 40 * (x >= 24) + 30 * (y >= 20) + 60 * (z >= 12)).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint64)
    for start, stop in BOXES:
        place = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        labels[place] = 1 + gid(start)
    return {"raw": raw, "predictions/mito": np.where(labels > 0, 255, 0).astype(np.uint8),
            "labels/mito": labels}  # fmt: skip


VOLUMES = volumes()
FIRST, SECOND = (1 + gid(start) for start, _ in BOXES)


def land(root, indices, names=None):
    """Write the chunks of some arrays into a dataset."""
    files = LocalFiles(root)
    store = Store(files, DATASET.grid)
    for name, dtype, _ in ARRAYS:
        output = Output(name, dtype, "mode" if "labels" in name else "mean")
        for index in indices:
            voxels = VOLUMES[name][DATASET.grid.box(index).slices()]
            if names is None or name in names:
                for item, data, _ in store.encode(output, voxels, Stamp("s", index, "key", "")):
                    files.put(item.path, data)


def tabulate(root):
    table = table_of(VOLUMES["labels/mito"], VOLUMES["raw"], VOXEL_NM)
    LocalFiles(root).put("tables/mito.parquet", to_parquet(table, {}))


def make(root, *, z=range(2), table=True, dataset=DATASET):
    """Make a dataset of which the chunks of some z have landed."""
    root.mkdir(parents=True)
    files = LocalFiles(root)
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    for path, document in ngff.documents(DATASET, ARRAYS).items():
        files.put(path, canonical(document))
    land(root, [i for i in DATASET.grid.indices() if i[0] in z])
    if table:
        tabulate(root)
    return root


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return make(tmp_path_factory.mktemp("finished") / "cell.zarr")


def named(group, rows):
    return f"{group} {rows}"


# -- the state -------------------------------------------------------------------------------------


def scene(*layers, **changes):
    known = {"name": "cell", "voxel_size_nm": (20.0, 10.0, 8.0), "shape": (100, 200, 400),
             "focus": (1.0, 2.0, 3.0), "layers": layers}  # fmt: skip
    return Scene(**(known | changes))


def test_axes_lengths_and_position_are_those_of_the_dataset():
    state = viewer_state(scene())
    assert state["dimensions"] == {"x": [8e-9, "m"], "y": [10e-9, "m"], "z": [20e-9, "m"]}
    assert list(state["dimensions"]) == ["x", "y", "z"]  # the xy panel comes first
    assert state["position"] == [3.0, 2.0, 1.0]


@given(
    st.tuples(*[st.integers(1, 100_000)] * 3),
    st.tuples(*[st.floats(0.5, 100.0)] * 3),
)
def test_the_volume_fits_every_panel_and_fills_one(shape, voxel):
    state = viewer_state(scene(shape=shape, voxel_size_nm=voxel))
    z, y, x = (
        n * s / min(voxel) / state["crossSectionScale"] for n, s in zip(shape, voxel, strict=True)
    )
    used = [x / 480, y / 340, z / 340, z / 480]  # xy, xz and zy in panels of 480 x 340 pixels
    assert max(used) == pytest.approx(0.95)


@pytest.mark.parametrize(("invert", "window"), [(False, [20.0, 220.0]), (True, [220.0, 20.0])])
def test_raw_has_the_contrast_of_the_dataset(tmp_path, invert, window):
    given_ = DATASET.model_copy(update={"invert": invert})
    found = shown(str(make(tmp_path / "x.zarr", z=(), dataset=given_)))
    raw = layer_state(found.scene(str, named).layers[0])
    assert (raw["name"], raw["shaderControls"]["grey"]["range"]) == ("raw", window)


def test_layers_are_raw_the_hidden_prediction_and_the_labels_with_their_colours(finished):
    state = viewer_state(shown(str(finished)).scene("D{}/".format, "M{}/{}/".format))
    raw, prediction, labels = state["layers"]
    assert [layer["name"] for layer in state["layers"]] == ["raw", "prediction mito", "mito"]
    assert raw["source"] == [{"url": "Draw/|zarr3:"}]
    assert prediction["visible"] is False
    urls = [source["url"] for source in labels["source"]]
    assert urls == ["Dlabels/mito/|zarr3:", "Mlabels/mito/2/|neuroglancer-precomputed:"]
    assert labels["segments"] == [str(FIRST), str(SECOND)]  # the largest first
    for number in (FIRST, SECOND):
        told = labels["segmentColors"][str(number)]
        assert bytes.fromhex(told[1:]) == bytes(colours(np.array([number], np.uint64))[0])


def test_what_travels_is_limited():
    ids = np.arange(1, MAX_COLOURED + 100, dtype=np.uint64)
    layer = Layer("mito", "labels", "u", objects=Objects(ids, ids.astype(np.int64), len(ids)))
    state = layer_state(layer)
    assert len(state["segmentColors"]) == MAX_COLOURED
    assert len(state["segments"]) == MAX_MESHES


def test_objects_without_a_row_have_a_colour_and_no_surface():
    ids = np.array([7, 5, 3], np.uint64)
    state = layer_state(Layer("mito", "labels", "u", objects=Objects(ids, np.array([9]), 1)))
    assert list(state["segmentColors"]) == ["7", "5", "3"]
    assert state["segments"] == ["7"]


def test_open_objects_come_from_the_log(tmp_path):
    root = make(tmp_path / "x.zarr", table=False)
    assert shown(str(root)).objects("labels/mito").ids.tolist() == []
    path = bus_path(root)
    path.parent.mkdir(exist_ok=True)
    log = ObjectLog(path)
    with closing(SqliteBus(path)) as bus:

        def tell(kind, number, voxels=1, into=None):
            change = ObjectChanged("mito", kind, number, voxels, into)
            bus.publish(wire.OBJECTS, f"mito/{number}", wire.encode(change))

        tell("opened", 2**63 + 1, 5)
        tell("opened", 9, 8)
        assert log.alive("mito") == [9, 2**63 + 1]
        tell("merged_into", 9, 8, 2**63 + 1)
        tell("grown", 11, 99)
        assert log.alive("mito") == [11, 2**63 + 1]
    assert shown(str(root)).objects("labels/mito").ids.tolist() == [11, 2**63 + 1]


def test_the_focus_is_where_something_has_landed(tmp_path):
    whole = shown(str(make(tmp_path / "whole.zarr"))).scene(str, named)
    assert whole.focus == (15, 23, 31)
    root = make(tmp_path / "part.zarr", z=())
    land(root, [(0, 2, 3)])
    assert shown(str(root)).scene(str, named).focus == (15, 32, 48)
    land(root, [(0, 0, 0)])
    assert shown(str(root)).scene(str, named).focus == (15, 15, 15)


def test_an_open_z_is_shown_as_far_as_it_reaches(tmp_path):
    record = DATASET.model_copy(update={"shape": (None, *SHAPE[1:])})
    root = make(tmp_path / "x.zarr", dataset=record)
    assert shown(str(root)).scene(str, named).shape == SHAPE


def test_what_is_new_is_taken_and_what_the_user_chose_stays():
    def labels(url, segments, colour):
        return {"name": "mito", "source": [url], "segments": segments,
                "segmentColors": dict.fromkeys(segments, colour)}  # fmt: skip

    before = {"layers": [labels("1", ["5", "7"], "#a"), {"name": "raw", "source": ["1"]}]}
    fresh = {"layers": [labels("2", ["5", "7", "9"], "#b"), {"name": "raw", "source": ["2"]},
                        {"name": "new", "source": ["2"]}]}  # fmt: skip
    mine = {"name": "mine", "source": ["x"]}
    seen = {"position": [1], "layers": [mine, labels("1", ["7", "5"], "#a") | {"visible": False}]}
    found = merged(seen, before, fresh)
    assert found == {
        "position": [1],
        # raw was closed by the user, and stays closed
        "layers": [mine, labels("2", ["5", "7", "9"], "#b") | {"visible": False},
                   {"name": "new", "source": ["2"]}],
    }  # fmt: skip
    seen["layers"][1] |= {"segments": ["7"]}
    assert merged(seen, before, fresh)["layers"][1]["segments"] == ["7"]


# -- surfaces --------------------------------------------------------------------------------------


def volume_of(vertices, triangles):
    """Return the signed volume inside a surface, in (x, y, z)."""
    a, b, c = (vertices[:, ::-1].astype(np.float64)[triangles[:, n]] for n in range(3))
    return float((a * np.cross(b, c)).sum()) / 6


def test_a_ball_has_its_surface_and_its_volume():
    z, y, x = np.indices((31, 31, 31)) - 15
    ball = z**2 + y**2 + x**2 < 12**2
    vertices, triangles = surface(ball)
    assert volume_of(vertices, triangles) == pytest.approx(int(ball.sum()), rel=0.01)
    radius = np.linalg.norm(vertices - 15, axis=1)
    assert radius.min() > 11.3
    assert radius.max() < 12.5


@given(arrays(bool, st.tuples(*[st.integers(1, 5)] * 3)))
def test_every_surface_is_closed_and_around_its_voxels(inside):
    vertices, triangles = surface(inside)
    edges = np.concatenate([triangles[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0))])
    # Each edge is walked as often one way as the other: no hole, and one side is outside.
    there, back = (sorted(map(tuple, e.tolist())) for e in (edges, edges[:, ::-1]))
    assert there == back
    assert bool(len(triangles)) == bool(inside.any())
    if inside.any():
        places = np.argwhere(inside)
        assert (vertices > places.min(0) - 1).all() and (vertices < places.max(0) + 1).all()
        assert volume_of(vertices, triangles) > 0


def test_a_mesh_lies_where_the_object_does(finished):
    data = shown(str(finished)).mesh("labels/mito", SECOND)
    count = int(np.frombuffer(data[:4], "<u4")[0])
    vertices = np.frombuffer(data[4 : 4 + 12 * count], "<f4").reshape(-1, 3)[:, ::-1]
    start, stop = (np.array(end) for end in BOXES[1])
    assert vertices.min(0) / VOXEL_NM == pytest.approx(start - 0.5, abs=0.3)
    assert vertices.max(0) / VOXEL_NM == pytest.approx(stop - 0.5, abs=0.3)
    triangles = np.frombuffer(data[4 + 12 * count :], "<u4")
    assert len(triangles) % 3 == 0 and triangles.max() == count - 1


def test_an_object_without_a_row_has_no_mesh(finished):
    for number in (0, FIRST + 1, 2**64 - 1, 2**64, 10**19 * 9):
        assert shown(str(finished)).mesh("labels/mito", number) is None


# -- files and versions ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("header", "found"),
    [
        (None, None), ("bytes=0-9", (0, 10)), ("bytes=90-", (90, 100)), ("bytes=-7", (93, 100)),
        ("bytes=-700", (0, 100)), ("bytes=95-300", (95, 100)), ("bytes=100-", UNSATISFIABLE),
        ("bytes=-0", UNSATISFIABLE), ("bytes=9-3", None), ("bytes=0-1,5-6", None),
        ("bytes=-", None), ("lines=0-1", None), ("bytes=" + "9" * 30 + "-", None), ("", None),
    ],
)  # fmt: skip
def test_ranges(header, found):
    assert wanted(header, 100) == found


def test_an_empty_file_has_no_range():
    for header in ("bytes=0-0", "bytes=0-", "bytes=-5"):
        assert wanted(header, 0) == UNSATISFIABLE


def contents(files, version, path):
    found = files.open(version, path)
    if found is None:
        return None
    with os.fdopen(found.descriptor, "rb") as file:
        return file.read()


@pytest.fixture
def tree(tmp_path):
    for name in ("raw/a", "raw2/b", "secret"):
        (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "d" / name).write_text(name)
    (tmp_path / "outside").write_text("outside")
    return tmp_path / "d"


@pytest.mark.parametrize(
    "path",
    ["secret", "raw2/b", "raw", "raw/", "raw/../secret", "raw/./a", "raw//a", "../outside",
     "/etc/passwd", "raw/../../outside", "raw/x\0", "raw/" + "a" * 5000, ""],
)  # fmt: skip
def test_only_files_of_shown_groups_are_opened(tree, path):
    files = VersionedFiles(tree, ["raw"])
    assert contents(files, 1, "raw/a") == b"raw/a"
    assert contents(files, 1, path) is None


def test_a_link_out_of_the_dataset_is_not_followed(tree):
    (tree / "raw/link").symlink_to(tree.parent / "outside")
    (tree / "raw/ring").symlink_to(tree / "raw/ring")
    (tree / "raw/inside").symlink_to(tree / "raw/a")
    files = VersionedFiles(tree, ["raw"])
    assert contents(files, 1, "raw/link") is None
    assert contents(files, 1, "raw/ring") is None
    assert contents(files, 1, "raw/inside") == b"raw/a"
    assert not files.look()


def replace(path, text):
    path.with_name("new").write_text(text)
    path.with_name("new").replace(path)


def test_a_version_lasts_until_something_read_is_another(tree):
    files = VersionedFiles(tree, ["raw", "raw2"])
    assert contents(files, 1, "raw/a") == b"raw/a"
    assert contents(files, 1, "raw/late") is None
    assert not files.look()
    replace(tree / "raw/unread", "new")  # nobody has asked for it: nothing to draw anew
    assert not files.look()
    replace(tree / "raw/late", "come")
    assert contents(files, 1, "raw/late") is None  # under this version it is not there
    assert files.look()
    assert (files.version("raw"), files.version("raw2")) == (2, 1)
    assert contents(files, 2, "raw/late") == b"come"
    assert contents(files, 1, "raw/late") is None
    replace(tree / "raw/late", "else")
    assert contents(files, 2, "raw/late") is None  # never another under the same version
    assert files.look()
    assert contents(files, 3, "raw/late") == b"else"
    (tree / "raw/late").unlink()
    assert files.look()


# -- the state that is shared ----------------------------------------------------------------------


def test_a_state_from_an_old_one_is_refused():
    shared = SharedState({"layers": []})
    first = shared.wait(client="a", last="", timeout_s=0)
    posted = shared.post({"layers": [], "p": 1}, client="a", number="1", previous=first.generation)
    assert posted == "a/1"
    assert shared.post({"p": 2}, client="b", number="1", previous=first.generation) is None
    assert json.loads(shared.wait(client="b", last=first.generation, timeout_s=0).text)["p"] == 1


def test_a_browser_does_not_get_its_own_state_back_but_after_a_reload():
    shared = SharedState({"layers": []})
    first = shared.wait(client="a", last="", timeout_s=0).generation
    shared.post({"layers": [], "p": 1}, client="a", number="1", previous=first)
    assert shared.wait(client="a", last=first, timeout_s=0) is None
    assert shared.wait(client="other", last="", timeout_s=0).generation == "a/1"
    shared.renew({"layers": [{"name": "x", "source": []}]})
    told = shared.wait(client="a", last="a/1", timeout_s=0)
    assert json.loads(told.text) == {"layers": [{"name": "x", "source": []}], "p": 1}


def test_who_waits_is_woken():
    shared = SharedState({"layers": []})
    last = shared.wait(client="a", last="", timeout_s=0).generation
    found = []
    thread = threading.Thread(
        target=lambda: found.append(shared.wait(client="a", last=last, timeout_s=60))
    )
    thread.start()
    shared.renew({"layers": []})
    thread.join(30)
    assert found[0].generation != last


# -- the server ------------------------------------------------------------------------------------


class Asking:
    """A browser's requests."""

    def __init__(self, url):
        parts = urlsplit(url)
        self.host, self.port = parts.hostname, parts.port
        self.token = parts.path.split("/")[2]

    def __call__(self, path, method="GET", body=None, **headers):
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as link:
            link.request(method, path.replace("TOKEN", self.token), body, headers)
            answer = link.getresponse()
            return answer.status, dict(answer.headers), answer.read()

    def event(self, query="c=one&gc=&gs=", **headers):
        """Return the first state on the stream of events."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=30)) as link:
            link.request("GET", f"/events/{self.token}?{query}", headers=headers)
            answer = link.getresponse()
            assert answer.getheader("Content-Type") == "text/event-stream"
            while not (line := answer.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            return json.loads(line.removeprefix(b"data: "))


@pytest.fixture
def served(finished):
    with serving(str(finished)) as (site, url):
        yield site, Asking(url)


def test_the_page_is_neuroglancers(served):
    _, ask = served
    status, headers, body = ask("/v/TOKEN/")
    assert (status, headers["Cache-Control"]) == (200, "no-cache")
    assert body == (client_folder() / "index.html").read_bytes()
    script = next(p.name for p in client_folder().iterdir() if p.suffix == ".js")
    status, headers, body = ask(f"/v/TOKEN/{script}")
    assert (status, headers["Content-Type"]) == (200, "text/javascript")
    assert body == (client_folder() / script).read_bytes()
    for path in ("/v/TOKEN/../__init__.py", "/v/TOKEN/nothing.js", "/v/TOKEN", "/", "/favicon.ico"):
        assert ask(path)[0] == 404


def test_files_are_sent_whole_and_in_parts(served, finished):
    _, ask = served
    path, data = "/data/TOKEN/1/raw/s0/c/0/1/2", (finished / "raw/s0/c/0/1/2").read_bytes()
    status, headers, body = ask(path)
    assert (status, body, headers["Cache-Control"]) == (200, data, "no-store")
    assert ask(path, "HEAD")[1]["Content-Length"] == str(len(data))
    status, headers, body = ask(path, Range="bytes=-20")
    assert (status, body) == (206, data[-20:])
    assert headers["Content-Range"] == f"bytes {len(data) - 20}-{len(data) - 1}/{len(data)}"
    status, headers, body = ask(path, Range=f"bytes={len(data)}-")
    assert (status, headers["Content-Range"]) == (416, f"bytes */{len(data)}")


def test_no_other_site_is_let_in(served):
    _, ask = served
    for path in ("/v/TOKEN/", "/data/TOKEN/1/raw/zarr.json"):
        headers = ask(path, Origin="http://elsewhere.example")[1]
        assert not [name for name in headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize(
    "path",
    ["/data/TOKEN/1/raw/s0/c/9/9/9", "/data/TOKEN/2/raw/zarr.json", "/data/TOKEN/x/raw/zarr.json",
     "/data/wrong/1/raw/zarr.json", "/data//1/raw/zarr.json", "/data/TOKEN/1/summaries/x",
     "/data/TOKEN/1/provenance/dataset.json",
     "/data/TOKEN/1/.fibstream/bus.sqlite", "/data/TOKEN/1/raw/../provenance/dataset.json",
     "/data/TOKEN/1/raw/%2e%2e/provenance/dataset.json", "/data/TOKEN/1//etc/passwd",
     "/data/TOKEN/1/raw/%00", "/data/TOKEN/1/raw", "/data/TOKEN", "/data",
     "/data/TOKEN/" + "9" * 5000 + "/raw/zarr.json", "/events/wrong?c=a&gs=", "/%c3%a9/TOKEN/x",
     "/meshes/TOKEN/1/labels/mito/7.surface", "/meshes/TOKEN/1/raw/info",
     "/meshes/TOKEN/1/labels/mito/" + "9" * 20 + ".surface", "/meshes/TOKEN/1/labels/other/info"],
)  # fmt: skip
def test_what_is_not_shown_is_not_found(served, path):
    assert served[1](path)[0] == 404


def test_meshes_and_sizes_are_told_of_the_rows(served, finished):
    _, ask = served
    at = "/meshes/TOKEN/1/labels/mito"
    assert json.loads(ask(f"{at}/info")[2])["@type"] == "neuroglancer_legacy_mesh"
    told = json.loads(ask(f"{at}/properties/info")[2])["inline"]
    assert told["ids"] == [str(FIRST), str(SECOND)]
    sizes = [int((VOLUMES["labels/mito"] == n).sum()) for n in (FIRST, SECOND)]
    assert told["properties"][0]["values"] == sizes
    assert json.loads(ask(f"{at}/{FIRST}:0")[2]) == {"fragments": [f"{FIRST}.surface"]}
    assert ask(f"{at}/{FIRST}.surface")[2] == shown(str(finished)).mesh("labels/mito", FIRST)


def test_a_state_goes_to_and_fro_under_the_address_of_the_browser(served):
    _, ask = served
    told = ask.event(Host="forwarded.example:8080")
    urls = [s["url"] for layer in told["s"]["layers"] for s in layer["source"]]
    assert all(url.startswith("http://forwarded.example:8080/") for url in urls)
    here = f"127.0.0.1:{ask.port}"
    assert here in json.dumps(ask.event(Host='evil"/<script>')["s"]["layers"])
    state = json.dumps(told["s"] | {"position": [1, 2, 3]})
    body = f'{{"s": {state}, "g": 4, "pg": "{told["g"]}", "c": "one"}}'
    status, _, data = ask("/state/TOKEN", "POST", body, Host="forwarded.example:8080")
    assert (status, json.loads(data)) == (200, {"g": "one/4"})
    again = ask.event("c=two&gc=&gs=")
    assert again["s"]["position"] == [1, 2, 3]
    assert all(s["url"].startswith(f"http://{here}/") for s in again["s"]["layers"][0]["source"])
    assert ORIGIN not in json.dumps(again)
    assert ask("/state/TOKEN", "POST", body)[0] == 412


@pytest.mark.parametrize(
    ("body", "status"),
    [("", 400), ("{", 400), ("[]", 400), ('{"s": 1, "g": 1, "pg": "", "c": ""}', 400),
     ('{"s": {"layers": 3}, "g": 1, "pg": "", "c": ""}', 400), ("[" * 100_000, 400),
     (b"\xff", 400), ("x" * (8 * 1024 * 1024 + 1), 413)],
)  # fmt: skip
def test_a_wrong_state_is_refused(served, body, status):
    try:
        assert served[1]("/state/TOKEN", "POST", body)[0] == status
    except ConnectionError:  # it was refused before all of it was sent
        assert status == 413
    assert served[1]("/v/TOKEN/")[0] == 200


def test_too_many_connections_are_turned_away_and_others_go_on(served):
    _, ask = served
    held = [socket.create_connection((ask.host, ask.port)) for _ in range(80)]
    try:
        deadline = time.monotonic() + 30
        while not turned_away(held):
            assert time.monotonic() < deadline
    finally:
        for link in held:
            link.close()
    while True:  # the room of those that went is free again
        try:
            assert ask("/v/TOKEN/")[0] == 200
            break
        except (ConnectionError, http.client.RemoteDisconnected):
            assert time.monotonic() < deadline


def turned_away(links):
    for link in links:
        link.setblocking(False)
        try:
            if link.recv(1) == b"":
                return True
        except BlockingIOError:
            continue
        except ConnectionError:
            return True
    return False


def test_what_comes_is_followed(tmp_path):
    root = make(tmp_path / "cell.zarr", z=[0], table=False)
    with serving(str(root)) as (site, url):
        ask = Asking(url)
        assert ask("/data/TOKEN/1/raw/s0/c/1/0/0")[0] == 404
        assert ask("/data/TOKEN/1/labels/mito/s0/c/0/0/0")[0] == 200
        last = ask.event()["g"]
        assert not follow(site)
        land(root, [(1, 0, 0)], names=["raw"])
        assert follow(site)
        told = ask.event(f"c=one&gc=&gs={last}")
        raw, _, labels = told["s"]["layers"]
        assert f"/data/{ask.token}/2/raw/" in raw["source"][0]["url"]
        assert f"/data/{ask.token}/1/labels/" in labels["source"][0]["url"]
        assert ask("/data/TOKEN/2/raw/s0/c/1/0/0")[0] == 200
        tabulate(root)
        assert follow(site)
        assert ask.event()["s"]["layers"][2]["segments"] == [str(FIRST), str(SECOND)]
        shutil.rmtree(root)
        assert not follow(site)  # it is gone: what was seen stays


# -- wrong use -------------------------------------------------------------------------------------


def test_a_path_that_cannot_be_shown_is_named(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.zarr/provenance").mkdir(parents=True)
    (tmp_path / "x.zarr" / RECORD).write_text("{}")
    (tmp_path / "file.tif").write_bytes(b"x")
    for name in ("nothing.zarr", "folder", "x.zarr", "file.tif", "nothing#raw"):
        with pytest.raises(WrongUse, match=name.partition("#")[0]), serving(str(tmp_path / name)):
            pass


def test_what_lies_in_a_bucket_is_refused():
    with pytest.raises(WrongUse, match="s3://bucket/x: lies in a bucket"):
        shown("s3://bucket/x")


def test_an_array_without_a_voxel_size_asks_for_one(tmp_path):
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "a.zarr")}}
    tensorstore.open(spec, create=True, dtype="uint16", shape=(6, 7, 8)).result()[...] = 300
    with pytest.raises(WrongUse, match="voxel size"):
        shown(str(tmp_path / "a.zarr"))
    found = shown(str(tmp_path / "a.zarr"), (4.0, 3.0, 2.0)).scene("D{}/".format, named)
    (layer,) = found.layers
    axes = layer.transform["outputDimensions"]
    assert layer.transform["inputDimensions"] == axes  # else a voxel is taken for a metre
    assert {axis: (round(s * 1e9, 6), unit) for axis, (s, unit) in axes.items()} == {
        "z": (4, "m"), "y": (3, "m"), "x": (2, "m")
    }  # fmt: skip
    assert layer_state(layer)["source"] == [{"url": "D/|zarr3:", "transform": layer.transform}]
    assert (layer.kind, layer.window, found.voxel_size_nm) == ("raw", (300, 301), (4, 3, 2))


def test_an_address_that_cannot_be_listened_on_is_named(finished):
    with serving(str(finished)) as (_, url):
        taken = urlsplit(url).port
        with pytest.raises(WrongUse, match=f"--port {taken}"), serving(str(finished), port=taken):
            pass
    for host, port in (("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(WrongUse), serving(str(finished), host=host, port=port):
            pass


RUN = """
import sys
from fibstream.cli.view import view
view(sys.argv[1], host="127.0.0.1", port=0, browser=True, say=print,
     hint=lambda text: print(text, file=sys.stderr))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_says_its_address_last_and_ends_when_asked_to(finished, number):
    without = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(finished)], env=without, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    url = process.stdout.readline().strip()
    status, _, body = Asking(url)("/v/TOKEN/")
    assert (status, b"neuroglancer" in body) == (200, True)
    assert "no browser found" in process.stderr.readline()
    process.send_signal(number)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == 0


# -- arrays alone ----------------------------------------------------------------------------------


def test_a_group_without_a_dataset_is_shown_with_all_it_holds(tmp_path):
    out = tmp_path / "cell.zarr"
    flags = ("--size", "40", "--voxel-size-nm", "12", "--organelles", "mito,er", "--light", "sim")
    assert inside("phantom", "--out", out, *flags).code == 0
    found = shown(str(out))
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


def test_a_group_and_an_array_are_shown_alone(finished):
    group = shown(f"{finished}#labels/mito").scene("D{}/".format, named)
    (layer,) = group.layers
    assert (layer.kind, layer.source, layer.transform) == ("labels", "Dlabels/mito/|zarr3:", None)
    assert set(layer.objects.ids.tolist()) == {FIRST, SECOND}
    assert (group.shape, group.voxel_size_nm) == (SHAPE, VOXEL_NM)
    (layer,) = shown(f"{finished / 'raw'}").scene("D{}/".format, named).layers
    assert (layer.kind, layer.window, layer.source) == ("raw", (0.0, 255.0), "D/|zarr3:")


# -- in a browser ----------------------------------------------------------------------------------

PANELS = """[...viewer.display.panels].map(p => p.element.getBoundingClientRect())
    .map(r => [r.left, r.top, r.right, r.bottom])"""
SHOWN = "window.viewer && viewer.layerManager.managedLayers.length == 3 && viewer.isReady()"
PLAIN = "viewer.showAxisLines.value = false, viewer.showDefaultAnnotations.value = false"
WINDOW = {"width": 1280, "height": 800}
NEAR = 8  # grey values between what is computed and what is drawn
# Of the panels: what goes to the right (negative: to the left) and what goes down.
CUTS = ((2, 1, 1), (2, 1, 0), (0, -1, 1))


def panels(page):
    """Return the rectangles of the panels: xy, xz, the surfaces, zy."""
    return sorted(page.run(PANELS), key=lambda place: (place[1] > 200, place[0]))


def expected(index):
    """Return the colour of a voxel in a cut: contrast, then the veil of the labels over it."""
    grey = (float(VOLUMES["raw"][index]) - 20) * 255 / 200
    number = VOLUMES["labels/mito"][index]
    if not number:
        return np.full(3, grey)
    return (1 - VEIL) * grey + VEIL * colours(np.array([number]))[0]


def agreement(page, landed):
    """Return the share of voxels that have the right colour in each cut: xy, xz and zy."""
    image, scale = page.picture().astype(float), page.run("viewer.crossSectionScale.value")
    xy, xz, _, zy = panels(page)
    middle = [(n - 1) // 2 for n in SHAPE]
    found = []
    for (left, top, right, bottom), (across, sign, down) in zip((xy, xz, zy), CUTS, strict=True):
        hits = []
        for i in range(2, SHAPE[across] - 2, 3):
            for j in range(2, SHAPE[down] - 2, 3):
                index = list(middle)
                index[across], index[down] = i, j
                shift = (np.array(index) - middle) * VOXEL_NM / min(VOXEL_NM) / scale
                row, column = (top + bottom) / 2 + shift[down], (left + right) / 2
                seen = image[int(row), int(column + sign * shift[across])]
                wanted_ = expected(tuple(index)) if landed(index) else np.zeros(3)
                hits.append(np.abs(seen - wanted_).max() < NEAR)
        found.append(float(np.mean(hits)))
    return found


def shaded(page, number):
    """Return how many pixels of the surfaces have the hue of an object, lit from somewhere."""
    left, top, right, bottom = (round(edge) for edge in panels(page)[2])
    part = page.picture()[top:bottom, left:right].astype(float)
    colour = colours(np.array([number], np.uint64))[0].astype(float)
    lengths = np.maximum(np.linalg.norm(part, axis=-1), 1) * np.linalg.norm(colour)
    return int(((part @ colour / lengths > 0.995) & (part.max(-1) > 60)).sum())


@pytest.mark.timeout(300)  # WebGL is drawn by the processor, which others use too
def test_a_browser_draws_it_where_it_is_and_what_comes_later_too(tmp_path):
    root = make(tmp_path / "cell.zarr", z=[0], table=False)
    bus_path(root).parent.mkdir(exist_ok=True)
    with closing(SqliteBus(bus_path(root))) as bus:
        bus.publish(wire.OBJECTS, "mito", wire.encode(ObjectChanged("mito", "opened", FIRST, 9)))
    with serving(str(root)) as (site, url), browser(tmp_path / "profile") as page:
        page.open(url, **WINDOW)
        page.wait(SHOWN)
        page.run(PLAIN)
        half = lambda index: index[0] < CHUNK[0]  # noqa: E731
        page.until(lambda: min(agreement(page, half)) > 0.98, "the half that has landed")
        assert shaded(page, FIRST) == 0
        land(root, [i for i in DATASET.grid.indices() if i[0] == 1])
        tabulate(root)
        assert follow(site)
        page.until(lambda: min(agreement(page, lambda _: True)) > 0.98, "all of it")
        page.reload()
        page.wait(SHOWN)
        page.until(lambda: min(agreement(page, lambda _: True)) > 0.98, "all of it once more")
        page.until(lambda: shaded(page, FIRST) > 1000 < shaded(page, SECOND), "the surfaces")
