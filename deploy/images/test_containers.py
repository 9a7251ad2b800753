"""The images as they run, alone and on Apache Kafka: ``make test-images``; no ordinary tests."""

import contextlib
import json
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import tifffile

from deploy.images.build import COMMAND, ROOT
from deploy.images.containers import USER, Containers, runner, words
from deploy.manifests import tag
from fibstream import registry
from fibstream.app.hashes import hashes
from fibstream.bus.kafka.declare import declare
from fibstream.core.errors import Retryable
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from tests.inference.net import write_net
from tests.integration.conftest import CHUNKS, create, land_all, truth_of
from tests.support import broker as kafka
from tests.support.cluster import eventually
from tests.support.command import PROGRAM
from tests.support.scene import GEOMETRY, Scene, bright_but_slow, make_scene, save

pytestmark = pytest.mark.timeout(1800)
Start = Callable[..., Containers]
INSIDE = Path(__file__).with_name("inside.py")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    """The scene, with a network that takes long enough to be interrupted."""
    made = make_scene(tmp_path_factory.mktemp("scene"))
    write_net(made.model, body=bright_but_slow, channels=1, **GEOMETRY)
    return made


@pytest.fixture(scope="module", params=["sqlite", "kafka"])
def bus(request: pytest.FixtureRequest) -> Iterator[str | None]:
    """Yield where services meet: in files below the root, or at a broker."""
    if request.param == "sqlite":
        yield None
        return
    reason = kafka.missing()
    assert reason is None, reason
    with kafka.running() as one:
        eventually(lambda: declared(one.servers), "the topics declared")
        kafka.warm(one.servers)
        yield f"kafka://{one.servers}"


def declared(servers: str) -> bool:
    """Declare the topics; return whether the broker, which is new, took them."""
    try:
        declare(servers)
    except Retryable:
        return False
    return True


@pytest.fixture
def start(tmp_path: Path, scene: Scene) -> Iterator[Start]:
    """Return what makes services below one root, with the scene's network."""
    with contextlib.ExitStack() as stack:

        def begin(bus: str | None = None) -> Containers:
            made = Containers(tmp_path, bus)
            stack.callback(made.close)
            (made.root / "models").mkdir(exist_ok=True)
            (made.root / "models" / "bright.onnx").write_bytes(scene.model.read_bytes())
            return made

        yield begin


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Print how long something took."""
    began = time.monotonic()
    yield
    print(f"{what}: {time.monotonic() - began:.1f} s")


def test_a_volume_through_containers_gives_the_whole_volumes_hashes(start, scene, bus) -> None:
    cluster = start(bus)
    for name in registry.names():
        with timed(f"\n{name}, from nothing to ready"):
            cluster.start(name)
    with cluster.client() as client, timed(f"{CHUNKS} chunks through all stages"):
        create(client, "cell")
        assert land_all(client, "cell", scene) == {"written": CHUNKS}
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == truth_of(cluster, "cell")
    for name in registry.names():
        harmless(cluster, name)
    with timed("SIGTERM to the end of all, idle"):
        assert set(cluster.stop().values()) == {0}


def harmless(cluster: Containers, name: str) -> None:
    """Check that a container is nobody, can write and gain nothing, and compiled nothing."""
    ended = cluster.inside(name, "python3", "-c", INSIDE.read_text(), cluster.addresses[name])
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found["user"] == [USER, USER]
    assert set(found["written"].values()) == {"EROFS"}, found["written"]
    assert found["status"] == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}
    assert found["programs"] == []
    assert not found["pip"]
    assert found["healthy"] == {cluster.addresses[name]: 0, "127.0.0.1:1": 1}
    assert found["compiled"] == []  # what is called came with the image
    print(f"{name}: {found['resident_mb']:.0f} MB resident in all its processes")


def test_containers_that_are_told_to_end_or_killed_lose_nothing(start, scene, bus) -> None:
    cluster = start(bus).start()
    with cluster.client() as client:
        create(client, "cell")
        land_all(client, "cell", scene)
        eventually(lambda: predicted(cluster), "something predicted")
    with timed("\nSIGTERM to the end of all, in the middle of a volume"):
        assert cluster.stop() == dict.fromkeys(registry.names(), 0)
    before = predicted(cluster)
    assert before < CHUNKS  # else nothing was interrupted
    with timed("all started again"):
        cluster.start()
    eventually(lambda: predicted(cluster) > before, "more predicted")
    cluster.kill("inference")
    before = predicted(cluster)
    assert before < CHUNKS
    with timed("inference killed and started again, to the next prediction"):
        cluster.start("inference")
        eventually(lambda: predicted(cluster) > before, "more predicted")
    with cluster.client() as client, timed("the rest of the volume"):
        assert client.wait("cell").failed_count == 0
    assert cluster.hashes("cell") == truth_of(cluster, "cell")


def predicted(cluster: Containers) -> int:
    """Return how many chunks of a volume have predictions."""
    folders = (cluster.root / "cell.zarr" / "predictions").glob("*/s0/c")
    return sum(path.is_file() for folder in folders for path in folder.rglob("*"))


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    """A piece of the sample, in a folder that a container may read."""
    folder = tmp_path / "acquisition"
    folder.mkdir(mode=0o755)
    piece = tifffile.imread(ROOT / "samples" / "flyem_medulla.tif")[30:78, 96:160, 120:184]
    path = save(folder / "piece.npz", piece, 10.0)
    path.chmod(0o644)
    return path


def test_a_first_volume_by_the_command_is_what_a_local_run_gives(start, sample, tmp_path) -> None:
    """Create, land, wait and query, each in a container of the command; without a broker."""
    cluster = start().start()

    def command(*line: str) -> str:
        shared = f"--volume={sample.parent}:/acquisition:ro"
        given = words("--network=host", shared, tag(COMMAND), *line)
        ended = subprocess.run(given, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    there = ("--server", cluster.server)
    command("create", "cell", "--shape", "48,64,64", "--voxel-size-nm", "10",
            "--chunk", "32,48,48", "--pipeline", "mito", *there)  # fmt: skip
    with timed("\na piece of the sample, with the network that is released"):
        command("land", "cell", "--raw", "/acquisition/piece.npz", "--seal", "--wait", *there)
    assert json.loads(command("status", "cell", "--json", *there))["complete"]
    table = command("query", "SELECT count(*) AS found FROM mito", "--dataset", "cell", *there)
    assert int(table.split()[-1]) > 0
    out = tmp_path / "local.zarr"
    line = [PROGRAM, "run", "--raw", str(sample), "--pipeline", "mito", "--out", str(out),
            "--chunk", "48,64,64", "--backend", "onnxruntime"]  # fmt: skip
    subprocess.run(line, check=True, capture_output=True)
    assert cluster.hashes("cell") == hashes(out, read_dataset(LocalFiles(out)))
    assert cluster.stop() == dict.fromkeys(registry.names(), 0)


def test_the_command_is_of_the_version_that_it_is_tagged_with() -> None:
    ended = subprocess.run(
        words(tag(COMMAND), "--version"), capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.split()[-1] == tag(COMMAND).rpartition(":")[2]


@pytest.fixture(scope="module", autouse=True)
def sizes() -> None:
    """Print how large each image is."""
    print()
    for name in (*registry.names(), COMMAND):
        given = [runner(), "image", "inspect", "--format", "{{.Size}}", tag(name)]
        ended = subprocess.run(given, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, f"{tag(name)}: expected what `make images` builds"
        print(f"{tag(name)}: {int(ended.stdout) / 1e6:.0f} MB")
