"""A bucket that is away, denied, or not there; a server that dies and comes back."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import quote

import pytest

from fibstream.core.errors import DiskFull, Retryable, WrongUse
from fibstream.store.local import LocalFiles
from fibstream.store.remote import TAIL_BYTES, RemoteFiles, kvstore, open_files

from ..support.files import content
from ..support.patience import PATIENCE_S
from ..support.programs import free_ports
from ..support.s3 import BUCKET, REGION, environment

URL = f"s3://{BUCKET}/d.zarr"
LONG = bytes(2 * TAIL_BYTES)
DOES = {
    "open": lambda files: files.open("a"),
    "put": lambda files: files.put("a", b"x"),
    "put over": lambda files: files.put("a", b"x", expected=()),
    "delete": lambda files: files.delete("a"),
    "list": lambda files: list(files.list("")),
}


def hasty(**more):
    """Open the store as ever, but give up quickly."""
    retries = {"max_retries": 2, "initial_delay": "10ms", "max_delay": "20ms"}
    return RemoteFiles(kvstore(URL) | {"s3_request_retries": retries} | more, URL)


@pytest.mark.parametrize("status", ["503 Slow Down", "500 Internal Error", "429 Too Many Requests"])
def test_a_busy_store_is_asked_again_and_then_retryable(s3, status) -> None:
    files = hasty()
    files.put("a", LONG)
    for does in DOES.values():
        left = [1]

        def once(request, left=left):
            left[0] -= 1
            return status if left[0] >= 0 else None

        s3.before = once
        does(files)
    files.put("a", LONG)
    handle = files.open("a")
    s3.before = lambda request: status
    for does in (*DOES.values(), lambda files: handle.read(0, 9)):
        with pytest.raises(Retryable, match=rf"^{URL}: .*{status[:3]}"):
            does(files)


@pytest.mark.parametrize("does", DOES)
def test_denied_is_wrong_use_and_says_what_is_needed(s3, does) -> None:
    files = hasty()
    s3.before = lambda request: "403 Access Denied"
    with pytest.raises(WrongUse, match=rf"^{URL}: access denied; expected credentials"):
        DOES[does](files)
    assert len(s3.seen) == 1  # asking again would not help


def test_a_store_without_room_is_full(s3) -> None:
    files = hasty()
    s3.before = lambda request: "507 Insufficient Storage"
    with pytest.raises(DiskFull, match=f"no space left in {URL}"):
        files.put("a", b"x")


def test_a_bucket_that_is_not_there_is_wrong_use_at_once(s3) -> None:
    with pytest.raises(WrongUse, match="s3://nowhere/x: no such bucket; create it first"):
        open_files("s3://nowhere/x")
    gone = RemoteFiles(kvstore("s3://nowhere/x"), "s3://nowhere/x")  # it went later
    for does in ("put", "put over", "list"):
        with pytest.raises(WrongUse, match="no such bucket"):
            DOES[does](gone)


def test_nobody_there_is_retryable_within_seconds(monkeypatch) -> None:
    (port,) = free_ports(1)
    for name, value in environment(f"http://127.0.0.1:{port}").items():
        monkeypatch.setenv(name, value)
    files = hasty()
    with pytest.raises(Retryable, match=f"{URL}: .*Could not connect"):
        files.check()


STALLED = """
import os, sys, socket, time
from fibstream.core.errors import Retryable
from fibstream.store.remote import RemoteFiles, kvstore
server = socket.create_server(("127.0.0.1", 0))
os.environ["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{server.getsockname()[1]}"
retries = {"max_retries": 1, "initial_delay": "10ms", "max_delay": "20ms"}
files = RemoteFiles(kvstore(sys.argv[1]) | {"s3_request_retries": retries}, sys.argv[1])
try:
    files.open("a")
except Retryable as error:
    print(error)
"""


def test_a_server_that_does_not_answer_is_given_up(monkeypatch) -> None:
    for name, value in environment("").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("TENSORSTORE_CURL_LOW_SPEED_TIME_SECONDS", "1")  # read once a process
    ended = subprocess.run(
        [sys.executable, "-c", STALLED, URL],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
    )
    assert ended.stdout.startswith(f"{URL}: ABORTED: ")
    assert "too slow" in ended.stdout
    assert ended.stderr == ""


WRONG = ["", "ftp://h/x", "s3:///x", "s3://", "gs://", "file://", "file:///", "file://elsewhere/x",
         "s3://b/x?y", "gs://b/x#y", "memory://x"]  # fmt: skip


@pytest.mark.parametrize("url", WRONG)
def test_any_other_url_is_wrong_use(url) -> None:
    with pytest.raises(WrongUse, match=r"expected a path, file:///PATH, s3://BUCKET/PREFIX or gs:"):
        open_files(url)


def test_paths_and_file_urls_are_folders(tmp_path) -> None:
    root = tmp_path / "sp ace.zarr"
    for url in (str(root), f"file://{quote(str(root))}", f"file://localhost{quote(str(root))}"):
        found = open_files(url)
        assert isinstance(found, LocalFiles)
        assert found.root == root


@pytest.mark.parametrize("url", [f"s3://{BUCKET}", f"s3://{BUCKET}/", f"s3://{BUCKET}/a//"])
def test_a_bucket_is_a_root_as_well_as_a_prefix(s3, url) -> None:
    open_files(url).put("x/y", b"1")
    prefix = "a/" if "a" in url.removeprefix(f"s3://{BUCKET}") else ""
    assert s3.seen[-1].path == f"/{BUCKET}/{prefix}x/y"
    assert list(open_files(url).list("")) == ["x/y"]


def test_the_endpoint_of_s3_and_the_region_come_from_the_standard_variables(monkeypatch) -> None:
    for name in (*environment(""), "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    assert not {"endpoint", "aws_region", "aws_credentials"} & set(kvstore(URL))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://one")
    assert (kvstore(URL)["endpoint"], kvstore(URL)["aws_region"]) == ("http://one", REGION)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "r1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://two")
    assert (kvstore(URL)["endpoint"], kvstore(URL)["aws_region"]) == ("http://two", "r1")
    monkeypatch.setenv("AWS_REGION", "r2")
    assert kvstore(URL)["aws_region"] == "r2"


def test_thousands_of_objects_are_listed_in_pages(s3) -> None:
    files = open_files(URL)
    paths = [f"many/{n // 100}/{n}" for n in range(2100)]
    for path in paths:
        s3.replace(f"d.zarr/{path}", b"")
    s3.seen.clear()
    assert list(files.list("many")) == sorted(paths)
    assert len(s3.seen) == 3  # pages of a thousand


def test_what_was_put_outlives_the_server(weed) -> None:
    files = open_files(URL)
    contents = {f"deep/{n}": bytes([n]) * (1 << (2 * n)) for n in range(11)}  # up to 1 MiB
    for path, data in contents.items():
        assert files.put(path, data)
    weed.kill()
    with pytest.raises(Retryable):
        hasty().open("deep/1")
    weed.start()
    assert list(files.list("deep")) == sorted(contents)
    for path, data in contents.items():
        handle = files.open(path)
        assert handle is not None
        assert handle.read(0, handle.size) == data
        assert not files.put(path, b"late", expected=())
        # The answer to a put may be lost: then the next try finds what this very put wrote.
        put = files.put(path, b"next", expected=handle.generation)
        assert put or content(files, path) == b"next"
    weed.kill()
    weed.start()
    assert content(open_files(URL), "deep/3") == b"next"


def test_of_many_conditional_puts_one_succeeds(weed) -> None:
    files = open_files(URL)
    with ThreadPoolExecutor(8) as pool:
        for size in (1, 1 << 20):
            path = f"race-{size}"
            seen: tuple[Any, ...] = ()
            for first in (0, 8):  # over nothing, then over what won: never the same bytes again
                contents = [bytes([first + n]) * size for n in range(8)]
                puts = [pool.submit(files.put, path, data, seen) for data in contents]
                won = [data for data, put in zip(contents, puts, strict=True) if put.result()]
                handle = files.open(path)
                assert handle is not None
                assert [handle.read(0, handle.size)] == won
                seen = handle.generation


def test_wrong_credentials_are_refused_by_a_true_server(weed, monkeypatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    with pytest.raises(WrongUse, match="access denied"):
        open_files(URL)
