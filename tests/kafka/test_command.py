"""`python -m fibstream.bus.kafka`, where it cannot declare topics; no broker is needed."""

import socket

import pytest

from fibstream.bus.kafka.__main__ import main


@pytest.mark.parametrize(
    ("arguments", "line"),
    [([], "usage: python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]"),
     (["a:1", "b:2"], "usage: python -m fibstream.bus.kafka HOST:PORT[,HOST:PORT]"),
     (["kafka://a:1"], "fibstream: kafka 'kafka://a:1': expected HOST:PORT[,HOST:PORT]")],
)  # fmt: skip
def test_wrong_arguments_are_one_line(
    capsys: pytest.CaptureFixture[str], arguments: list[str], line: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert (ended.value.code, capsys.readouterr().err) == (2, line + "\n")


def test_a_broker_that_is_away_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        servers = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(SystemExit) as ended:
            main([servers])
    (line,) = capsys.readouterr().err.splitlines()
    assert ended.value.code == 1
    assert line.startswith(f"fibstream: kafka {servers}: ")
