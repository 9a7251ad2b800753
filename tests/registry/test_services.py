"""Services are told apart by name, port, family and word."""

from collections.abc import Sequence
from typing import Any

import pytest

from fibstream import registry
from fibstream.core.errors import WrongUse
from fibstream.core.service import Capability, Service


def service(name: str, port: int, *families: str) -> Service:
    nothing: Any = None
    return Service(name, port, "made", (Capability(families, lambda *_: ()),), nothing)


def test_services_come_in_the_order_of_their_ports() -> None:
    found = [service("b", 2, "y"), service("a", 3), service("c", 1, "x")]
    assert [each.name for each in registry.distinct(found)] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ([service("a", 1), service("a", 2)], "two have the name a"),
        ([service("a", 1), service("b", 1)], "two have the port 1"),
        ([service("a", 1, "x"), service("b", 2, "x")], "two have the family x"),
        ([service("a", 1, "x", "x")], "two have the family x"),
        ([service("a", 1, "raw")], "two have the family raw"),
        ([service("a", 1, "dataset")], "two have the family dataset"),
    ],
)
def test_what_two_services_share_is_refused(found: Sequence[Service], reason: str) -> None:
    with pytest.raises(WrongUse, match=reason):
        registry.distinct(found)
