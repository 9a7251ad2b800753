"""Recipes and objects are listed, by id and by page; wrong names are refused by name."""

import json
import random
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from fibstream.bus import wire
from fibstream.core.events import Change, ObjectChanged
from fibstream.core.rules import object_rules
from fibstream.runtime.paging import MAX_PAGE, encode_token
from fibstream.services.refine.recipe import recipes, resolve
from fibstream.v1 import refine_pb2 as pb

from ..support import rpc
from ..support.patience import PATIENCE_S
from ..support.rpc import CODE
from .cell import EXISTING, Cell, Stub


def test_every_recipe_is_listed_with_every_parameter(stub: Stub) -> None:
    found = stub.ListRecipes(pb.ListRecipesRequest(), timeout=PATIENCE_S).recipes
    assert [recipe.name for recipe in found] == list(recipes())
    for recipe in found:
        values = {key: json.loads(text) for key, text in recipe.settings.items()}
        own = recipes()[recipe.name]
        assert resolve(recipe.name, values) == own.settings
        assert values == own.settings.model_dump(mode="json")
        assert recipe.predicted == (own.inputs[0].default or "")


def refused(call: Callable[..., Any], request: object) -> rpc.Refusal:
    """Return how a call is refused that answers once, or with a stream."""
    return rpc.refused(lambda: list(call(request, timeout=PATIENCE_S)))


def listed(stub: Stub, size: int, organelle: str = "mito") -> list[list[ObjectChanged]]:
    """Return every object of every page."""
    pages, token = [], ""
    while True:
        request = pb.ListObjectsRequest(
            dataset="cell", organelle=organelle, page_size=size, page_token=token
        )
        answer = stub.ListObjects(request, timeout=PATIENCE_S)
        pages.append([wire.object_of(message) for message in answer.objects])
        token = answer.next_page_token
        if not token:
            return pages


@pytest.mark.parametrize("size", [1, 7, 20, 0])
def test_objects_that_exist_are_listed_by_id_each_once(cell: Cell, stub: Stub, size: int) -> None:
    chance = random.Random(size)
    expected = []
    kinds: list[Change] = [*EXISTING, "merged_into", "withdrawn"]
    for id_ in chance.sample(range(1, 1 << 62), 40):
        kind = chance.choice(kinds)
        event = cell.change(id_, kind, voxels=id_ % 1000, into=7 if kind == "merged_into" else None)
        if kind in EXISTING:
            expected.append(event)
        cell.change(id_, "closed", organelle="generic")
    pages = listed(stub, size)
    assert [o for page in pages for o in page] == sorted(expected, key=lambda o: o.id)
    assert {len(page) for page in pages[:-1]} <= {size}


def test_a_page_that_ends_with_the_list_has_no_successor(cell: Cell, stub: Stub) -> None:
    for id_ in (3, 5):
        cell.change(id_, "closed")
    assert [len(page) for page in listed(stub, 2)] == [2]
    assert listed(stub, 5, "generic") == [[]]


def test_the_last_word_of_an_object_is_listed(cell: Cell, stub: Stub) -> None:
    for kind in ("opened", "grown", "closed"):
        cell.change(9, kind, voxels=len(kind))
    ((found,),) = listed(stub, 5)
    rule = object_rules(cell.dataset)["mito"]
    assert found == ObjectChanged("mito", "closed", 9, 6, rule=rule)


@pytest.mark.parametrize(
    "bad", ["x", encode_token(7, "cell/generic"), encode_token(7, "other/mito")]
)
def test_a_token_of_another_list_is_refused(cell: Cell, stub: Stub, bad: str) -> None:
    request = pb.ListObjectsRequest(dataset="cell", organelle="mito", page_token=bad)
    code, says = refused(stub.ListObjects, request)
    assert code == CODE.INVALID_ARGUMENT and "page_token" in says


BAD_NAMES = [
    ("nobody", "mito", CODE.NOT_FOUND, "dataset 'nobody'"),
    ("../cell", "mito", CODE.INVALID_ARGUMENT, "'../cell'"),
    ("", "mito", CODE.INVALID_ARGUMENT, "dataset ''"),
    ("cell", "golgi", CODE.NOT_FOUND, "organelle 'golgi': cell has generic, mito"),
    ("cell", "../mito", CODE.NOT_FOUND, "organelle '../mito'"),
]


@pytest.mark.parametrize(("dataset", "organelle", "code", "says"), BAD_NAMES)
def test_a_wrong_name_is_named(
    cell: Cell, stub: Stub, dataset: str, organelle: str, code: grpc.StatusCode, says: str
) -> None:
    for call, request in (
        (stub.ListObjects, pb.ListObjectsRequest(dataset=dataset, organelle=organelle)),
        (stub.WatchObjects, pb.WatchObjectsRequest(dataset=dataset, organelle=organelle)),
    ):
        found, details = refused(call, request)
        assert found == code and says in details


def test_a_list_needs_an_organelle_and_a_page_that_fits(cell: Cell, stub: Stub) -> None:
    assert refused(stub.ListObjects, pb.ListObjectsRequest(dataset="cell"))[0] == (
        CODE.INVALID_ARGUMENT
    )
    request = pb.ListObjectsRequest(dataset="cell", organelle="mito", page_size=2**32 - 1)
    code, says = refused(stub.ListObjects, request)
    assert code == CODE.RESOURCE_EXHAUSTED and f"at most {MAX_PAGE}" in says
