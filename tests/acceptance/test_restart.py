"""Kill anything at any moment: the result is the same, and nobody is left behind."""

import os
import signal
from collections import Counter
from pathlib import Path

from fibstream.bus.sqlite import SqliteBus
from fibstream.runtime.root import bus_path

from ..support.command import Answer, finish, start
from ..support.processes import holders, kill, records, services, wait_for
from ..support.services import rerun

LAST = {"ingest": "pyramid", "inference": "prediction", "refine": "labels", "analysis": "measures"}
# Of the services that own a stage of the sample's pipeline: a run starts no other.
ROLES = {"landing", *(f"{name} {role}" for name in LAST for role in ("plan", "work"))}
SMALL = ("--chunk", "16,16,16")  # 36 chunks: there is a middle


def in_the_middle(out: Path, bus: SqliteBus) -> set[int]:
    """Return the processes that are in the middle of their work now."""
    stages = Counter(r.stage.partition("/")[0] for r in records(out) if r.status == "ready")
    busy = holders(bus)
    return {
        process
        for process, role in services(out).items()
        if (role == "landing" and stages["raw"])
        or process in busy
        or (role.endswith("plan") and stages[LAST[role.split()[0]]])
    }


def kill_each_role_once(out: Path) -> None:
    """Kill one process of every role while it works; the runner starts it again."""
    wait_for(lambda: bus_path(out).is_file() and services(out), "a first process")
    bus, left = SqliteBus(bus_path(out)), set(ROLES)

    def all_killed() -> bool:
        for process in in_the_middle(out, bus):
            role = services(out).get(process)
            if role in left:
                kill(process)
                left.discard(role)
        return not left

    wait_for(all_killed, "each role killed")
    bus.close()


def test_each_process_may_be_killed(scene, truth, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    run = start(*scene.run(out, *SMALL, "--order", "random", "--seed", "6", "--workers", "2"))
    kill_each_role_once(out)
    assert run.poll() is None
    answer = finish(run)
    assert (answer.code, answer.hashes) == (0, truth), answer.err
    assert not services(out)
    report, computed = rerun(out, scene.raw)
    assert (report.labels_hash, report.tables_hash) == truth
    assert (report.chunks_computed, computed) == (0, set())


def stopped_at(out: Path, count: int, arguments: list[object], *, group: bool) -> Answer:
    """Kill a run, or all its processes, when ``count`` stage outputs are recorded."""
    run = start(*arguments)
    wait_for(lambda: len(records(out)) >= count, f"{count} records", run)
    assert run.poll() is None
    if group:
        os.killpg(run.pid, signal.SIGKILL)
    else:
        kill(run.pid)
    answer = finish(run)
    wait_for(lambda: not services(out), "the end of all services")
    return answer


def test_a_killed_run_leaves_nobody_and_goes_on_when_called_again(scene, truth, tmp_path) -> None:
    out = tmp_path / "a.zarr"
    arguments = scene.run(out, *SMALL)
    assert stopped_at(out, 45, arguments, group=False).code == -signal.SIGKILL
    assert stopped_at(out, 150, arguments, group=True).code == -signal.SIGKILL
    answer = finish(start(*arguments))
    assert (answer.code, answer.hashes) == (0, truth), answer.err
    assert answer.report["chunks_reused"] > 0
    assert not services(out)
