"""Log lines of the program and of every process: as text, or one JSON object each."""

import io
import json
import logging
import subprocess
import sys
import threading
import warnings
from contextlib import redirect_stderr
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fibstream.runtime.children import spawn
from fibstream.runtime.settings import FILE, Settings
from fibstream.telemetry.logs import JsonLines, last_line, logs, message_of

from ..support.command import apart, inside, start
from ..support.patience import PATIENCE_S
from ..support.processes import wait_for
from ..support.programs import free_ports
from ..support.scene import make_scene

log = logging.getLogger("fibstream.test")
FIELDS = ["time", "level", "logger", "message", "process", "service"]
JSON = Settings.model_validate({"log_format": "json"})
TEXT = Settings.model_validate({})


def objects(text: str) -> list[dict]:
    """Return the objects of some lines, every one of which must be one."""
    found = [json.loads(line) for line in text.splitlines()]
    for entry in found:
        assert list(entry)[:6] == FIELDS, entry
        assert datetime.fromisoformat(entry["time"]).utcoffset() == timedelta()
        assert entry["level"] in ("debug", "info", "warning", "error", "critical")
        assert isinstance(entry["process"], int)
    return found


def caught(settings: Settings, act, service: str | None = "refine") -> str:
    """Return what an action logs."""
    with (
        redirect_stderr(io.StringIO()) as err,
        logs(settings.log_level, settings.log_format, service),
    ):
        act()
    return err.getvalue()


@given(st.text(), st.sampled_from(["debug", "info", "warning", "error", "critical"]))
def test_any_message_is_one_line_and_comes_back(message, level) -> None:
    record = logging.makeLogRecord({"name": "a", "msg": message, "levelname": level.upper()})
    line = JsonLines("ingest").format(record)
    assert line.isascii() and "\n" not in line
    (entry,) = objects(line)
    assert (entry["message"], entry["level"], entry["service"]) == (message, level, "ingest")
    assert message_of(line) == message


@given(st.text())
def test_what_is_no_object_is_itself(line) -> None:
    assert message_of(f"fibstream: {line}") == line


def test_an_exception_is_text_in_the_object() -> None:
    def act() -> None:
        try:
            raise ValueError("two\nlines")
        except ValueError:
            log.exception("it %s", "failed")

    (entry,) = objects(caught(JSON, act))
    assert entry["message"] == "it failed"
    assert entry["exception"].startswith("Traceback") and "two\nlines" in entry["exception"]
    text = caught(TEXT, act)
    assert "ERROR fibstream.test: it failed\nTraceback" in text


@pytest.mark.parametrize(
    ("level", "entry"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)]
)
def test_levels_are_those_of_our_own_lines(level, entry) -> None:
    def act() -> None:
        for name in ("debug", "info", "warning", "error"):
            getattr(log, name)(name)
            if name in ("debug", "info"):
                getattr(logging.getLogger("somebody.else"), name)("chatter")

    assert len(caught(Settings.model_validate({"log_level": level}), act).splitlines()) == entry


def test_an_inner_context_takes_over_and_gives_back() -> None:
    root = logging.getLogger()
    before = list(root.handlers), root.level, threading.excepthook
    with redirect_stderr(io.StringIO()) as err, logs("info", "json", "ingest"):
        with logs("info", "json"):
            log.warning("inner")
        log.warning("outer")
    assert (list(root.handlers), root.level, threading.excepthook) == before
    found = [(entry["message"], entry["service"]) for entry in objects(err.getvalue())]
    assert found == [("inner", "ingest"), ("outer", "ingest")]


def test_threads_and_warnings_log_objects() -> None:
    def act() -> None:
        thread = threading.Thread(target=lambda: 1 // 0)
        thread.start()
        thread.join()
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(True)  # catch_warnings has undone it
            warnings.warn("old", stacklevel=1)

    ended, warned = objects(caught(JSON, act))
    assert ended["level"] == "critical" and "ZeroDivisionError" in ended["exception"]
    assert warned["logger"] == "py.warnings" and "old" in warned["message"]


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_the_last_line_of_a_process_names_its_error(log_format) -> None:
    def act() -> None:
        sys.stderr.write(last_line("a.tif:\n no such file") + "\n")

    line = caught(Settings.model_validate({"log_format": log_format}), act)
    assert message_of(line.strip()) == "a.tif: no such file"
    assert line.startswith("{" if log_format == "json" else "fibstream: ")


def child(tmp_path, module: str, arguments: list[str], log_format: str):
    given = {"FIBSTREAM_LOG_FORMAT": log_format}
    found = spawn("x", module, arguments, environment=given, log=tmp_path / "x.log")
    assert found.process.wait(PATIENCE_S) == 2
    return found


@pytest.mark.parametrize("log_format", ["text", "json"])
@pytest.mark.parametrize("module", ["refine", "ingest.edges.land"])
def test_a_process_that_cannot_work_says_why_in_its_format(tmp_path, log_format, module) -> None:
    rest = ["--raw", "x"] if module == "ingest.edges.land" else []
    words = [*([] if rest else ["plan"]), "--dataset", str(tmp_path / "none"), *rest]
    found = child(tmp_path, f"fibstream.services.{module}", words, log_format)
    assert "not a fibstream dataset" in found.last_message()
    text = (tmp_path / "x.log").read_text()
    if log_format == "json":
        (entry,) = objects(text)
        assert (entry["level"], entry["service"]) == ("error", module.partition(".")[0])
    else:
        assert text == f"fibstream: {found.last_message()}\n"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_bug_that_ends_a_process_is_logged_in_its_format(log_format) -> None:
    code = (
        "from fibstream.runtime.process import running\n"
        "with running(None, 'refine'):\n    {}['key']\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code], env={"FIBSTREAM_LOG_FORMAT": log_format}, text=True,
        capture_output=True, timeout=PATIENCE_S, check=False,
    )  # fmt: skip
    assert ended.returncode == 1
    if log_format == "json":
        (entry,) = objects(ended.stderr)
        assert (entry["level"], entry["service"]) == ("critical", "refine")
        assert entry["exception"].endswith("KeyError: 'key'")
    else:
        assert ended.stderr.endswith("KeyError: 'key'\n")


def test_options_of_the_program_win(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FIBSTREAM_LOG_LEVEL", "error")
    (tmp_path / FILE).write_text('log_level = "info"\nlog_format = "json"\n')
    printed = inside("--log-level", "debug", "config").out
    assert (
        "log_level = debug  (--log-level;" in printed and f"log_format = json  ({FILE};" in printed
    )
    assert "log_level = error  (FIBSTREAM_LOG_LEVEL;" in inside("config").out
    monkeypatch.delenv("FIBSTREAM_LOG_LEVEL")
    assert f"log_level = info  ({FILE};" in inside("config").out


@pytest.mark.parametrize("how", ["flag", "environment", "file"])
def test_the_program_itself_logs_as_set(tmp_path, monkeypatch, how) -> None:
    monkeypatch.chdir(tmp_path)
    flags = ("--log-level", "debug", "--log-format", "json") if how == "flag" else ()
    if how == "environment":
        monkeypatch.setenv("FIBSTREAM_LOG_LEVEL", "debug")
        monkeypatch.setenv("FIBSTREAM_LOG_FORMAT", "json")
    if how == "file":
        (tmp_path / FILE).write_text('log_level = "debug"\nlog_format = "json"\n')
    answer = inside(*flags, "status", "none.zarr")
    first, last = objects(answer.err)
    assert first["logger"].startswith("fibstream.cli") and "status" in first["message"]
    assert last["message"] == "none.zarr: not a dataset of fibstream run; there is no such folder"
    assert (answer.code, last["level"], last["service"]) == (2, "error", "fibstream")


def test_every_process_of_a_run_logs_objects(tmp_path) -> None:
    (tmp_path / "scene").mkdir()
    scene = make_scene(tmp_path / "scene")
    out = tmp_path / "out.zarr"
    one = ("--chunk", "36,44,52")
    answer = apart("--log-level", "info", "--log-format", "json", *scene.run(out, *one))
    assert answer.code == 0, answer.err
    files = {path.stem: path.read_text() for path in (out / ".fibstream/log").iterdir()}
    assert len(files) == 9
    found = {name: objects(text) for name, text in files.items()}
    for name, lines in found.items():
        assert all(entry["service"] == name.partition("-")[0] for entry in lines), name
    assert any("computed" in entry["message"] for entry in found["refine-worker-0"])
    started = [line for line in answer.err.splitlines() if '"logger": "fibstream.cli.run' in line]
    assert len(objects("\n".join(started))) >= 9


def test_a_service_logs_objects_only(tmp_path) -> None:
    (port,) = free_ports(1)
    words = ("serve", "ingest", "--root", tmp_path / "root", "--listen", f"127.0.0.1:{port}")
    flags = ("--log-level", "info", "--log-format", "json")
    first = start(*flags, *words, "--workers", "1")
    try:
        assert first.stdout is not None and "listening" in first.stdout.readline()
        second = apart(*flags, *words, "--role", "grpc")  # its port is taken
        assert second.code == 2
        (entry,) = objects(second.err)
        assert "cannot be opened" in entry["message"] and entry["service"] == "ingest"
        own = f"/proc/{first.pid}/task/{first.pid}/children"
        with open(own) as file:  # noqa: PTH123
            (victim, *_) = file.read().split()
        subprocess.run(["kill", "-9", victim], check=True)
        assert first.stderr is not None
        read = first.stderr.readline
        (ended,) = wait_for(lambda: objects(read()), "a line")
        assert "ended (-9)" in ended["message"]
        assert (ended["service"], ended["level"]) == ("ingest", "warning")
    finally:
        first.terminate()
        _, rest = first.communicate(timeout=PATIENCE_S)
    objects(rest)
    assert first.returncode == 0
