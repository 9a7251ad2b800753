"""A worker that is the first process of its container, and is started again there."""

from pathlib import Path

from fibstream.runtime.main import reclaim_own

from .serving import QUEUE, SharedRoot


def test_a_task_that_kills_its_container_is_counted_and_another_pods_is_not(
    tmp_path: Path,
) -> None:
    root = SharedRoot(str(tmp_path))
    for name in ("poison", "other"):
        root.only.send(QUEUE, name, b"task")
    owner = "pod-a:1"
    for crashes in range(3):
        taken = root.only.take(QUEUE, owner, 30.0)
        assert taken is not None
        assert (taken.key, taken.crashes) == ("poison", crashes)
        if not crashes:
            assert root.only.take(QUEUE, "pod-b:1", 30.0) is not None
        reclaim_own(root, owner)
    last = root.only.take(QUEUE, "pod-c:1", 30.0)
    assert last is not None
    assert (last.key, last.crashes) == ("poison", 3)
    assert root.only.take(QUEUE, "pod-c:1", 30.0) is None  # the other's is still its own
