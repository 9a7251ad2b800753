"""Calls of refine."""

from collections.abc import Iterator
from typing import Any

from fibstream.bus import wire
from fibstream.core.events import ObjectChanged
from fibstream.v1 import refine_pb2, refine_pb2_grpc

from .connection import Connection, named_errors


class RefineCalls(Connection):
    """What refine answers."""

    @property
    def _refine(self) -> Any:
        return refine_pb2_grpc.RefineServiceStub(self._channel("refine"))

    def recipes(self) -> list[Any]:
        """Return the recipes with their parameters, as messages."""
        return list(self._call(self._refine.ListRecipes, refine_pb2.ListRecipesRequest()).recipes)

    def objects(self, dataset: str, organelle: str) -> Iterator[ObjectChanged]:
        """Yield the objects of an organelle as last announced, by id."""
        token = ""
        while True:
            request = refine_pb2.ListObjectsRequest(
                dataset=dataset, organelle=organelle, page_token=token
            )
            answer = self._call(self._refine.ListObjects, request)
            yield from map(wire.object_of, answer.objects)
            token = answer.next_page_token
            if not token:
                return

    def watch_objects(self, dataset: str, organelle: str = "") -> Iterator[Any]:
        """Yield ``WatchObjectsResponse``: the objects as they are, then every change."""
        request = refine_pb2.WatchObjectsRequest(dataset=dataset, organelle=organelle)
        with named_errors():
            yield from self._refine.WatchObjects(request)
