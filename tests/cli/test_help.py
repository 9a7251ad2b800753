"""Help shows an example that can be called; shells complete; other systems are rejected."""

import os
import re
import shlex
import subprocess
import sys

import pytest
import typer
from typer.core import TyperGroup

from fibstream.cli.app import app
from fibstream.cli.main import SYSTEMS, unsupported

from ..support.command import PROGRAM, apart, inside
from ..support.patience import PATIENCE_S

GROUP = typer.main.get_command(app)
assert isinstance(GROUP, TyperGroup)
COMMANDS = GROUP.commands


def examples(text: str) -> list[str]:
    """Return the examples in a help text."""
    return re.findall(r"^ *Example: (.*)$", text, re.M)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_parses(name) -> None:
    (line,) = examples(COMMANDS[name].help or "")
    words = shlex.split(line)
    while "=" in words[0]:  # the environment
        words.pop(0)
    assert words[:2] == ["fibstream", name]
    COMMANDS[name].make_context(name, words[2:])


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_the_example_in_one_line(name, monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    answer = inside(name, "--help")
    assert (answer.code, answer.err) == (0, "")
    assert examples(answer.out) == examples(COMMANDS[name].help or "")


def test_the_example_of_the_program_parses() -> None:
    (line,) = examples(GROUP.help or "")
    words = shlex.split(line)[1:]
    context = GROUP.make_context("fibstream", list(words))
    assert context.params["log_level"] == words[1]
    COMMANDS[words[2]].make_context(words[2], words[3:])


def completed(shell: str, words: str) -> list[str]:
    """Return what a shell would offer after ``words``."""
    given = {"_FIBSTREAM_COMPLETE": f"complete_{shell}"}
    if shell == "bash":
        given |= {"COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    else:
        given |= {"_TYPER_COMPLETE_ARGS": words, "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    answer = apart(environment=given)
    assert answer.code == 0, answer
    return answer.out.splitlines()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completion(shell) -> None:
    answer = apart("--show-completion", shell)
    assert (answer.code, answer.err) == (0, "")
    assert f"_FIBSTREAM_COMPLETE=complete_{shell}" in answer.out
    offered = completed(shell, "fibstream ver")
    assert any("verify" in line for line in offered)
    assert not any("status" in line for line in offered)
    assert any("--rebuild" in line for line in completed(shell, "fibstream verify --re"))


def test_bash_completes_with_what_is_shown() -> None:
    """The script is run by the shell itself, as after `eval "$(fibstream --show-completion)"`."""
    script = (
        'eval "$(fibstream --show-completion)"; COMP_WORDS=(fibstream mea); COMP_CWORD=1; '
        '_fibstream_completion fibstream; echo "${COMPREPLY[@]}"; exit'
    )
    path = os.pathsep.join([os.path.dirname(PROGRAM), os.environ["PATH"]])  # noqa: PTH120
    found = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True,
        timeout=PATIENCE_S, check=True,
    )  # fmt: skip
    assert found.stdout.strip() == "measure"


@pytest.mark.parametrize("system", ["win32", "cygwin", "emscripten", "freebsd14", ""])
def test_other_systems_are_refused(system) -> None:
    reason = unsupported(system)
    assert reason is not None and "expected Linux" in reason
    assert ("Windows" in reason.partition(";")[0]) == (system in ("win32", "cygwin"))


def test_linux_and_macos_are_not() -> None:
    assert [unsupported(system) for system in ("linux", "darwin")] == [None, None]
    assert sys.platform in SYSTEMS


def test_windows_gets_one_line_though_posix_modules_are_missing() -> None:
    """The command comes as far as its refusal without any module that Windows lacks."""
    code = (
        "import sys\n"
        "for name in ('fcntl', 'resource', 'pwd', 'grp', 'termios'): sys.modules[name] = None\n"
        "from fibstream.cli.main import entry\n"
        "sys.platform = 'win32'\n"
        "entry()\n"
    )
    found = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (found.returncode, found.stdout) == (2, "")
    assert (
        found.stderr == "fibstream: does not run on Windows; expected Linux, or WSL 2 on Windows\n"
    )
