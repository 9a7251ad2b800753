"""The command line of a service: the text of each option, and what a wrong call ends with."""

import re

import pytest

from fibstream.runtime.main import _parser, main
from fibstream.services.refine.service import SERVICE


@pytest.mark.parametrize("command", ["serve", "plan", "work"])
def test_every_option_has_a_text(command, capsys) -> None:
    with pytest.raises(SystemExit):
        _parser("ingest").parse_args([command, "--help"])
    text = capsys.readouterr().out
    options = re.findall(r"^  (?:-h, )?(--[a-z]+)( .*)?\n((?:   .*\n)*)", text, re.M)
    assert {"--help", "--root", "--bus", "--listen", "--metrics"} <= {name for name, *_ in options}
    bare = [name for name, rest, below in options if "  " not in rest and not below]
    assert not bare


@pytest.mark.parametrize(
    ("wrong", "line", "code"),
    [
        (("--workers", "-1"), "--workers -1: expected a number from 1 to 256", 2),
        (("--workers", "0"), "--workers 0: expected a number from 1 to 256", 2),
        (("--listen", "127.0.0.1:99999"), "--listen 127.0.0.1:99999: expected", 2),
        (("--metrics", "127.0.0.1:65535"), "--metrics 127.0.0.1:65535: expected a port", 2),
        (("--role", "door"), "--role door: expected some of grpc, plan, work", 2),
        (("--root", "/dev/null"), "--root /dev/null: /dev/null is not a folder", 2),
        (("--root", "s3://"), "--root s3://: expected the name of a bucket", 2),
        (("--bus", "kafka://"), "--bus kafka://: expected kafka://HOST:PORT", 2),
        (("--bus", "kafka://127.0.0.1:1"), "kafka 127.0.0.1:1: ", 1),
    ],
)
def test_a_wrong_call_of_serve_ends_with_one_line(wrong, line, code, tmp_path, capfd) -> None:
    with pytest.raises(SystemExit) as ended:
        main(SERVICE, ["serve", "--root", str(tmp_path / "root"), *wrong])
    assert ended.value.code == code
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"fibstream: {line}") and err.count("\n") == 1
