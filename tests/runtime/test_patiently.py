"""What a service begins with is tried again while the bus or the store is away."""

import time

import pytest

from fibstream.core.errors import DiskFull, Retryable, WrongUse
from fibstream.runtime.loops import ATTEMPTS
from fibstream.runtime.serve import patiently


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: None)


@pytest.fixture(autouse=True)
def told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fibstream")


def test_what_comes_late_is_waited_for_and_told(caplog: pytest.LogCaptureFixture) -> None:
    failures = [Retryable("late")] * (ATTEMPTS - 1)

    def call() -> str:
        if failures:
            raise failures.pop()
        return "there"

    assert patiently(call) == "there"
    assert caplog.messages == ["late; trying again"] * (ATTEMPTS - 1)


@pytest.mark.parametrize(
    ("error", "tries"),
    [(Retryable("away"), ATTEMPTS), (WrongUse("no"), 1), (DiskFull("full"), 1)],
)
def test_what_stays_away_or_cannot_be_mended_ends_it(error: Exception, tries: int) -> None:
    tried = []

    def call() -> None:
        tried.append(1)
        raise error

    with pytest.raises(type(error), match=str(error)):
        patiently(call)
    assert len(tried) == tries
