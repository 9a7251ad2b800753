"""Call Warp: boxes of a warped light image are those of the whole, whoever registered it."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from fibstream import registry
from fibstream.cli.registered import write_light
from fibstream.client import Client
from fibstream.core.arrays import encode_arrays
from fibstream.core.dataset import RECORD, Dataset, Prediction
from fibstream.core.errors import (
    Damaged,
    LimitExceeded,
    NotFound,
    OutOfRange,
    WrongState,
    WrongUse,
)
from fibstream.core.grid import Box
from fibstream.core.keys import canonical, content_hash, digest
from fibstream.core.pyramid import MAX_LEVELS, levels
from fibstream.core.subject import WHOLE
from fibstream.runtime.grpc import GrpcServer
from fibstream.runtime.root import Root
from fibstream.runtime.service import ServicerContext
from fibstream.runtime.settings import Settings
from fibstream.services.registration import boxes
from fibstream.services.registration.answer import Answer, none_yet, to_arrays
from fibstream.services.registration.coarse import coarse_of, factors_of, halvings_of
from fibstream.services.registration.edges.images import corner_nm
from fibstream.services.registration.planned import Light, Planned
from fibstream.services.registration.port import Image, Judgement, Registration
from fibstream.services.registration.stages.registrations import specimen_corner
from fibstream.services.registration.transform import Spline, Transform
from fibstream.store.shard import Stamp, encode_blob
from fibstream.v1 import registration_pb2 as pb
from fibstream.v1.chunk_pb2 import Index3
from fibstream.volumes.downsampled import moved
from fibstream.volumes.positions import Position

from ..support.fuzzing import Context

pytestmark = pytest.mark.timeout(600)  # the first to run may wait for the compiler
RNG = np.random.default_rng(11)
VOXELS = np.asarray(RNG.integers(0, 4000, (40, 150, 160)), np.uint16)
LIGHT = Light(
    file="sim.tif", hash=content_hash(VOXELS), shape=(40, 150, 160), dtype="uint16",
    voxel_nm=(125.0, 62.0, 60.0), corner_nm=(3.0, -20.0, 10.0),
)  # fmt: skip
PLANNED = Planned(
    name="sim", source="mm", light=LIGHT, psf_nm=(400.0, 120.0), smooth_nm=0.0, window=(64, 134)
)  # fmt: skip
CELL = Dataset(
    name="cell", shape=(279, 557, 600), chunk=(32, 64, 64), dtype="uint8",
    voxel_size_nm=(16, 16, 16), offset_nm=(640.3, 64.1, -1000.7), contrast=(0, 255),
    predictions=(Prediction(name="mm"),),
    steps={"registration": (PLANNED.model_dump(mode="json"),)},
)  # fmt: skip
WHOLE_SHAPE = (70, 140, 150)  # of 64 nm: four of the dataset's voxels each
JUDGEMENT = Judgement("registered", (), 0.6, 0.2, 0.9, 90, 50.0, 0.0)


def transform() -> Transform:
    """A turned map whose domain ends inside the specimen, into a light image that does so too."""
    rng = np.random.default_rng(2)
    spline = Spline(
        rng.normal(0, 150, (6, 8, 8, 3)), np.array([-1500.0, -1900.0, -2500.0]),
        np.array([1500.0, 1500.0, 1500.0]),
    )  # fmt: skip
    c, s = np.cos(0.6), np.sin(0.6)
    turn = np.array([[1.02, 0.0, 0.01], [0.0, c, -s], [0.02, s, c]])
    return Transform(turn, np.array([-300.0, 2500.0, -900.0]), spline)


def answer(status: Any = "registered", light: str = LIGHT.hash) -> Answer:
    judged = Judgement(status, (), 0.6, 0.2, 0.9, 90, 50.0, 0.0)
    found = Registration(transform(), judged, transform(), np.zeros((1, 3)), np.zeros((1, 3)))
    return Answer(judged, found, 1.0, light=light)


def put_answer(root: Root, name: str, given: Answer) -> None:
    body = encode_arrays(to_arrays(given))
    stamp = Stamp("registration/sim", WHOLE, "key", digest(body))
    root.files(name).put("summaries/registration/sim", encode_blob(body, stamp))


def put_dataset(root: Root, dataset: Dataset) -> None:
    root.make(dataset.name)
    root.files(dataset.name).put(RECORD, canonical(dataset.model_dump(mode="json")))
    root.enter(dataset.name)
    light = encode_arrays({"light": VOXELS})
    root.files(dataset.name).put(LIGHT.path, light)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `lm/sim` as the command writes it, and all its levels."""
    scratch = tmp_path_factory.mktemp("whole")
    voxel = coarse_of(CELL.voxel_size_nm, CELL.chunk).voxel_nm
    em = Image(np.zeros(WHOLE_SHAPE, np.uint8), voxel, specimen_corner(CELL))
    write_light(
        scratch, "lm/sim", transform(), (em, Image(VOXELS, LIGHT.voxel_nm, LIGHT.corner_nm))
    )
    return scratch / "lm"


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    """A root with three datasets: of the stage, the same while z is open, of the command."""
    root = Root(str(tmp_path))
    for name, shape in (("cell", CELL.shape), ("open", (None, 557, 600))):
        put_dataset(root, CELL.model_copy(update={"name": name, "shape": shape}))
        put_answer(root, name, answer())
    put_dataset(root, CELL.model_copy(update={"name": "cmd", "steps": {}}))
    shutil.copytree(whole, tmp_path / "cmd.zarr/lm")
    place = tmp_path / "cmd.zarr/registration/sim"
    place.mkdir(parents=True)
    (place / "report.json").write_text(json.dumps(report()))
    return tmp_path


def report(status: str = "registered", error_nm: float = 50.0) -> dict[str, Any]:
    em = {
        "shape": WHOLE_SHAPE, "voxel_nm": coarse_of(CELL.voxel_size_nm, CELL.chunk).voxel_nm,
        "corner_nm": specimen_corner(CELL),
    }  # fmt: skip
    judgement = {"status": status, "reasons": [], "error_nm": error_nm}
    return {"name": "sim", "judgement": judgement, "em": em}


def servicer_of(folder: Path) -> Any:
    context = ServicerContext(Root(str(folder)), Settings.model_validate({}))
    return registry.service("registration").servicer(context)


@pytest.fixture
def client(folder: Path) -> Iterator[Client]:
    binding = servicer_of(folder)
    server = GrpcServer("127.0.0.1:0", [binding])
    server.open()
    with Client(f"registration=127.0.0.1:{server.port}", patience_s=0) as made:
        yield made
    binding.servicer.close()
    server.close(grace_s=0)


EDGES = st.tuples(*[st.integers(1, 45)] * 3)


@given(EDGES, st.integers(0, MAX_LEVELS - 1), st.data())
def test_slabs_are_the_box_of_the_level_of_the_whole(shape: Any, level: int, data: Any) -> None:
    image = np.random.default_rng(1).integers(0, 4000, shape, np.uint16)
    expected = levels(image, "mean", level + 1)[-1]
    origin = tuple(data.draw(st.integers(0, n - 1)) for n in expected.shape)
    size = [data.draw(st.integers(1, n - a)) for n, a in zip(expected.shape, origin, strict=True)]
    read: list[Box] = []

    def part(box: Box) -> np.ndarray:
        read.append(box)
        return image[box.slices()]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boxes, "CHUNK", (8, 16, 32))
        box = boxes.checked(origin, tuple(size), level, shape)
        found = np.concatenate(list(boxes.slabs(part, shape, box, level)))
    assert np.array_equal(found, expected[box.slices()])
    assert sum(np.prod(b.shape) for b in read) <= np.prod(size) << 3 * level


PLACES = st.tuples(*[st.integers(-(10**7), 10**7).map(lambda n: n / 100)] * 3)
SIZES = st.tuples(*[st.integers(100, 12_000).map(lambda n: n / 100)] * 3)


@given(PLACES, SIZES)
def test_the_grid_is_that_which_the_command_reads_wherever_a_volume_lies(
    place: Any, size: Any
) -> None:
    """It moves the place of the first voxel with each level, which rounds each time."""
    at: Any = tuple(p / s for p, s in zip(place, size, strict=True))
    position, voxel = Position(at), size
    for factors in [(2, 2, 2)] * halvings_of(size):
        position, voxel = moved(position, factors), tuple(2 * v for v in voxel)
    factors = factors_of(voxel)
    position = moved(position, factors)
    voxel = tuple(v * f for v, f in zip(voxel, factors, strict=True))
    read: Any = SimpleNamespace(name="x", position=position, voxel_size_nm=voxel)
    dataset = CELL.model_copy(update={"voxel_size_nm": size, "offset_nm": place})
    assert corner_nm(read) == specimen_corner(dataset)
    assert voxel == coarse_of(size, (8, 8, 8)).voxel_nm


def test_every_box_is_that_of_the_whole_to_the_bit(client: Client, whole: Path) -> None:
    stored = [zarr.open_array(path, mode="r") for path in sorted((whole / "sim").glob("s*"))]
    every = [np.asarray(array) for array in stored]
    assert len(every) == 4 and every[0].shape == WHOLE_SHAPE
    assert 0.2 < (every[0] > 0).mean() < 0.95  # both ends are seen
    rng = np.random.default_rng(3)
    for number in range(16):
        level = number % 4
        ends = np.array(every[level].shape)
        origin = rng.integers(0, ends)
        size = rng.integers(1, ends - origin + 1)
        if number < 4:
            origin, size = ends * 0, ends
        wanted = every[level][tuple(slice(a, a + n) for a, n in zip(origin, size, strict=True))]
        for dataset in ("cell", "cmd"):
            box = client.warp(dataset, "sim", tuple(origin), tuple(size), level=level)
            assert box.voxels.dtype == wanted.dtype
            assert np.array_equal(box.voxels, wanted), (dataset, origin, size, level)
            assert box.whole == every[level].shape


def test_a_box_says_where_it_lies(client: Client, whole: Path) -> None:
    document = json.loads((whole / "sim/zarr.json").read_text())
    datasets = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    for level, each in enumerate(datasets):
        scale, shift = each["coordinateTransformations"]
        for dataset in ("cell", "cmd"):
            box = client.warp(dataset, "sim", (1, 0, 2), (1, 2, 3), level=level)
            assert box.voxel_size_nm == tuple(scale["scale"])
            apart = np.array(box.offset_nm) - shift["translation"]
            assert np.allclose(apart, np.array([1, 0, 2]) * scale["scale"], atol=1e-9)


def test_while_z_is_open_boxes_are_those_of_the_sealed_volume(client: Client) -> None:
    sealed = client.warp("cell", "sim", (2, 7, 9), (60, 40, 30))
    growing = client.warp("open", "sim", (2, 7, 9), (60, 40, 30))
    assert np.array_equal(sealed.voxels, growing.voxels) and sealed.voxels.any()
    assert growing.whole == (None, 140, 150) and growing.version == sealed.version
    beyond = client.warp("open", "sim", (500, 0, 0), (2, 20, 20))
    assert not beyond.voxels.any()
    with pytest.raises(OutOfRange, match=r"level 0 has \?,140,150 voxels"):
        client.warp("open", "sim", (0, 0, 0), (1, 141, 1))
    with pytest.raises(OutOfRange):
        client.warp("open", "sim", (2**21, 0, 0), (1, 1, 1))


@pytest.mark.parametrize(
    ("box", "more", "kind", "says"),
    [
        (((0, 0, 0), (71, 1, 1)), {}, OutOfRange, "box 0,0,0 to 71,1,1: level 0 has 70,140,150"),
        (((0, 140, 0), (1, 1, 1)), {}, OutOfRange, "level 0 has 70,140,150"),
        (((0, 0, 2**32 - 1), (1, 1, 1)), {}, OutOfRange, "level 0 has"),
        (((34, 0, 0), (2, 1, 1)), {"level": 1}, OutOfRange, "level 1 has 35,70,75 voxels"),
        (((0, 0, 0), (1, 0, 1)), {}, WrongUse, "shape 1,0,1: expected Z,Y,X of at least 1 voxel"),
        (((0, 0, 0), (1, 1, 1)), {"level": 5}, WrongUse, "level 5: expected 0 to 4"),
        (((0, 0, -1), (1, 1, 1)), {}, WrongUse, "level 0: expected Z,Y,X"),
        (((0, 0, 0), (1, 1, 1)), {"version": "x"}, WrongState, "another version is there now"),
    ],
)
@pytest.mark.parametrize("dataset", ["cell", "cmd"])
def test_a_box_that_cannot_be_is_one_line(
    client: Client, dataset: str, box: Any, more: Any, kind: Any, says: str
) -> None:
    with pytest.raises(kind) as caught:
        client.warp(dataset, "sim", *box, **more)
    assert type(caught.value) is kind and says in str(caught.value)


def test_a_box_is_limited_by_what_it_is_made_of() -> None:
    shape = (4096, 4096, 4096)
    boxes.checked((0, 0, 0), (256, 256, 256), 0, shape)
    boxes.checked((0, 0, 0), (16, 16, 16), 4, shape)
    for size, level, most in (
        ((256, 256, 257), 0, 1 << 24), ((64, 64, 65), 2, 1 << 18), ((16, 16, 17), 4, 1 << 12)
    ):  # fmt: skip
        with pytest.raises(LimitExceeded, match=f"at most {most} voxels of level {level}"):
            boxes.checked((0, 0, 0), size, level, shape)


def test_what_has_no_warped_light_is_told(folder: Path, client: Client) -> None:
    def warp(dataset: str, name: str = "sim") -> Any:
        return client.warp(dataset, name, (0, 0, 0), (70, 40, 40))

    root = Root(str(folder))
    with pytest.raises(NotFound, match="registration 'er': cell has sim"):
        warp("cell", "er")
    with pytest.raises(NotFound):
        warp("other")
    before = warp("cell").version
    put_answer(root, "cell", answer(light="0" * 32))
    with pytest.raises(WrongState, match="it is that of an earlier pipeline"):
        warp("cell")
    put_answer(root, "cell", none_yet("searching", 0.1))
    with pytest.raises(WrongState, match="is unregistered, and has no transform"):
        warp("cell")
    put_answer(root, "cell", answer("check"))
    assert warp("cell").version != before
    root.files("cell").put(LIGHT.path, encode_arrays({"light": VOXELS + 1}))
    assert warp("cell").voxels.any()  # in memory, and what it was
    report_at = folder / "cmd.zarr/registration/sim/report.json"
    report_at.write_text(json.dumps(report("unregistered")))
    with pytest.raises(WrongState, match="is unregistered"):
        warp("cmd")


def test_a_light_image_that_is_not_what_it_was_is_damaged(folder: Path, client: Client) -> None:
    Root(str(folder)).files("cell").put(LIGHT.path, encode_arrays({"light": VOXELS + 1}))
    with pytest.raises(Damaged, match=r"damaged; expected the voxels of sim\.tif"):
        client.warp("cell", "sim", (0, 0, 0), (1, 1, 1))
    assert client.warp("cmd", "sim", (0, 0, 0), (1, 1, 1)).voxels.shape == (1, 1, 1)


def test_a_stored_image_with_a_chunk_less_is_damaged(folder: Path, client: Client) -> None:
    place = folder / "cmd.zarr/lm/sim/s0"
    (place / "c/1/0/0").unlink()
    assert client.warp("cmd", "sim", (0, 0, 0), (64, 140, 150)).voxels.any()
    with pytest.raises(Damaged, match="lm/sim/s0/c/1/0/0: is not there"):
        client.warp("cmd", "sim", (60, 0, 0), (10, 1, 1))
    torn = place / "c/0/0/0"
    torn.write_bytes(torn.read_bytes()[:-7])
    with pytest.raises(Damaged, match="lm/sim/s0/c/0/0/0: damaged"):
        client.warp("cmd", "sim", (0, 0, 0), (1, 1, 1))
    document = json.loads((place / "zarr.json").read_text())
    for wrong in ({"shape": [70, 140, 151]}, {"data_type": "string"}, {"shape": 3}):
        (place / "zarr.json").write_text(json.dumps(document | wrong))
        with pytest.raises(Damaged, match="lm/sim: no warped light image"):
            client.warp("cmd", "sim", (0, 0, 0), (1, 1, 1))


def test_one_that_is_replaced_while_it_is_read_ends_in_an_error(folder: Path) -> None:
    servicer = servicer_of(folder).servicer
    asked = pb.WarpRequest(dataset="cmd", name="sim", shape=Index3(z=70, y=4, x=4))
    stream = servicer.Warp(asked, Context(looks=99))
    assert next(stream).header.version
    at = folder / "cmd.zarr/registration/sim/report.json"
    at.write_text(json.dumps(report(error_nm=51.0)))
    with pytest.raises(WrongState, match="was replaced meanwhile"):
        list(stream)


def test_a_client_that_is_gone_leaves_its_place(folder: Path) -> None:
    servicer = servicer_of(folder).servicer
    asked = pb.WarpRequest(dataset="cell", name="sim", shape=Index3(z=70, y=4, x=4))
    for _ in range(3):
        stream = servicer.Warp(asked, Context(looks=2))
        assert next(stream).HasField("header")
        with pytest.raises(WrongState, match="cancelled"):
            list(stream)
    whole = servicer.Warp(asked, Context(looks=9))
    assert sum(len(each.piece) for each in whole) == 70 * 4 * 4 * 2
    for _ in range(3):  # a stream that nobody reads to its end
        stream = servicer.Warp(asked, Context(looks=9))
        next(stream)
        stream.close()


def test_a_channel_without_our_client_is_answered_in_pieces(folder: Path) -> None:
    binding = servicer_of(folder)
    server = GrpcServer("127.0.0.1:0", [binding])
    server.open()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        call = channel.unary_stream(
            "/fibstream.v1.RegistrationService/Warp", pb.WarpRequest.SerializeToString,
            pb.WarpResponse.FromString,
        )  # fmt: skip
        asked = pb.WarpRequest(dataset="cell", name="sim", shape=Index3(z=70, y=140, x=150))
        kinds = [(each.WhichOneof("part"), len(each.piece)) for each in call(asked, timeout=60)]
    assert kinds[0] == ("header", 0) and {kind for kind, _ in kinds[1:]} == {"piece"}
    assert max(size for _, size in kinds) <= 2 << 20
    assert sum(size for _, size in kinds) == 70 * 140 * 150 * 2
    server.close(grace_s=0)
    binding.servicer.close()
