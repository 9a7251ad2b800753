"""A microscope writes slices into a folder, `fibstream watch` lands them, Prometheus looks on."""

import threading
import time
import urllib.request

import tifffile
from prometheus_client.parser import text_string_to_metric_families

from ..support.command import finish
from ..support.command import start as begin
from ..support.patience import PATIENCE_S, eventually
from ..support.programs import free_ports
from ..support.scene import SHAPE, blobs
from .conftest import CHUNKS, create, truth_of

PAUSE_S = 0.05  # between two slices: the microscope is slower, a test need not be


def mill(folder) -> None:
    """Write one slice after the other, then the file that says that all is done."""
    for number, grey in enumerate(blobs()):
        tifffile.imwrite(folder / f"slice_{number:04}.tif", grey)
        time.sleep(PAUSE_S)
    (folder / "finished.txt").write_text("done")


def numbers(port: int) -> dict[tuple[str, str], float]:
    """Return every sample of one process by name and outcome."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=PATIENCE_S) as answer:
        families = text_string_to_metric_families(answer.read().decode())
        return {(s.name, s.labels.get("outcome", "")): s.value for f in families for s in f.samples}


def test_slices_that_arrive_become_the_whole_volumes_objects(start, tmp_path) -> None:
    (port,) = free_ports(1)
    cluster = start(None)
    cluster.stop()
    cluster.start("inference", "refine", "analysis")
    cluster.more = ("--metrics", f"127.0.0.1:{port}")
    cluster.start("ingest")
    folder = tmp_path / "slices"
    folder.mkdir()
    with cluster.client() as client:
        create(client, "live", z=None)
        threading.Thread(target=mill, args=(folder,), daemon=True).start()
        watcher = begin(
            "watch", folder, "--dataset", "live", "--end-file", "finished.txt", "--server",
            cluster.server, "--stable-s", "0.5", "--poll-s", "0.1",
        )  # fmt: skip
        answer = finish(watcher)
        assert answer.code == 0, answer.err
        assert client.info("live").shape == SHAPE
        assert client.wait("live").failed_count == 0
        assert numbers(port)["fibstream_landed_chunks_total", "written"] == CHUNKS
        worker = numbers(port + 2)
        assert worker["fibstream_tasks_total", "computed"] == CHUNKS
        eventually(
            lambda: numbers(port + 1).get(("fibstream_queue_tasks", "")) == 0, "no task left"
        )
    assert cluster.hashes("live") == truth_of(cluster, "live")
