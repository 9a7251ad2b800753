"""The server of the viewer, over HTTP: files, meshes, states, and what it must not answer."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Receive, Scope, Send

from fibstream.cli.view import client_folder, follow, serving
from fibstream.cli.viewer.connection import Limits, listening
from fibstream.cli.viewer.files import VersionedFiles
from fibstream.cli.viewer.opening import open_viewable
from fibstream.cli.viewer.server import OpenedFileResponse, Viewer
from fibstream.cli.viewer.state import ORIGIN

from ..support.patience import PATIENCE_S
from .viewing import FIRST, SECOND, VOLUMES, Browser, land, make, tabulate


@pytest.fixture(scope="module")
def ask(finished: Path) -> Iterator[Browser]:
    """Serve a dataset that no test changes."""
    with serving(str(finished)) as (_, url):
        yield Browser(url)


def test_the_page_is_neuroglancers(ask: Browser) -> None:
    status, headers, body = ask("/v/TOKEN/")
    assert (status, headers["cache-control"]) == (200, "no-cache")
    assert body == (client_folder() / "index.html").read_bytes()
    script = next(p.name for p in client_folder().iterdir() if p.suffix == ".js")
    status, headers, body = ask(f"/v/TOKEN/{script}")
    assert (status, headers["content-type"]) == (200, "text/javascript")
    assert body == (client_folder() / script).read_bytes()
    for path in ("/v/TOKEN/../__init__.py", "/v/TOKEN/nothing.js", "/v/TOKEN", "/", "/favicon.ico"):
        assert ask(path)[0] == 404


CHUNK_PATH = "/data/TOKEN/1/raw/s0/c/0/1/2"


def test_files_are_sent_whole(ask: Browser, finished: Path) -> None:
    data = (finished / "raw/s0/c/0/1/2").read_bytes()
    status, headers, body = ask(CHUNK_PATH)
    assert (status, body, headers["cache-control"]) == (200, data, "no-store")
    status, headers, body = ask(CHUNK_PATH, "HEAD")
    assert (status, headers["content-length"], body) == (200, str(len(data)), b"")


@pytest.mark.parametrize(
    ("first", "last"), [(0, 9), (90, None), (None, 7), (None, 10**6), (95, 10**6), (0, 0)]
)
def test_a_range_is_sent(ask: Browser, finished: Path, first: int | None, last: int | None) -> None:
    data = (finished / "raw/s0/c/0/1/2").read_bytes()
    start = max(len(data) - (last or 0), 0) if first is None else first
    stop = len(data) if first is None or last is None else min(last + 1, len(data))
    text = "-".join("" if n is None else str(n) for n in (first, last))
    status, headers, body = ask(CHUNK_PATH, Range=f"bytes={text}")
    assert (status, body) == (206, data[start:stop])
    assert headers["content-range"] == f"bytes {start}-{stop - 1}/{len(data)}"
    assert ask(CHUNK_PATH, "HEAD", Range=f"bytes={text}")[::2] == (206, b"")


@pytest.mark.parametrize("given", ["bytes={}-", "bytes=-0", "bytes=" + "9" * 30 + "-"])
def test_a_range_beyond_the_file_is_not_satisfiable(
    ask: Browser, finished: Path, given: str
) -> None:
    size = (finished / "raw/s0/c/0/1/2").stat().st_size
    status, headers, _ = ask(CHUNK_PATH, Range=given.format(size))
    assert (status, headers["content-range"]) == (416, f"bytes */{size}")


@pytest.mark.parametrize("given", ["bytes=9-3", "bytes=-", "lines=0-1", "bytes=a-b", ""])
def test_what_is_no_range_gets_the_whole_file_or_is_refused(ask: Browser, given: str) -> None:
    assert ask(CHUNK_PATH, Range=given)[0] in (200, 400)


def test_an_open_file_is_sent_whatever_has_its_name_now(tmp_path: Path) -> None:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/a").write_bytes(b"old")
    opened = VersionedFiles(tmp_path, ["raw"]).open(1, "raw/a")
    assert opened is not None
    (tmp_path / "new").write_bytes(b"another")
    (tmp_path / "new").replace(tmp_path / "raw/a")
    with listening(OpenedFileResponse(opened, "text/plain"), "127.0.0.1", 0) as port:
        assert Browser(f"http://127.0.0.1:{port}/v/x")("/")[2] == b"old"
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(opened.descriptor)


def test_other_sites_get_no_access(ask: Browser) -> None:
    for path in ("/v/TOKEN/", "/data/TOKEN/1/raw/zarr.json"):
        headers = ask(path, Origin="http://elsewhere.example")[1]
        assert not [name for name in headers if name.lower().startswith("access-control")]
        asks = {"Origin": "http://elsewhere.example", "Access-Control-Request-Method": "POST"}
        status, headers, _ = ask(path, "OPTIONS", **asks)
        assert status == 405
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
def test_what_is_not_shown_is_not_found(ask: Browser, path: str) -> None:
    assert ask(path)[0] == 404


def test_meshes_and_sizes_are_those_of_the_table(ask: Browser, finished: Path) -> None:
    at = "/meshes/TOKEN/1/labels/mito"
    assert json.loads(ask(f"{at}/info")[2])["@type"] == "neuroglancer_legacy_mesh"
    listed = json.loads(ask(f"{at}/properties/info")[2])["inline"]
    assert listed["ids"] == [str(FIRST), str(SECOND)]
    sizes = [int((VOLUMES["labels/mito"] == n).sum()) for n in (FIRST, SECOND)]
    assert listed["properties"][1]["values"] == sizes
    assert json.loads(ask(f"{at}/{FIRST}:0")[2]) == {"fragments": [f"{FIRST}.surface"]}
    assert ask(f"{at}/{FIRST}.surface")[2] == open_viewable(str(finished)).mesh(
        "labels/mito", FIRST
    )


def test_states_hold_the_address_of_the_browser(ask: Browser) -> None:
    event = ask.event(Host="forwarded.example:8080")
    urls = [s["url"] for layer in event["s"]["layers"] for s in layer["source"]]
    assert all(url.startswith("http://forwarded.example:8080/") for url in urls)
    here = f"127.0.0.1:{ask.port}"
    assert here in json.dumps(ask.event(Host='evil"/<script>')["s"]["layers"])
    state = json.dumps(event["s"] | {"position": [1, 2, 3]})
    body = f'{{"s": {state}, "g": 4, "pg": "{event["g"]}", "c": "one"}}'
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
def test_a_wrong_state_is_refused(ask: Browser, body: str | bytes, status: int) -> None:
    try:
        assert ask("/state/TOKEN", "POST", body)[0] == status
    except ConnectionError:  # it was refused before all of it was sent
        assert status == 413
    assert ask("/v/TOKEN/")[0] == 200


def test_a_state_without_a_promised_length_is_refused(ask: Browser) -> None:
    lines = ("POST /state/TOKEN HTTP/1.1", "Host: x", "Content-Length: 2",
             "Transfer-Encoding: chunked", "", "2", "{}", "0", "", "")  # fmt: skip
    sent = "\r\n".join(lines).replace("TOKEN", ask.token)  # chunks win over the length: no limit
    with socket.create_connection((ask.host, ask.port), timeout=PATIENCE_S) as link:
        link.sendall(sent.encode())
        assert link.recv(1 << 16).startswith(b"HTTP/1.1 413 ")


QUICK = Limits(of_peer=8, header_s=0.3, body_s=0.5, idle_s=1)
SILENT = (
    "",
    "GET /v/TO",
    "POST /state/TOKEN HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
    "GET /v/TOKEN/ HTTP/1.1\r\nHost: x\r\n\r\n",
)


def test_silent_connections_are_closed_and_others_go_on(finished: Path) -> None:
    viewer = Viewer(open_viewable(str(finished)), client_folder())
    with listening(viewer.app(), "127.0.0.1", 0, limits=QUICK) as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=PATIENCE_S) for _ in SILENT]
        for link, sent in zip(held, SILENT, strict=True):
            link.sendall(sent.replace("TOKEN", viewer.token).encode())
        assert Browser(f"http://127.0.0.1:{port}/v/{viewer.token}/")("/v/TOKEN/")[0] == 200
        for link in held:
            while link.recv(1 << 16):  # an answer, if that was a request; then the end
                pass
            link.close()


def test_a_connection_that_is_not_read_is_closed() -> None:
    closed = threading.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": bytes(32 << 20), "more_body": True})
        while (await receive())["type"] != "http.disconnect":
            pass
        closed.set()

    with (
        listening(app, "127.0.0.1", 0, limits=QUICK) as port,
        socket.create_connection(("127.0.0.1", port)) as link,
    ):
        link.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert closed.wait(PATIENCE_S)


def test_changes_are_followed(tmp_path: Path) -> None:
    root = make(tmp_path / "cell.zarr", z=[0], table=False)
    with serving(str(root)) as (viewer, url):
        ask = Browser(url)
        assert ask("/data/TOKEN/1/raw/s0/c/1/0/0")[0] == 404
        assert ask("/data/TOKEN/1/labels/mito/s0/c/0/0/0")[0] == 200
        last = ask.event()["g"]
        assert not follow(viewer)
        land(root, [(1, 0, 0)], names=["raw"])
        assert follow(viewer)
        event = ask.event(f"c=one&gc=&gs={last}")
        raw, _, labels = event["s"]["layers"]
        assert f"/data/{ask.token}/2/raw/" in raw["source"][0]["url"]
        assert f"/data/{ask.token}/1/labels/" in labels["source"][0]["url"]
        assert ask("/data/TOKEN/2/raw/s0/c/1/0/0")[0] == 200
        tabulate(root)
        assert follow(viewer)
        assert ask.event()["s"]["layers"][2]["segments"] == [str(FIRST), str(SECOND)]
        shutil.rmtree(root)
        assert not follow(viewer)  # it is gone: what was seen stays
