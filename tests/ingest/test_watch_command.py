"""The command ``fibstream watch``: its flags, its exit codes and signals."""

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fibstream.cli.watch import (
    make_ending,
    make_rules,
    make_settings,
    parse_numbers,
    stop_signals,
    watch_folder,
)
from fibstream.core.errors import WrongUse
from fibstream.services.ingest.edges.watch.ending import EndCondition

from .watching import (
    LAYER,
    MemoryPort,
    fill,
)


def test_the_command_reports_how_it_ended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    fill(folder, range(8))
    flags: dict[str, Any] = {
        "rules": make_rules(stable_s=0.05, giveup_s=0.2, first=None, absent=None, pattern=None),
        "settings": make_settings(poll_s=0.02, again=False, memory_gb=1),
    }
    ending = make_ending(slices=None, end_file=None, idle_s=0.3)
    assert watch_folder(MemoryPort(), "d", str(folder), ending=ending, **flags) == 0
    assert "d: all slices have landed" in capsys.readouterr().err
    (folder / "slice_10.tif").unlink()
    assert watch_folder(MemoryPort(), "d", str(folder), ending=ending, **flags) == 1
    assert "slice 10 is missing" in capsys.readouterr().err


def test_a_signal_stops_the_command_and_a_second_one_has_its_usual_effect(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(folder, range(8))
    port = MemoryPort()
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        while len(port.chunks) < 2 * LAYER:
            time.sleep(0.01)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    rules = make_rules(stable_s=0.05, giveup_s=60, first=None, absent=None, pattern=None)
    settings = make_settings(poll_s=0.02, again=False, memory_gb=1)
    end = EndCondition()
    code = watch_folder(port, "d", str(folder), ending=end, rules=rules, settings=settings)
    thread.join()
    assert code == 130
    assert not port.calls["seal"]
    assert "stopped, not sealed; call again to go on" in capsys.readouterr().err
    # A process that was started in the background ignores the signal otherwise.
    before = signal.default_int_handler
    found = signal.signal(signal.SIGINT, before)
    with stop_signals() as pause:
        assert not pause(0)
        signal.raise_signal(signal.SIGINT)
        assert pause(5)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before
    signal.signal(signal.SIGINT, found)


def test_lists_of_numbers_and_ranges_are_parsed() -> None:
    assert parse_numbers("17, 20-22", "--absent") == {17, 20, 21, 22}


@pytest.mark.parametrize("text", ["", "a", "3-1", "1,,2", "-5", "1-99999999", "0x1"])
def test_other_lists_are_refused(text: str) -> None:
    with pytest.raises(WrongUse, match=r"--absent .*: expected numbers of slices"):
        parse_numbers(text, "--absent")


@pytest.mark.parametrize(
    ("call", "line"),
    [
        (lambda: make_settings(poll_s=0, again=False, memory_gb=1), "--poll-s 0: expected a pos"),
        (lambda: make_settings(poll_s=1, again=False, memory_gb=float("nan")), "--memory-gb nan"),
        (lambda: make_ending(slices=0, end_file=None, idle_s=None), "--slices 0: expected 1 to"),
        (lambda: make_ending(slices=None, end_file="a/b", idle_s=None), "--end-file 'a/b'"),
        (lambda: make_ending(slices=None, end_file=None, idle_s=-1), "--idle-s -1: expected a pos"),
    ],
)
def test_wrong_flags_are_named(call: Callable[[], object], line: str) -> None:
    with pytest.raises(WrongUse, match=line):
        call()


@pytest.mark.parametrize(
    ("pattern", "line"), [("(", "missing"), ("a", "one group"), ("(a)(b)", "one")]
)
def test_wrong_patterns_are_named(pattern: str, line: str) -> None:
    with pytest.raises(WrongUse, match=f"--pattern .*{line}"):
        make_rules(stable_s=2, giveup_s=60, first=None, absent=None, pattern=pattern)
