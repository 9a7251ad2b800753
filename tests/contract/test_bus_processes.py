"""One bus file, several connections and processes: durable, and no task held by two."""

import signal
import subprocess
import sys
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from fibstream.bus.sqlite import SqliteBus

from ..support.patience import PATIENCE_S

TAKER = Path(__file__).with_name("taker.py")
HOLDER = """
import sys
from pathlib import Path
from threading import Barrier
from fibstream.bus.sqlite import SqliteBus
bus = SqliteBus(Path(sys.argv[1]))
assert bus.take("tasks", "holder", 3600)
print("held", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "folder" / "bus.sqlite"


@pytest.fixture
def bus(path):
    made = SqliteBus(path)
    yield made
    made.close()


def test_two_processes_never_take_one_task(bus, path) -> None:
    keys = [f"k{n}" for n in range(60)]
    for key in keys:
        bus.send("tasks", key, b"x")
    owners = ["w1", "w2"]
    children = [subprocess.Popen([sys.executable, TAKER, path, o, "2"]) for o in owners]
    assert [child.wait(PATIENCE_S) for child in children] == [0, 0]
    taken = bus.read(["taken"], 0)
    assert Counter(e.value.decode() for e in taken) == Counter(keys)
    assert {e.key.partition("/")[0] for e in taken} == set(owners)
    assert bus.backlog("tasks") == 0


def test_a_killed_process_keeps_its_lease_until_it_is_buried(bus, path) -> None:
    bus.send("tasks", "a", b"x")
    child = subprocess.Popen(
        [sys.executable, "-c", HOLDER, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        child.kill()
    assert child.returncode == -signal.SIGKILL
    assert bus.take("tasks", "w2", 10) is None
    assert [d.key for d in bus.reclaim("holder")] == ["a"]
    again = bus.take("tasks", "w2", 10)
    assert (again.key, again.crashes) == ("a", 1)


def test_what_was_written_is_there_when_the_file_is_opened_again(path) -> None:
    first = SqliteBus(path)
    first.publish("t", "a", b"1")
    first.send("q", "b", b"2")
    first.take("q", "w1", 3600)
    offset = first.end(["t"])
    first.close()
    again = SqliteBus(path)
    assert [(e.offset, e.value) for e in again.read(["t"], 0)] == [(offset, b"1")]
    assert again.backlog("q") == 1
    assert again.take("q", "w2", 10) is None
    again.publish("t", "a", b"3")
    assert again.end(["t"]) > offset
    again.close()


def test_offsets_only_grow_though_the_log_was_emptied_in_between(path) -> None:
    first = SqliteBus(path)
    first.publish("t", "a", b"1")
    offset = first.end(["t"])
    first.clear(["t"])
    first.close()
    again = SqliteBus(path)
    again.publish("t", "a", b"2")
    assert again.end(["t"]) > offset
    again.close()


def test_a_wait_ends_when_somebody_else_writes(bus, path) -> None:
    other = SqliteBus(path)
    bus.wait(0)  # what was written before has been seen
    other.publish("t", "a", b"")
    bus.wait(3600)  # longer than a test may take
    other.send("q", "a", b"")
    bus.wait(3600)
    other.close()


def test_many_may_open_a_new_bus_at_once(tmp_path) -> None:
    def opened(path: Path, together: Barrier) -> int:
        together.wait()
        bus = SqliteBus(path)
        bus.publish("log", "key", b"x")
        bus.close()
        return 1

    with ThreadPoolExecutor(4) as pool:
        for number in range(100):  # without patience one in ten fails
            together = Barrier(4)
            path = tmp_path / f"{number}.sqlite"
            assert sum(pool.map(opened, [path] * 4, [together] * 4)) == 4
