"""Call Register: what a client asks for is found as the command finds it, once, and kept."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

from fibstream import registry
from fibstream.cli.registering import Asked as Flags
from fibstream.cli.registering import register_light
from fibstream.client import Client
from fibstream.core.arrays import encode_arrays
from fibstream.core.dataset import RECORD, Dataset, Prediction
from fibstream.core.errors import (
    AlreadyExists,
    LimitExceeded,
    NotFound,
    Retryable,
    WrongState,
    WrongUse,
)
from fibstream.core.keys import canonical, digest
from fibstream.core.stage import Output, OwnedArray
from fibstream.core.subject import WHOLE
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.registration.answer import Answer, none_yet, to_arrays
from fibstream.services.registration.edges import images, lights, requested
from fibstream.services.registration.edges.jobs import MAX_JOBS, Job, Jobs
from fibstream.services.registration.edges.stored import look
from fibstream.services.registration.port import Judgement, Registration
from fibstream.services.registration.transform import Transform
from fibstream.store import ngff as documents
from fibstream.store.shard import Stamp, encode_blob
from fibstream.store.store import Store

from ..support.light import KEPT, registration_of
from .made import EM_NM, LIGHT_NM, made
from .test_images import ngff

pytestmark = pytest.mark.timeout(600)  # the first to run may wait for the compiler
JUDGEMENT = Judgement("check", ("why",), 0.5, 0.1, 0.6, 70, 81.5, 0.0)
FOUND = Registration(
    Transform(np.eye(3) * 2, np.zeros(3)), JUDGEMENT, Transform(np.eye(3), np.zeros(3)),
    np.zeros((1, 3)), np.zeros((1, 3)),
)  # fmt: skip


def cell(**more: Any) -> Dataset:
    z, y, x = made().em.voxels.shape
    given = {
        "name": "cell", "incarnation": "one", "shape": (z, y, x), "chunk": (16, 32, 32),
        "dtype": "uint8", "voxel_size_nm": EM_NM, "contrast": (0, 255),
        "predictions": (Prediction(name="mm"), Prediction(name="er")),
    }  # fmt: skip
    return Dataset.model_validate(given | more)


def put_dataset(root: Root, dataset: Dataset) -> None:
    """Write a dataset as services do: its record, and all chunks of the prediction `mm`."""
    root.make(dataset.name)
    files = root.files(dataset.name)
    output = Output("predictions/mm", "uint8", "mean")
    for path, document in documents.documents(dataset, [OwnedArray(output)]).items():
        files.put(path, canonical(document))
    store = Store(files, dataset.grid)
    for index in dataset.grid.indices():
        voxels = made().em.voxels[dataset.grid.box(index).slices()]
        for blob, data, _ in store.encode(output, voxels, Stamp("stored/mm", index, "k", "")):
            files.put(blob.path, data)
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    root.enter(dataset.name)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a root, and beside it what a client may name, and what it may not."""
    folder = tmp_path_factory.mktemp("scene")
    (folder / "source").mkdir()
    place = tuple(edge / 2 for edge in LIGHT_NM)
    for path in ("source/sim.zarr", "secret.zarr"):
        ngff(folder / path, made().light.voxels, size=LIGHT_NM, place=place)
    np.save(folder / "source/bare.npy", np.arange(512, dtype=np.uint16).reshape(8, 8, 8))
    ngff(folder / "source/flat.zarr", np.ones((8, 8, 8), np.uint16), size=LIGHT_NM)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Root]:
    with contextlib.closing(Root(str(tmp_path))) as root:
        put_dataset(root, cell())
        yield root


@pytest.fixture
def client(root: Root, scene: Path) -> Iterator[Client]:
    with serving(root, str(scene / "source")) as client:
        yield client


@contextlib.contextmanager
def serving(root: Root, *sources: str) -> Iterator[Client]:
    context = ServicerContext(root, Settings.model_validate({}), sources)
    binding = registry.service("registration").servicer(context)
    server = GrpcServer("127.0.0.1:0", [binding])
    server.open()
    with Client(f"registration=127.0.0.1:{server.port}", patience_s=0) as made:
        yield made
    getattr(binding.servicer, "close")()  # noqa: B009
    server.close(grace_s=0)


class Held:
    """Stands for the computing of registrations: counts them, and waits until it may go on."""

    def __init__(self) -> None:
        self.begun, self.go, self.count = threading.Semaphore(0), threading.Semaphore(0), 0
        self.answers: list[Answer | Exception] = []

    def __call__(self, *_: Any) -> Answer:
        self.count += 1
        self.begun.release()
        assert self.go.acquire(timeout=60)
        found = self.answers.pop(0) if self.answers else Answer(JUDGEMENT, FOUND, 1.0)
        if isinstance(found, Exception):
            raise found
        return found


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Held:
    held = Held()
    monkeypatch.setattr(requested, "computed", held)
    return held


def until(client: Client, name: str, *statuses: str) -> Any:
    """Return the registration once it has one of these states."""
    for found in client.watch_registration("cell", name):
        if found.status in statuses:
            return found
    raise AssertionError("the stream ended")


def test_what_it_finds_is_what_the_command_finds_to_the_bit(
    root: Root, client: Client, scene: Path
) -> None:
    light = str(scene / "source/sim.zarr")
    assert client.register("cell", light, "mm") == "sim"
    assert until(client, "sim", "registered", "check").status == "registered"
    stored = look(root.files("cell"), "sim")
    assert stored is not None and stored.answer is not None
    mine = stored.answer.found
    assert mine is not None
    flags = Flags(light, f"{root.url_of('cell')}#predictions/mm", scene / "apart.zarr")
    alone = register_light(flags).found
    assert mine.judgement == alone.judgement
    points = np.random.default_rng(1).uniform(0, 3000, (50, 3))
    expected = alone.transform.to_light(points)
    assert np.array_equal(client.transform("cell", "sim", points), expected, equal_nan=True)
    shape = made().em.voxels.shape
    box = client.warp("cell", "sim", (0, 0, 0), shape)
    whole = np.asarray(zarr.open_array(scene / "apart.zarr/lm/sim/s0", mode="r"))
    assert np.array_equal(box.voxels, whole) and whole.any()
    report = client.registrations("cell")["sim"]
    assert report["prediction"] == "mm" and report["landed"] == 1.0
    assert (scene / "apart.zarr/registration/sim/report.json").is_file()


def test_the_same_request_is_one_registration(client: Client, scene: Path, held: Held) -> None:
    light = str(scene / "source/sim.zarr")
    assert client.register("cell", light, "mm") == "sim"
    assert held.begun.acquire(timeout=60)
    assert client.registrations("cell")["sim"]["judgement"]["status"] == "registering"
    assert client.register("cell", light, "mm") == "sim"
    with pytest.raises(AlreadyExists, match="another one of that name is under way"):
        client.register("cell", light, "mm", microscope="palm")
    client.register("cell", light, "mm", name="later", microscope="palm")
    assert until(client, "later", "waiting").status == "waiting"
    with pytest.raises(NotFound, match="registration 'sim': cell has none"):
        client.transform("cell", "sim", [[0.0, 0.0, 0.0]])
    held.go.release(2)
    assert until(client, "sim", "check").error_nm == 81.5
    assert until(client, "later", "check").reasons == ["why"]
    assert client.register("cell", light, "mm") == "sim"  # is there: nothing is computed
    with pytest.raises(AlreadyExists, match="is there, with other settings; replace"):
        client.register("cell", light, "mm", window=(60, 130))
    assert held.count == 2
    held.answers = [none_yet("light: flat", 1.0)]
    held.go.release()
    client.register("cell", light, "mm", window=(60, 130), replace=True)
    assert until(client, "sim", "unregistered").reasons == ["light: flat"]
    assert held.count == 3


def test_one_that_failed_says_why_and_may_be_asked_for_again(
    client: Client, scene: Path, held: Held
) -> None:
    light = str(scene / "source/sim.zarr")
    held.answers = [Retryable("the store is away"), ValueError("a bug")]
    for says in ("the store is away", "internal error; the server's log says more"):
        client.register("cell", light, "mm")
        assert held.begun.acquire(timeout=60)
        held.go.release()
        assert until(client, "sim", "failed").reasons == [says]
    client.register("cell", light, "mm")
    held.go.release()
    assert until(client, "sim", "check").status == "check"


def test_a_dataset_that_is_made_anew_gets_nothing_of_an_earlier_one(
    root: Root, client: Client, scene: Path, held: Held
) -> None:
    client.register("cell", str(scene / "source/sim.zarr"), "mm")
    assert held.begun.acquire(timeout=60)
    root.remove("cell")
    put_dataset(root, cell(incarnation="two"))
    assert client.registrations("cell") == {}
    held.go.release()
    client.register("cell", str(scene / "source/sim.zarr"), "mm", name="two")
    assert held.begun.acquire(timeout=60)  # so the first has ended
    assert list(client.registrations("cell")) == ["two"]
    held.go.release()
    assert until(client, "two", "check").status == "check"


def test_names_of_others_are_not_taken(
    root: Root, client: Client, scene: Path, held: Held, tmp_path: Path
) -> None:
    light = str(scene / "source/sim.zarr")
    with_one = cell(name="piped", steps={"registration": (registration_of("mm"),)})
    put_dataset(root, with_one)
    for path, data in KEPT.items():
        root.files("piped").put(path, data)
    for name in ("sim", "SIM"):
        with pytest.raises(AlreadyExists, match="the dataset's pipeline has one of that name"):
            client.register("piped", light, "mm", name=name, replace=True)
    place = tmp_path / "cell.zarr/registration/hand"
    place.mkdir(parents=True)
    report = '{"judgement": {"status": "check", "reasons": [], "error_nm": 1}}'
    (place / "report.json").write_text(report)
    with pytest.raises(AlreadyExists, match="is there, and no call made it"):
        client.register("cell", light, "mm", name="hand", replace=True)
    body = encode_arrays(to_arrays(none_yet("searching", 0.1)))
    stamp = Stamp("registration/old", WHOLE, "key", digest(body))
    root.files("cell").put("summaries/registration/old", encode_blob(body, stamp))
    with pytest.raises(AlreadyExists, match="is there, and no call made it"):
        client.register("cell", light, "mm", name="old", replace=True)
    assert held.count == 0


Refusal = tuple[dict[str, Any], type[Exception], str]
REFUSED: list[Refusal] = [
    ({"light": "{scene}/secret.zarr"}, WrongUse, "outside the server's source roots"),
    ({"light": "/etc/passwd"}, WrongUse, "outside the server's source roots"),
    ({"light": "{scene}/source/none.zarr"}, NotFound, "no such file or folder"),
    ({"light": "{scene}/source/bare.npy"}, WrongUse, "voxel size"),
    ({"light": "{scene}/source/flat.zarr"}, WrongUse, "flat, every voxel is 1"),
    ({"light": ""}, WrongUse, "light: "),
    ({"prediction": "mito"}, NotFound, "prediction 'mito': cell has mm, er"),
    ({"prediction": ""}, NotFound, "prediction '': cell has mm, er"),
    ({"prediction": "er"}, WrongState, "prediction er: "),
    ({"dataset": "other"}, NotFound, "not found"),
    ({"name": "../x"}, WrongUse, "name: name '../x'"),
    ({"microscope": "sem"}, WrongUse, "microscope 'sem': expected palm"),
    ({"window": (9.0, 3.0)}, WrongUse, "window "),
    ({"window": (9.0, 300.0)}, WrongUse, "window"),
    ({"light_voxel_nm": (0.0, 1.0, 1.0)}, WrongUse, "light_voxel_nm"),
]  # fmt: skip


@pytest.mark.parametrize(("changes", "kind", "says"), REFUSED)
def test_what_cannot_be_registered_is_refused_in_one_line(
    root: Root, client: Client, scene: Path, held: Held, changes: Any, kind: Any, says: str
) -> None:
    given: dict[str, Any] = {"dataset": "cell", "light": "{scene}/source/sim.zarr"}
    given |= {"prediction": "mm"} | changes
    given["light"] = given["light"].format(scene=scene)
    before = sorted(root.files("cell").list(""))
    with pytest.raises(kind) as caught:
        client.register(given.pop("dataset"), given.pop("light"), given.pop("prediction"), **given)
    assert says in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(root.files("cell").list("")) == before and held.count == 0


def test_a_prediction_must_be_finished(root: Root, client: Client, scene: Path) -> None:
    light = str(scene / "source/sim.zarr")
    files = root.files("cell")
    files.delete("predictions/mm/s0/c/0/1/0")
    with pytest.raises(WrongState, match="prediction mm: 1 of 18 chunks are not there yet"):
        client.register("cell", light, "mm")
    growing = cell().model_copy(update={"shape": (None, 71, 71)})
    files.put(RECORD, canonical(growing.model_dump(mode="json")))
    with pytest.raises(WrongState, match="dataset cell: z is open; seal it first"):
        client.register("cell", light, "mm")


def test_a_light_image_that_is_too_large_is_refused_before_it_is_read(
    client: Client, scene: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lights, "MAX_BYTES", 1000)
    monkeypatch.setattr(images, "_image", None)  # reads
    with pytest.raises(LimitExceeded, match=r"light of 0\.00 GB; a dataset keeps"):
        client.register("cell", str(scene / "source/sim.zarr"), "mm")


def test_without_sources_nothing_can_be_named(root: Root, scene: Path) -> None:
    with serving(root) as client, pytest.raises(WrongUse, match=r"source roots \(none\)"):
        client.register("cell", str(scene / "source/sim.zarr"), "mm")


def test_too_much_is_refused(
    root: Root, client: Client, scene: Path, held: Held, monkeypatch: pytest.MonkeyPatch
) -> None:
    light = str(scene / "source/sim.zarr")
    monkeypatch.setattr(requested, "MAX_LIGHTS", 0)
    with pytest.raises(LimitExceeded, match="a dataset keeps at most 0"):
        client.register("cell", light, "mm")
    monkeypatch.setattr(requested, "MAX_LIGHTS", 1)
    for number in range(MAX_JOBS):
        client.register("cell", light, "mm", name=f"n{number}")
    with pytest.raises(LimitExceeded, match="8 registrations are under way"):
        client.register("cell", light, "mm", name="more")
    held.go.release(MAX_JOBS)
    for number in range(MAX_JOBS):
        assert until(client, f"n{number}", "check").status == "check"
    assert held.count == MAX_JOBS
    monkeypatch.setattr(requested, "MAX_VOXELS", 1000)
    with pytest.raises(LimitExceeded, match="at most 1000 in a call: let the pipeline register"):
        client.register("cell", light, "mm", name="more")


def test_jobs_run_one_at_a_time_in_their_order_and_no_further_after_a_close() -> None:
    order: list[str] = []
    done, go = threading.Semaphore(0), threading.Semaphore(0)
    running: list[int] = []

    def run(job: Job) -> None:
        running.append(1)
        assert len(running) == 1
        order.append(job.where[2])
        done.release()
        assert go.acquire(timeout=60)
        running.pop()

    jobs = Jobs(run)
    planned: Any = None
    for name in ("a", "b", "c"):
        jobs.start(Job(("cell", "one", name), planned, "k", ()))
    assert done.acquire(timeout=60)
    states = [(state.job.where[2], state.status) for state in jobs.of("cell", "one")]
    assert states == [("a", "registering"), ("b", "waiting"), ("c", "waiting")]
    assert jobs.of("cell", "two") == []
    go.release()
    assert done.acquire(timeout=60)
    jobs.close()
    go.release()
    thread: Callable[..., Any] = jobs._thread.join  # type: ignore[union-attr]
    thread(timeout=60)
    assert order == ["a", "b"]
