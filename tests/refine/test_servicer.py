"""Objects by wire: recipes, lists by page, and news as they come."""

import base64
import json
import random
import threading
from contextlib import contextmanager
from itertools import islice

import grpc
import pytest

from fibstream.bus import wire
from fibstream.cli.inprocess import InProcess
from fibstream.cli.run import prepare
from fibstream.core.dataset import RECORD, Dataset, Organelle
from fibstream.core.events import ObjectChanged, Progress, Record, Sealed
from fibstream.core.ids import gid
from fibstream.core.keys import canonical
from fibstream.runtime.grpc import GrpcServer as Server
from fibstream.runtime.grpc import ServicerBinding
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.services.refine.recipe import RECIPES, resolve
from fibstream.services.refine.servicer import MAX_PAGE, RefineServicer
from fibstream.services.refine.watermark import begins
from fibstream.store.record import read_dataset
from fibstream.v1 import chunk_pb2
from fibstream.v1 import refine_pb2 as pb
from fibstream.v1.refine_pb2_grpc import RefineServiceStub, add_RefineServiceServicer_to_server
from fibstream.volumes.sources import open_volume

from ..support.cluster import eventually
from ..support.command import inside
from ..support.scene import SHAPE, make_scene

CODE = grpc.StatusCode
EXISTING = ["opened", "grown", "closed", "final"]


@contextmanager
def serving(root):
    room = ServicerBinding(
        add_RefineServiceServicer_to_server,
        RefineServicer(root, Settings()),
        "fibstream.v1.RefineService",
    )
    server = Server("127.0.0.1:0", [room])
    server.open()
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield RefineServiceStub(channel)
    server.close(grace_s=0)


class Cell:
    """A dataset ``cell`` of 3 x 1 x 1 chunks without planners: the test says what they would."""

    def __init__(self, root, *organelles):
        self.root = root
        self.dataset = Dataset(
            name="cell", shape=(None, 8, 8), chunk=(4, 8, 8), dtype="uint8",
            voxel_size_nm=(8, 8, 8), contrast=(0, 255),
            organelles=tuple(
                Organelle(recipe=name, source="mito", settings={}) for name in organelles
            ),
        )  # fmt: skip
        root.files("cell").put(RECORD, canonical(self.dataset.model_dump(mode="json")))
        self.bus = root.bus("cell")

    def tell(self, id_, kind, organelle="mito", voxels=5, into=None):
        event = ObjectChanged(organelle, kind, id_, voxels, into)
        self.bus.publish(wire.OBJECTS, f"cell/{organelle}/{id_}", wire.encode(event))
        return event

    def cut(self, z, organelle="mito", status="ready"):
        stage = f"fragments/{organelle}"
        record = Record(stage, (z, 0, 0), status, "k", {f"fragments/{organelle}": "h"})
        key = wire.record_key("cell", stage, record.index)
        self.bus.publish(wire.ledger_topic(stage), key, wire.encode(record))

    def seal(self, z):
        self.bus.publish(wire.ledger_topic("dataset"), "cell/dataset", wire.encode(Sealed(z)))

    def caught_up(self, offset=None):
        """Let refine's planner say how far it has read."""
        offset = self.bus.end(wire.LEDGER_TOPICS) if offset is None else offset
        progress = Progress("refine", offset, True, 0, 0, 0, 0)
        self.bus.publish(wire.PROGRESS, "cell/refine", wire.encode(progress))


@pytest.fixture
def root(tmp_path):
    made = Root(str(tmp_path))
    made.make("cell")
    return made


@pytest.fixture
def cell(root):
    made = Cell(root, "generic", "mito")
    yield made
    made.bus.close()


@pytest.fixture
def stub(root):
    with serving(root) as stub:
        yield stub


def refused(call, request):
    with pytest.raises(grpc.RpcError) as caught:
        answer = call(request, timeout=10)
        list(answer)
    assert "\n" not in caught.value.details()
    return caught.value.code(), caught.value.details()


# -- recipes -----------------------------------------------------------------------------------


def test_every_recipe_is_listed_with_every_parameter(stub):
    found = stub.ListRecipes(pb.ListRecipesRequest(), timeout=10).recipes
    assert [recipe.name for recipe in found] == sorted(RECIPES)
    for recipe in found:
        values = {key: json.loads(text) for key, text in recipe.settings.items()}
        assert resolve(recipe.name, values) == RECIPES[recipe.name].settings
        assert values == RECIPES[recipe.name].settings.model_dump(mode="json")
        assert recipe.predicted == (RECIPES[recipe.name].predicted or "")


# -- lists -------------------------------------------------------------------------------------


def listed(stub, size, organelle="mito"):
    """Return every object of every page."""
    pages, token = [], ""
    while True:
        request = pb.ListObjectsRequest(
            dataset="cell", organelle=organelle, page_size=size, page_token=token
        )
        answer = stub.ListObjects(request, timeout=10)
        pages.append([wire.object_of(message) for message in answer.objects])
        token = answer.next_page_token
        if not token:
            return pages


@pytest.mark.parametrize("size", [1, 7, 20, 0])
def test_objects_that_exist_are_listed_by_id_each_once(cell, stub, size):
    chance = random.Random(size)
    expected = []
    for id_ in chance.sample(range(1, 1 << 62), 40):
        kind = chance.choice([*EXISTING, "merged_into", "withdrawn"])
        event = cell.tell(id_, kind, voxels=id_ % 1000, into=7 if kind == "merged_into" else None)
        if kind in EXISTING:
            expected.append(event)
        cell.tell(id_, "closed", organelle="generic")
    pages = listed(stub, size)
    assert [o for page in pages for o in page] == sorted(expected, key=lambda o: o.id)
    assert {len(page) for page in pages[:-1]} <= {size}


def test_a_page_that_ends_with_the_list_has_no_successor(cell, stub):
    for id_ in (3, 5):
        cell.tell(id_, "closed")
    assert [len(page) for page in listed(stub, 2)] == [2]
    assert listed(stub, 5, "generic") == [[]]


def test_the_last_word_of_an_object_is_listed(cell, stub):
    for kind in ("opened", "grown", "closed"):
        cell.tell(9, kind, voxels=len(kind))
    ((found,),) = listed(stub, 5)
    assert found == ObjectChanged("mito", "closed", 9, 6)


def token(*parts):
    return base64.urlsafe_b64encode(canonical(list(parts))).decode()


BAD_TOKENS = [
    "x", "\u00e9", "====", "a" * 10_000, token(), token("cell", "mito"), token("cell", "mito", "7"),
    token("cell", "generic", 7), token("other", "mito", 7), token("cell", "mito", 1.5),
    token("cell", "mito", True), token(*[[]] * 3), base64.b64encode(b"[" * 200).decode(),
]  # fmt: skip


@pytest.mark.parametrize("bad", BAD_TOKENS)
def test_a_token_of_something_else_is_refused(cell, stub, bad):
    request = pb.ListObjectsRequest(dataset="cell", organelle="mito", page_token=bad)
    code, says = refused(stub.ListObjects, request)
    assert code == CODE.INVALID_ARGUMENT and "page_token" in says


def test_random_bytes_are_no_token(cell, stub):
    chance = random.Random(1)
    for _ in range(50):
        bad = base64.urlsafe_b64encode(chance.randbytes(chance.randrange(1, 60))).decode()
        request = pb.ListObjectsRequest(dataset="cell", organelle="mito", page_token=bad)
        assert refused(stub.ListObjects, request)[0] == CODE.INVALID_ARGUMENT


BAD_NAMES = [
    ("nobody", "mito", CODE.NOT_FOUND, "dataset 'nobody'"),
    ("../cell", "mito", CODE.INVALID_ARGUMENT, "'../cell'"),
    ("", "mito", CODE.INVALID_ARGUMENT, "dataset ''"),
    ("cell", "golgi", CODE.NOT_FOUND, "organelle 'golgi': cell has generic, mito"),
    ("cell", "../mito", CODE.NOT_FOUND, "organelle '../mito'"),
]


@pytest.mark.parametrize(("dataset", "organelle", "code", "says"), BAD_NAMES)
def test_a_wrong_name_is_named(cell, stub, dataset, organelle, code, says):
    for call, request in (
        (stub.ListObjects, pb.ListObjectsRequest(dataset=dataset, organelle=organelle)),
        (stub.WatchObjects, pb.WatchObjectsRequest(dataset=dataset, organelle=organelle)),
    ):
        found, details = refused(call, request)
        assert found == code and says in details


def test_a_list_needs_an_organelle_and_a_page_that_fits(cell, stub):
    assert refused(stub.ListObjects, pb.ListObjectsRequest(dataset="cell"))[0] == (
        CODE.INVALID_ARGUMENT
    )
    request = pb.ListObjectsRequest(dataset="cell", organelle="mito", page_size=2**32 - 1)
    code, says = refused(stub.ListObjects, request)
    assert code == CODE.RESOURCE_EXHAUSTED and f"at most {MAX_PAGE}" in says


# -- watching ----------------------------------------------------------------------------------


class Watch:
    """A stream of news, read as the test asks for it."""

    def __init__(self, stub, organelle="mito"):
        request = pb.WatchObjectsRequest(dataset="cell", organelle=organelle)
        self.call = stub.WatchObjects(request, timeout=20)

    def news(self, count=1):
        """Return so many messages: an event, or (z, open objects)."""
        return [self._plain(message) for message in islice(self.call, count)]

    @staticmethod
    def _plain(message):
        if message.WhichOneof("kind") == "object":
            return wire.object_of(message.object)
        return message.watermark.z, message.watermark.open_objects


def test_first_what_is_then_what_becomes(cell, stub):
    cell.tell(9, "opened")
    old = [cell.tell(9, "closed"), cell.tell(4, "merged_into", into=2), cell.tell(2, "grown")]
    cell.tell(8, "closed", organelle="generic")
    watch = Watch(stub)
    assert watch.news(4) == [*old, (0, 1)]
    new = cell.tell(2, "closed")
    assert watch.news(2) == [new, (0, 0)]
    watch.call.cancel()


def test_all_organelles_are_watched_without_a_name(cell, stub):
    both = [cell.tell(9, "opened"), cell.tell(9, "opened", organelle="generic")]
    watch = Watch(stub, "")
    assert watch.news(3) == [*both, (0, 2)]
    for z in range(3):
        cell.cut(z)
    cell.tell(9, "closed")
    cell.caught_up()
    assert watch.news(2)[1] == (0, 1)  # the other organelle is not cut yet
    watch.call.cancel()


def test_the_watermark_follows_what_the_planner_has_seen(cell, stub):
    watch = Watch(stub)
    assert watch.news() == [(0, 0)]
    cell.cut(0)
    cell.cut(1)
    seen = cell.bus.end(wire.LEDGER_TOPICS)
    cell.cut(2)
    begun = cell.tell(gid((5, 1, 1)) + 1, "opened")
    # Objects of chunks that the planner has not seen may still be announced.
    assert watch.news(2) == [begun, (0, 1)]
    cell.caught_up(seen)
    assert watch.news() == [(5, 1)]
    ended = cell.tell(begun.id, "closed")
    assert watch.news(2) == [ended, (8, 0)]
    cell.seal(10)
    cell.caught_up()
    assert watch.news() == [(10, 0)]
    cell.cut(1, status="suspect")
    cell.cut(2, status="failed")
    cell.caught_up()
    assert watch.news() == [(8, 0)]
    watch.call.cancel()


def test_a_record_that_nobody_can_read_is_passed_over(cell, stub, caplog):
    cell.bus.publish(wire.OBJECTS, "cell/mito/1", b"\xff\xffgarbage")
    cell.bus.publish(wire.ledger_topic("fragments/mito"), "cell/fragments/mito/0.0.0", b"\xff")
    event = cell.tell(2, "closed")
    watch = Watch(stub)
    assert watch.news(2) == [event, (0, 0)]
    assert listed(stub, 5) == [[event]]
    watch.call.cancel()


def let_in(stub):
    """Return a watch once there is room for it: the door sees within a moment who has left."""

    def try_it():
        watch = Watch(stub)
        try:
            return watch if watch.news() == [(0, 0)] else None
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            return None

    return eventually(try_it, "room for one more watcher")


def test_watchers_that_leave_hold_nothing(cell, root, stub):
    # Each holds a thread of the server, and there are 64: six rounds would need 120.
    for _ in range(6):
        for watch in [let_in(stub) for _ in range(20)]:
            watch.call.cancel()


# -- the whole line ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def line(tmp_path_factory):
    """A dataset of the scene, made and not yet run, below a root."""
    folder = tmp_path_factory.mktemp("root")
    scene = make_scene(folder)
    assert inside(*scene.run(folder / "cell.zarr", "--bus", "memory:")).code == 0
    return folder, scene


def test_while_chunks_land_the_watermark_only_grows_and_the_end_is_known(line):
    """All services in one process on the dataset's own bus, a watcher on a connection beside."""
    folder, scene = line
    root = Root(str(folder))
    files, bus = root.files("cell"), root.bus("cell")
    dataset = read_dataset(files)
    # Every object is announced from one voxel on: then nothing can appear below the watermark.
    small = [
        o.model_copy(update={"settings": {**o.settings, "min_volume_nm3": 0}})
        for o in dataset.organelles
    ]
    dataset = dataset.model_copy(update={"organelles": tuple(small)})
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    prepare(bus, dataset.name)
    source = open_volume(str(scene.raw), kind="raw")
    runner = InProcess(files, bus, source, dataset, "raster", 0, Settings())
    marks, objects = [], {}
    with serving(root) as stub:
        watch = Watch(stub, "")
        turns = threading.Thread(target=lambda: [None for _ in runner.run()])
        turns.start()
        while not marks or marks[-1] != (SHAPE[0], 0):
            (news,) = watch.news()
            if isinstance(news, ObjectChanged):
                objects[news.organelle, news.id] = news
            else:
                marks.append(news)
        turns.join()
        watch.call.cancel()
        found = [
            wire.object_of(message)
            for name in ("generic", "mito")
            for message in stub.ListObjects(
                pb.ListObjectsRequest(dataset="cell", organelle=name, page_size=MAX_PAGE),
                timeout=10,
            ).objects
        ]
    bus.close()
    assert [z for z, _ in marks] == sorted(z for z, _ in marks) and marks[0][0] == 0
    assert {o.kind for o in found} == {"final"} and len(found) > 10
    existing = {key for key, o in objects.items() if o.kind in EXISTING}
    assert existing == {(o.organelle, o.id) for o in found}
    assert all(begins(o.id) < SHAPE[0] for o in found)


def test_the_messages_are_those_of_the_bus(cell, stub):
    event = cell.tell(9, "merged_into", into=4)
    watch = Watch(stub)
    (message,) = islice(watch.call, 1)
    assert message.object == chunk_pb2.ObjectChanged(
        organelle="mito", change=chunk_pb2.OBJECT_CHANGE_MERGED_INTO, id=9, voxels=5, into=4
    )
    assert wire.object_of(message.object) == event
    watch.call.cancel()
