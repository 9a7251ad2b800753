"""Wrong input of the commands around services: one line, exit 2, no call, nothing written."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from fibstream.cli.connect import CONNECT_S
from fibstream.runtime.root import Root
from fibstream.runtime.settings import FILE
from fibstream.services.ingest.edges.datasets import DatasetDesign, create

from ..support import wrong
from ..support.command import apart, inside
from ..support.programs import free_ports
from ..support.wrong import CELL, is_one_line, is_rejected, tree

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Place(wrong.Place):
    """A place with a ``port`` at which nothing listens."""

    port: int

    @property
    def away(self) -> tuple[object, ...]:
        """Flags that name services which are not there: a call would end with exit 1."""
        return "--server", f"127.0.0.1:{self.port}"

    def sub(self, name: str) -> Path:
        """Make a folder."""
        path = self.folder / name
        path.mkdir()
        return path

    def volume(self, raw: np.ndarray, name: str = "v.npy") -> Path:
        """Write a volume without a voxel size."""
        np.save(self.folder / name, raw)
        return self.folder / name

    def create(self, *more: object, name: str = "cell", shape: str = "8,8,8") -> list[object]:
        """Return the arguments of a creation that is right but for what is given."""
        size = () if "--voxel-size-nm" in more else ("--voxel-size-nm", "8")
        server = () if "--server" in more else self.away
        return ["create", name, "--shape", shape, *size, *server, *more]

    def land(self, *more: object, name: str = "cell", raw: object = None) -> list[object]:
        """Return the arguments of a landing."""
        raw = raw or self.volume(np.zeros((8, 8, 8), np.uint8))
        return ["land", name, "--raw", raw, *self.away, *more]

    def watch(self, *more: object, folder: object = None, name: str = "cell") -> list[object]:
        """Return the arguments of a watcher; one that is let in would never end."""
        return ["watch", folder or self.folder, "--dataset", name, *self.away, *more]

    def query(self, *more: object, sql: str = "SELECT 1", name: str = "cell") -> list[object]:
        """Return the arguments of a question."""
        return ["query", sql, "--dataset", name, *self.away, *more]

    def serve(self, *more: object, service: str = "ingest") -> list[object]:
        """Return the arguments of a service; one that is let in would never end."""
        root = () if "--root" in more else ("--root", self.folder / "root")
        return ["serve", service, *root, *more]


Case = Callable[[Place], list[object]]
EXPECTED = "expected"

CASES: dict[str, tuple[Case, str]] = {
    # create
    "create without a name": (lambda p: ["create"], "Missing argument 'DATASET'"),
    "create without a shape": (lambda p: ["create", "cell"], "--shape"),
    "a name with a slash": (lambda p: p.create(name="a/b"), "dataset 'a/b': expected"),
    "a name with a suffix": (lambda p: p.create(name="a.zarr"), "dataset 'a.zarr': expected"),
    "a name that hides": (lambda p: p.create(name=".cell"), "dataset '.cell': expected"),
    "a name too long": (lambda p: p.create(name="a" * 129), "at most 128"),
    "a shape of two": (lambda p: p.create(shape="8,8"), "--shape '8,8': expected three"),
    "a shape of words": (lambda p: p.create(shape="z,y,x"), "--shape 'z,y,x': expected"),
    "a shape of zero": (lambda p: p.create(shape="8,0,8"), "--shape '8,0,8': expected"),
    "y unknown": (lambda p: p.create(shape="8,?,8"), r"--shape '8,\?,8': expected"),
    "a shape too large": (lambda p: p.create(shape="?,8,2097153"), "from 1 to 2097152"),
    "no voxel size": (
        lambda p: ["create", "cell", "--shape", "8,8,8", *p.away], "--voxel-size-nm is missing"),
    "voxel size of words": (lambda p: p.create("--voxel-size-nm", "8nm"), "--voxel-size-nm '8nm'"),
    "a dtype": (lambda p: p.create("--dtype", "float32"), "--dtype float32: expected one of uint8"),
    "no contrast": (lambda p: p.create("--dtype", "uint16"), "give --contrast LOW,HIGH"),
    "a contrast of one": (lambda p: p.create("--contrast", "9"), "--contrast 9: expected LOW,HIGH"),
    "a contrast downwards": (lambda p: p.create("--contrast", "9,3"), "LOW below HIGH"),
    "a contrast of NaN": (lambda p: p.create("--contrast", "nan,3"), "finite"),
    "a chunk of zero": (lambda p: p.create("--chunk", "0"), "--chunk '0': expected three"),
    "a chunk too large": (lambda p: p.create("--chunk", "8,8,513"), "--chunk 8,8,513.*1 to 512"),
    "a pipeline that is none": (lambda p: p.create("--pipeline", "mitos"), "pipeline mitos: not a"),
    "a pipeline's unknown word": (
        lambda p: p.create("--pipeline", p.file("p.yaml", "models: [mito]\norgans: []\n")),
        "p.yaml: line 2: unknown word 'organs'"),
    "a pipeline in line": (
        lambda p: p.create("--pipeline", "models: [mito]\nwords: 1"), "unknown word 'words'"),
    # --server
    "a server without a port": (lambda p: p.create("--server", "here:"), "--server here:"),
    "a server's port too large": (lambda p: p.create("--server", "here:65536"), "HOST:PORT"),
    "no room for the other ports": (
        lambda p: p.create("--server", "here:65534"), "--server here:65534: expected ports"),
    "a server's port zero": (lambda p: p.create("--server", "here:0"), "ports from 1 to 65535"),
    "an empty server": (lambda p: p.create("--server", ""), "--server"),
    "an unknown service in it": (
        lambda p: p.create("--server", "ingress=a:1"), "--server ingress=a:1: expected.*refine"),
    "a service without its port": (
        lambda p: p.create("--server", "ingest=a"), "--server ingest=.*expected HOST:PORT"),
    "two servers": (lambda p: p.create("--server", "a,b"), "--server a,b: expected HOST"),
    "not the service that is asked": (
        lambda p: p.create("--server", "refine=a:1"), "names no ingest"),
    # land
    "land's pattern": (lambda p: p.land("--pattern", "s[", raw=p.sub("s")), "--pattern 's\\['"),
    "land's pattern without a group": (
        lambda p: p.land("--pattern", "s", raw=p.sub("s")), "expected one group"),
    "land's pattern for a file": (
        lambda p: p.land("--pattern", "s([0-9]+)"), "expected the path of a folder of slices"),
    "land without raw": (lambda p: ["land", "cell", *p.away], "--raw"),
    "land's name": (lambda p: p.land(name="a b"), "dataset 'a b': expected"),
    "land's name with the folder's suffix": (
        lambda p: p.land(name="a.zarr"), "dataset 'a.zarr': expected .* no .zarr at the end"),
    "land's order": (lambda p: p.land("--order", "spiral"), "--order spiral: expected.*random"),
    "land's seed": (lambda p: p.land("--seed", "x"), "--seed"),
    "no chunks": (lambda p: p.land("--chunks", "0"), "--chunks"),
    "less than no chunks": (lambda p: p.land("--chunks", "-3"), "--chunks"),
    "land nothing": (lambda p: p.land(raw=p.folder / "none.tif"), "none.tif: no such file"),
    "land an unknown format": (lambda p: p.land(raw=p.file("a.xyz")), "a.xyz: unknown format"),
    "land what cannot be read": (lambda p: p.land(raw=p.file("a.tif", b"II*\0?")), "a.tif"),
    "land floats": (lambda p: p.land(raw=p.volume(np.zeros((8, 8, 8)))), "dtype float64"),
    "land a slice": (lambda p: p.land(raw=p.volume(np.zeros((8, 8), np.uint8))), "three axes"),
    # watch
    "watch nothing": (lambda p: p.watch(folder=p.folder / "none"), "none: no such folder"),
    "watch a file": (lambda p: p.watch(folder=p.file("a.tif")), "a.tif: no such folder"),
    "watch without a dataset": (lambda p: ["watch", p.folder, *p.away], "--dataset"),
    "watch's name": (lambda p: p.watch(name="a/b"), "dataset 'a/b': expected"),
    "no slices": (lambda p: p.watch("--slices", "0"), "--slices 0: expected 1 to"),
    "an end that is a path": (lambda p: p.watch("--end-file", "a/b"), "--end-file 'a/b': expected"),
    "idle for nothing": (lambda p: p.watch("--idle-s", "0"), "--idle-s 0: expected a positive"),
    "stable for ever": (lambda p: p.watch("--stable-s", "inf"), "--stable-s inf: expected"),
    "give up in the past": (lambda p: p.watch("--giveup-s", "-1"), "--giveup-s -1: expected"),
    "look all the time": (lambda p: p.watch("--poll-s", "0"), "--poll-s 0: expected"),
    "no memory": (lambda p: p.watch("--memory-gb", "nan"), "--memory-gb nan: expected"),
    "a first slice below zero": (lambda p: p.watch("--first", "-1"), "--first -1: expected"),
    "a pattern that is none": (lambda p: p.watch("--pattern", "("), r"--pattern '\('"),
    "a pattern without a number": (lambda p: p.watch("--pattern", "a"), "expected one group"),
    "absent words": (lambda p: p.watch("--absent", "some"), "--absent 'some': expected numbers"),
    "absent backwards": (lambda p: p.watch("--absent", "9-3"), "--absent '9-3': expected numbers"),
    # seal, replay, delete, query, status
    "seal at nothing": (lambda p: ["seal", "cell", "--extent-z", "0", *p.away], "--extent-z 0"),
    "seal too far": (
        lambda p: ["seal", "cell", "--extent-z", "9999999", *p.away], "expected 1 to 2097152"),
    "seal's name": (lambda p: ["seal", "", *p.away], "dataset '': expected"),
    "replay's stage": (
        lambda p: ["replay", "cell", "--stage", "predictions", *p.away],
        "--stage predictions: expected one of.*prediction"),
    "replay's name": (lambda p: ["replay", "../x", *p.away], "dataset '../x': expected"),
    "delete's name": (lambda p: ["delete", "a b", "--yes", *p.away], "dataset 'a b': expected"),
    "delete nothing": (
        lambda p: ["delete", p.folder / "none.zarr", "--yes"], "none.zarr: not a dataset"),
    "delete a folder": (lambda p: ["delete", p.sub("my.zarr"), "--yes"], "my.zarr: not a dataset"),
    "delete a file": (lambda p: ["delete", p.file("a.zarr"), "--yes"], "a.zarr: not a dataset"),
    "query's name": (lambda p: p.query(name="a b"), "dataset 'a b': expected"),
    "an empty question": (lambda p: p.query(sql=" "), "expected one SELECT"),
    "query's file": (lambda p: p.query("--out", p.folder / "a.xls"), "a.xls: expected FILE.csv"),
    "query's folder": (lambda p: p.query("--out", p.folder / "no" / "a.csv"), "a.csv: expected"),
    "query no analysis": (
        lambda p: ["query", "SELECT 1", "--dataset", "cell", "--server", "ingest=a:1"],
        "names no analysis"),
    "status's name": (lambda p: ["status", "a b", *p.away], "dataset 'a b': expected"),
    # serve
    "serve nothing": (lambda p: ["serve"], "SERVICE"),
    "serve without a root": (lambda p: ["serve", "ingest"], "--root"),
    "an unknown service": (lambda p: p.serve(service="ingress"), "service ingress: expected"),
    "an unknown role": (lambda p: p.serve("--role", "grpc,cook"), "--role grpc,cook: expected"),
    "no role": (lambda p: p.serve("--role", ""), "--role : expected"),
    "no workers": (lambda p: p.serve("--workers", "0"), "workers = 0 .from --workers.*greater"),
    "too many workers": (lambda p: p.serve("--workers", "999"), "workers = 999.*less than"),
    "listen without a port": (lambda p: p.serve("--listen", "here"), "--listen here: expected"),
    "listen too high": (lambda p: p.serve("--listen", "127.0.0.1:70000"), "--listen 1.*HOST:PORT"),
    "listen elsewhere": (
        lambda p: p.serve("--listen", "no.such.host.invalid:1"), "--listen no.such.*no such host"),
    "metrics without a host": (lambda p: p.serve("--metrics", "9801"), "--metrics 9801: expected"),
    "no room for metrics": (
        lambda p: p.serve("--metrics", "127.0.0.1:65535"), "a port up to 65533"),
    "a bus that is not shared": (lambda p: p.serve("--bus", "sqlite:x"), "--bus sqlite:x: expect"),
    "a bus without brokers": (lambda p: p.serve("--bus", "kafka://"), "--bus kafka://: expected"),
    "a broker without a port": (lambda p: p.serve("--bus", "kafka://a:1,b"), "--bus kafka.*expect"),
    "a source that is none": (lambda p: p.serve("--source", p.folder / "no"), "no: not a folder"),
    "an empty root": (lambda p: p.serve("--root", ""), "--root is empty; expected"),
    "a root below a file": (lambda p: p.serve("--root", p.file("a") / "b"), "a is not a folder"),
    "a root of another kind": (lambda p: p.serve("--root", "ftp://a/b"), "'ftp://a/b': expected"),
    "a bucket that is none": (lambda p: p.serve("--root", "s3://b/p"), "name of a bucket"),
    "no bucket": (lambda p: p.serve("--root", "s3://"), "name of a bucket"),
    # report, demo, run, the program
    "report nothing": (lambda p: ["report", p.folder / "none.zarr"], "none.zarr: not a dataset"),
    "demo below a file": (
        lambda p: ["demo", "--out", p.file("a") / "b"], "--out .*a is not a folder"),
    "demo over a file": (lambda p: ["demo", "--out", p.file("a")], "--out .*a is not a folder"),
    "a log level": (lambda p: ["--log-level", "loud", "config"], "log_level = 'loud' .from --l"),
    "a log format": (
        lambda p: ["--log-format", "xml", "config"], "log_format = 'xml' .*'text' or 'json'"),
    "no shell": (lambda p: ["--show-completion", "tcsh"], "tcsh; expected bash, zsh, fish"),
    "an unknown option": (lambda p: ["--quiet", "config"], "--quiet"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Place:
    folder = tmp_path / "watched"
    folder.mkdir()
    return Place(folder, free_ports(1)[0])


@pytest.mark.parametrize("name", CASES)
def test_wrong_input_is_one_line_before_any_call(place, name) -> None:
    make, pattern = CASES[name]
    arguments = make(place)
    is_rejected(place.folder, arguments, pattern)


SETTINGS = [
    ("workers = 0", "greater than or equal to 1"),
    ("workers = true", "not true or false"),
    ("workers = 1.5", "integer"),
    ("workers = [1]", "integer"),
    ("threads = 257", "less than or equal to 256"),
    ("lease_s = -1", "greater than 0"),
    ("lease_s = nan", "finite|greater|less"),
    ('reconcile_s = "soon"', "number"),
    ('log_level = "loud"', "'debug', 'info', 'warning' or 'error'"),
    ('log_format = "xml"', "'text' or 'json'"),
    ("worker = 1", "unknown setting 'worker'"),
    ("[run]\nworkers = 1", "unknown setting 'run'"),
    ("workers = ", "not readable as TOML"),
]


@pytest.mark.parametrize(("text", "pattern"), SETTINGS)
@pytest.mark.parametrize("command", ["config", "status"])
def test_a_wrong_file_of_settings(place, monkeypatch, text, pattern, command) -> None:
    place.file(FILE, text)
    monkeypatch.chdir(place.folder)
    arguments = [command, "x.zarr"] if command == "status" else [command]
    is_rejected(place.folder, arguments, f"{FILE}.*({pattern})|({pattern}).*{FILE}")


@pytest.mark.parametrize(
    ("name", "value", "pattern"),
    [
        ("WORKERS", "many", "workers = 'many' .from FIBSTREAM_WORKERS.*integer"),
        ("THREADS", "0", "threads = '0' .from FIBSTREAM_THREADS"),
        ("LEASE_S", "1h", "lease_s = '1h'"),
        ("RECONCILE_S", "inf", "reconcile_s = 'inf'"),
        ("LOG_LEVEL", "DEBUG!", "log_level = 'DEBUG!'.*expected|log_level.*'debug'"),
        ("LOG_FORMAT", "yaml", "log_format = 'yaml'.*'text' or 'json'"),
        ("WORKER", "2", "unknown setting 'worker' in the environment; known: workers"),
    ],
)
def test_a_wrong_setting_in_the_environment(place, monkeypatch, name, value, pattern) -> None:
    monkeypatch.setenv(f"FIBSTREAM_{name}", value)
    is_one_line(inside("config"), pattern)
    is_one_line(inside(*place.serve()), pattern)
    assert tree(place.folder) == {}


def test_a_wrong_server_in_the_environment(monkeypatch) -> None:
    monkeypatch.setenv("FIBSTREAM_SERVER", "a,b")
    for arguments in (["seal", "cell"], ["delete", "cell", "--yes"]):
        is_one_line(inside(*arguments), "--server a,b: expected HOST")


def test_a_name_that_is_a_folder_here_is_not_deleted_elsewhere(place, monkeypatch) -> None:
    place.sub("cell")
    monkeypatch.chdir(place.folder)
    monkeypatch.delenv("FIBSTREAM_SERVER", raising=False)
    is_one_line(inside("delete", "cell", "--yes"), r"a folder here; expected \./cell, or --server")


def test_a_report_over_a_file(place) -> None:
    root = Root(str(place.folder))
    create(root, DatasetDesign(CELL, {}, []))
    note = place.file("note.txt")
    arguments = ["report", place.folder / "cell.zarr", "--out", note]
    is_rejected(place.folder, arguments, "note.txt is not a folder")


CALLS = {
    "create": lambda p: p.create(),
    "land": lambda p: p.land(),
    "seal": lambda p: ["seal", "cell", *p.away],
    "replay": lambda p: ["replay", "cell", *p.away],
    "delete": lambda p: ["delete", "cell", "--yes", *p.away],
    "query": lambda p: p.query(),
    "status": lambda p: ["status", "cell", *p.away],
}


@pytest.mark.parametrize("name", CALLS)
def test_services_that_are_not_there_are_named_soon(place, monkeypatch, name) -> None:
    monkeypatch.setattr("fibstream.cli.connect.CONNECT_S", 0.1)
    assert CONNECT_S <= 5  # what a person waits
    service, port = ("analysis", place.port + 3) if name == "query" else ("ingest", place.port)
    arguments = CALLS[name](place)
    before = tree(place.folder)
    answer = inside(*arguments)
    (line,) = answer.err.splitlines()
    assert line.startswith(f"fibstream: nothing answers at 127.0.0.1:{port} (")
    assert f"expected `fibstream serve {service}`" in line
    assert (answer.code, answer.out, tree(place.folder)) == (1, "", before)


@pytest.mark.parametrize(
    ("arguments", "pattern"),
    [
        (["seal", "other"], "dataset 'other': not found"),
        (["seal", "cell", "--extent-z", "5"], "sealed at 8 slices, not 5"),
        (["replay", "other"], "'other': not found"),
        (["status", "other"], "'other': not found"),
        (["delete", "other", "--yes"], "'other': not found"),
        (["query", "SELECT 1", "--dataset", "other"], "other"),
        (["query", "DROP TABLE mito", "--dataset", "cell"], "SELECT|DROP|Parser|not"),
        (["query", "SELECT nothing FROM nowhere", "--dataset", "cell"], "nowhere"),
        (["create", "cell", "--shape", "8,8,9", "--voxel-size-nm", "10"], "its shape is"),
        (["create", "cell", "--shape", "?,8,9", "--voxel-size-nm", "10"], "its shape is"),
    ],
)
def test_what_only_a_server_can_refuse_is_one_line_too(server, arguments, pattern) -> None:
    is_one_line(inside(*arguments, "--server", server), pattern)


def test_nothing_to_replay_is_reported(server) -> None:
    answer = inside("replay", "cell", "--server", server)
    assert (answer.code, answer.out, answer.err) == (0, "cell: nothing to replay\n", "")


@pytest.mark.parametrize(
    ("raw", "pattern"),
    [
        (np.zeros((8, 8, 8), np.uint16), "is uint16; the dataset is uint8"),
        (np.zeros((8, 8, 9), np.uint8), "the dataset is"),
    ],
)
def test_another_volume_does_not_land(server, place, raw, pattern) -> None:
    path = place.volume(raw)
    is_one_line(inside("land", "cell", "--raw", path, "--server", server), pattern)


def test_a_service_ends_with_one_line_when_its_port_is_taken(server, place) -> None:
    port = server.rpartition(":")[2]
    answer = apart(*place.serve("--listen", f"127.0.0.1:{port}", "--role", "grpc"))
    is_one_line(answer, "--listen 127.* cannot be opened; expected a free HOST:PORT")
    shutil.rmtree(place.folder / "root", ignore_errors=True)


def test_a_query_of_services_says_that_rows_may_still_change(server) -> None:
    given = ["--shape", "8,8,8", "--voxel-size-nm", 8, "--server", server, "--pipeline",
             "predictions: [{name: er, squash_nm: 50}]\n"
             "organelles: [{name: er, recipe: generic, from: er}]"]  # fmt: skip
    assert inside("create", "asked", *given).code == 0
    answer = inside("query", "SELECT count(*) FROM er", "--dataset", "asked", "--server", server)
    assert (answer.code, answer.err) == (0, "note: asked: not complete: er may still change\n")
