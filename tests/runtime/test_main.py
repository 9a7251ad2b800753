"""The command line of a service explains each of its options."""

import re

import pytest

from fibstream.runtime.main import _parser


@pytest.mark.parametrize("command", ["serve", "plan", "work"])
def test_every_option_has_a_text(command, capsys) -> None:
    with pytest.raises(SystemExit):
        _parser("ingest").parse_args([command, "--help"])
    text = capsys.readouterr().out
    options = re.findall(r"^  (?:-h, )?(--[a-z]+)( .*)?\n((?:   .*\n)*)", text, re.M)
    assert {"--help", "--root", "--bus", "--listen", "--metrics"} <= {name for name, *_ in options}
    bare = [name for name, rest, below in options if "  " not in rest and not below]
    assert not bare
