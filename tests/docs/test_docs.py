"""The documentation describes exactly what the code has: commands, settings, limits, topics."""

import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import cast

import click
import pytest
import typer

from fibstream import registry
from fibstream.bus import wire
from fibstream.cli import commands  # noqa: F401  (registers them)
from fibstream.cli.app import app
from fibstream.cli.run import Report
from fibstream.runtime.settings import Settings
from fibstream.services.analysis.table import finish
from fibstream.services.analysis.totals import merge
from fibstream.volumes.registry import OPENERS
from fibstream.volumes.sources import DTYPES

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("docs", "models", "samples")
PAGES = sorted([*ROOT.glob("*.md"), *chain(*((ROOT / f).rglob("*.md") for f in FOLDERS))])
COMMANDS = cast("click.Group", typer.main.get_command(app)).commands
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def text(name: str) -> str:
    return (ROOT / name).read_text()


def rows(name: str, heading: str) -> list[list[str]]:
    """Return the cells of the table whose first header cell is ``heading``."""
    tables = re.findall(r"(?:^\|.*\|\n)+", text(name) + "\n", re.M)
    (table,) = (t for t in tables if t.startswith(f"| {heading} |"))
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return [[cell.strip() for cell in line] for line in lines]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def shell_lines(name: str) -> Iterator[list[str]]:
    """Yield the words of every command in a page's shell blocks."""
    for language, block in FENCE.findall(text(name)):
        if language == "sh":
            for line in block.splitlines():
                if words := shlex.split(line, comments=True):
                    yield words


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):.*## ", text("Makefile"), re.M))


def test_every_command_is_in_the_readme_with_exactly_its_flags() -> None:
    documented = {
        quoted(row[0])[0].split()[1]: set(quoted(row[2])) for row in rows("README.md", "command")
    }
    actual = {
        name: {o for p in command.params for o in p.opts if o.startswith("--")}
        for name, command in COMMANDS.items()
    }
    assert documented == actual


def test_every_setting_is_in_the_readme_with_its_default() -> None:
    documented = {quoted(row[0])[0]: row[1].strip("`") for row in rows("README.md", "setting")}
    actual = {name: field.default for name, field in Settings.model_fields.items()}
    assert documented.keys() == actual.keys()
    for name, default in actual.items():
        assert documented[name] == (
            f"{default:g}" if isinstance(default, float) else str(default)
        ), name


def test_every_target_is_in_the_readme_and_is_phony() -> None:
    assert {quoted(row[0])[0].split()[1] for row in rows("README.md", "target")} == targets()
    (phony,) = re.findall(r"^\.PHONY: (.*)$", text("Makefile"), re.M)
    assert set(phony.split()) == targets()


def test_every_topic_is_in_the_architecture() -> None:
    documented = set(re.findall(r"`(fibstream\.[a-z.-]+)`", text("docs/architecture.md")))
    run = {wire.OBJECTS, wire.PROGRESS, wire.WORK, wire.CONTROL}
    queues = {
        f(s.name) for s in registry.services() for f in (wire.task_topic, wire.dead_letter_topic)
    }
    actual = {*wire.ledger_topics(), *run, *queues}
    assert documented == actual


def test_limits_are_those_of_the_code() -> None:
    documented = [(quoted(row[1])[-1], int(row[0].split()[0].replace(",", "")))
            for row in rows("docs/architecture.md", "limit")]  # fmt: skip
    names = [quoted(row[1])[0] for row in rows("docs/architecture.md", "limit")]
    for name, (home, number) in zip(names, documented, strict=True):
        module = home.removesuffix(".py").replace("/", ".").removeprefix("fibstream.")
        assert getattr(import_module(f"fibstream.{module}"), name) == number, name


def test_every_format_and_data_type_is_documented() -> None:
    paths = " ".join(row[0] for row in rows("docs/formats.md", "PATH"))
    assert all(suffix in paths for suffix in (*OPENERS, ".npz", ".zarr", ".n5"))
    documented = {row[0]: row[1] for row in rows("docs/formats.md", "as")}
    assert documented["raw"].split(", ") == list(DTYPES["raw"])
    assert documented["prediction"].split(", ") == list(DTYPES["prediction"])


def test_every_field_of_a_report_is_documented() -> None:
    documented = [quoted(row[0])[0] for row in rows("docs/formats.md", "field")]
    assert documented == [field.name for field in fields(Report)]


def test_every_column_of_a_table_is_documented() -> None:
    documented = {
        name: row[1] for row in rows("docs/formats.md", "column") for name in quoted(row[0])
    }
    table = finish(merge([]), (1.0, 1.0, 1.0), raw=True)
    actual = {field.name: str(field.type).replace("double", "float64") for field in table.schema}
    assert documented == actual


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_resolve(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_files_that_are_named_exist(page: Path) -> None:
    tops = "fibstream|kernels|volumes|services|app|cli|phantom|tests|bench|models|samples|docs"
    for path in re.findall(rf"`((?:{tops})/[\w/.-]+\.(?:py|md|yaml|toml|tif))`", page.read_text()):
        assert (ROOT / path).is_file(), path


@pytest.mark.parametrize("page", ["README.md", "docs/testing.md"])
def test_shell_commands_exist(page: str) -> None:
    lines = list(shell_lines(page))
    assert lines
    for words in lines:
        if words[0] == "make":
            assert words[1] in targets(), words
        elif words[0] == ".venv/bin/fibstream":
            COMMANDS[words[1]].make_context(words[1], words[2:])  # parses, and runs nothing
        else:
            assert words[:2] == [".venv/bin/python", "-m"], words
            module = ROOT / words[2].replace(".", "/")
            assert (module / "__main__.py").is_file() or module.with_suffix(".py").is_file(), words


def test_make_targets_that_are_named_exist() -> None:
    for page in PAGES:
        named = set(re.findall(r"`make ([a-z-]+)", page.read_text()))
        assert named <= targets(), page


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "decisions"
    numbered = sorted(folder.glob("[0-9]*.md"))
    listed = re.findall(r"\((\d{4}-[\w-]+\.md)\)", (folder / "README.md").read_text())
    assert listed == [page.name for page in numbered]
    assert [int(page.name[:4]) for page in numbered] == list(range(1, len(numbered) + 1))
    for page in numbered:
        for part in ("# " + page.name[:4], "**Context.**", "**Decision.**", "**Consequences.**"):
            assert part in page.read_text(), page


def test_every_folder_of_tests_is_documented() -> None:
    documented = {name for row in rows("docs/testing.md", "layer") for name in quoted(row[1])}
    actual = {f"tests/{path.parent.name}" for path in (ROOT / "tests").glob("*/test_*.py")}
    assert documented == actual


def test_kinds_of_failures_are_those_of_the_code() -> None:
    documented = {
        quoted(row[0])[0] for row in rows("docs/architecture.md", "fate") if quoted(row[0])
    }
    actual = set(
        re.findall(
            r"^class (\w+)\((?:FibstreamError|Retryable)\)", text("fibstream/core/errors.py"), re.M
        )
    )
    assert documented == actual


def test_images_that_are_locked_have_an_extra() -> None:
    extras = tomllib.loads(text("pyproject.toml"))["project"]["optional-dependencies"]
    assert {"cli", "inference-cuda", *registry.names()} <= extras.keys()
