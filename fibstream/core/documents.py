"""Documents that come from outside: YAML and JSON, read within limits. Pure.

A document may be anybody's, so that what it costs follows from its length alone: nothing in it
refers to another part (anchors, aliases, merges), names a type (tags), or is given twice; lists
within lists, nodes, numbers and texts have limits, and no step recurses.

A word means what it means in YAML 1.2 (core schema), but that only decimal numbers are numbers.
``yes``, ``2024-01-01``, ``0x10``, ``010``, ``1:30`` and ``.inf``, which readers of YAML take for
different things, are text: where a number is expected they are refused.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml

from .echo import cut, echo
from .errors import WrongUse

Word = bool | int | float | str | None


MAX_YAML = 64 * 1024  # bytes: a pipeline has some dozen lines


class Limits(NamedTuple):
    """The most that a document may have; a number and a text have characters."""

    size: int = MAX_YAML  # bytes
    depth: int = 16  # lists within lists: a pipeline has five
    nodes: int = 4000  # with twice the lists that a pipeline may have; 0.5 s of a core
    text: int = 4096  # the longest path of Linux
    number: int = 40  # an int64 has 20, a float64 24


PIPELINE = Limits()
_NUMBER = re.compile(r"[-+]?(?:(?:0|[1-9][0-9]*)(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][-+]?[0-9]+)?")
_WHOLE = re.compile(r"[-+]?(?:0|[1-9][0-9]*)")
_NOTHING = ("", "~", "null", "Null", "NULL")
_TRUTH = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
# Possessive, and the end quote may be missing: a text without an end is looked through once.
_JSON = re.compile(r'"(?:[^"\\]++|\\.)*+"?|[\[\]{},]|[-+.0-9eE]+', re.S)


@dataclass(frozen=True, slots=True)
class Scalar:
    """A word as it is written, and the value that it stands for."""

    line: int
    text: str
    value: Word


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    line: int
    nodes: list["Node"]


@dataclass(frozen=True, slots=True)
class Fields:
    """A mapping; its keys are words, none of them twice."""

    line: int
    pairs: list[tuple[Scalar, "Node"]]


Node = Scalar | Items | Fields


def plain(node: Node) -> Any:
    """Return a node as values of Python; it is at most as deep as its document may be."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Items):
        return [plain(each) for each in node.nodes]
    return {key.text: plain(value) for key, value in node.pairs}


def word_of(text: str, most: int = PIPELINE.number) -> Word:
    """Return the value of a word that is not in quotes.

    Raises
    ------
    ValueError
        For a number of more than ``most`` characters, or one that no float64 holds.
    """
    if text in _NOTHING:
        return None
    if text in _TRUTH:
        return _TRUTH[text]
    if not _NUMBER.fullmatch(text):
        return text
    if len(text) > most:
        raise ValueError(f"a number of {len(text)} characters; expected at most {most}")
    if _WHOLE.fullmatch(text):
        return int(text)
    value = float(text)
    if not math.isfinite(value) or (value == 0 and re.match(r"[-+.0]*[1-9]", text)):
        raise ValueError(f"{text} is no float64; expected 0, or 1e-307 to 1e+308")
    return value


def parse_yaml(text: str, what: str, limits: Limits = PIPELINE) -> Node | None:
    """Return the root of a YAML document; None of an empty one.

    Raises
    ------
    WrongUse
        With the line, for what is no YAML, or not within the limits.
    """
    size = len(text.encode("utf-8", "surrogatepass")) if len(text) <= limits.size else len(text)
    if size > limits.size:
        raise WrongUse(f"{what}: {size} bytes; expected at most {limits.size}")
    try:
        return _Composer(what, limits).compose(yaml.parse(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        why = getattr(error, "problem", "") or "it holds characters that no text has"
        raise WrongUse(f"{what}:{line} not YAML: {cut(str(why))}") from None
    except (ValueError, OverflowError):  # of a character or version number beyond all
        raise WrongUse(f"{what}: not YAML: an escape or a directive that means nothing") from None


class _Composer:
    """Makes nodes of events; ``_open`` are the lists and mappings that are not yet closed."""

    def __init__(self, what: str, limits: Limits) -> None:
        self._what = what
        self._limits = limits
        self._open: list[Items | Fields] = []
        self._keys: list[tuple[Scalar | None, set[str]]] = []  # of each: the key that waits, all
        self._count = 0
        self._root: Node | None = None
        self._documents = 0

    def compose(self, events: Iterator[yaml.Event]) -> Node | None:
        for event in events:
            line = event.start_mark.line + 1 if event.start_mark else 0
            if isinstance(event, yaml.DocumentStartEvent):
                self._documents += 1
                if self._documents > 1:
                    raise self._wrong(line, "a second document; expected one")
            elif isinstance(event, yaml.NodeEvent):
                self._begin(event, line)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._end()
        return self._root

    def _wrong(self, line: int, message: str) -> WrongUse:
        return WrongUse(f"{self._what}: line {line}: {message}")

    def _begin(self, event: yaml.NodeEvent, line: int) -> None:
        self._count += 1
        if self._count > self._limits.nodes:
            raise self._wrong(line, f"expected at most {self._limits.nodes} words and lists")
        if isinstance(event, yaml.AliasEvent) or event.anchor is not None:
            raise self._wrong(line, f"{echo(event.anchor)}: expected no anchors and aliases (& *)")
        if (tag := getattr(event, "tag", None)) is not None:
            raise self._wrong(line, f"{echo(tag)}: expected no tags (!)")
        if isinstance(event, yaml.ScalarEvent):
            self._add(self._scalar(event, line))
            return
        node = Items(line, []) if isinstance(event, yaml.SequenceStartEvent) else Fields(line, [])
        self._add(node)
        if len(self._open) == self._limits.depth:
            raise self._wrong(line, f"expected lists at most {self._limits.depth} deep")
        self._open.append(node)
        self._keys.append((None, set()))

    def _end(self) -> None:
        self._open.pop()
        self._keys.pop()

    def _scalar(self, event: yaml.ScalarEvent, line: int) -> Scalar:
        text = str(event.value)
        if event.style is None:
            try:
                value = word_of(text, self._limits.number)
            except ValueError as error:
                raise self._wrong(line, str(error)) from None
        else:
            value = text
        if len(text) > self._limits.text:
            raise self._wrong(
                line, f"a text of {len(text)} characters; expected at most {self._limits.text}"
            )
        if not all(c.isprintable() or c in "\n\t" for c in text):
            raise self._wrong(line, f"{echo(text)}: expected characters that can be printed")
        if text == "<<" and event.style is None:
            raise self._wrong(line, "expected no merges (<<)")
        return Scalar(line, text, value)

    def _add(self, node: Node) -> None:
        """Give a node to the list or mapping around it; of a mapping every other one is a key."""
        if not self._open:
            self._root = node
            return
        around = self._open[-1]
        if isinstance(around, Items):
            around.nodes.append(node)
            return
        key, keys = self._keys[-1]
        if key is not None:
            around.pairs.append((key, node))
            self._keys[-1] = (None, keys)
        elif not isinstance(node, Scalar):
            raise self._wrong(node.line, "a list or mapping as a key; expected a word")
        elif node.text in keys:  # readers of YAML take the last one
            raise self._wrong(node.line, f"{cut(node.text)} is given twice")
        else:
            keys.add(node.text)
            self._keys[-1] = (node, keys)


def parse_json(
    data: bytes | str, what: str, limits: Limits = PIPELINE, *, constants: bool = False
) -> Any:
    """Return the values of a JSON document; ``constants`` allows NaN and Infinity, as Python does.

    Raises
    ------
    WrongUse
        For what is no JSON, or not within the limits.
    """
    if len(data) > limits.size:
        raise WrongUse(f"{what}: {len(data)} bytes; expected at most {limits.size}")
    try:
        text = data if isinstance(data, str) else data.decode("utf-8-sig")
        _check_tokens(text, limits)
        return json.loads(
            text, object_pairs_hook=_object, parse_constant=float if constants else _constant,
            parse_int=_number, parse_float=_number,
        )  # fmt: skip
    except json.JSONDecodeError as error:
        raise WrongUse(f"{what}: line {error.lineno}: not JSON: {cut(error.msg)}") from None
    except UnicodeDecodeError:
        raise WrongUse(f"{what}: not JSON: it is not UTF-8") from None
    except ValueError as error:
        raise WrongUse(f"{what}: {error}") from None


def _check_tokens(text: str, limits: Limits) -> None:
    """Raise ValueError where a document is too deep, too long, or has too long a number."""
    depth = count = 0
    for match in _JSON.finditer(text):
        token = match.group()
        if token in "[{":
            depth += 1
        elif token in "]}":
            depth -= 1
        elif token[0] == '"':
            if len(token) > limits.text + 2:
                raise ValueError(f"a text of {len(token) - 2}; expected at most {limits.text}")
        elif token != "," and len(token) > limits.number:
            raise ValueError(f"a number of {len(token)}; expected at most {limits.number}")
        count += token in "[{,"
        if depth > limits.depth:
            raise ValueError(f"expected lists at most {limits.depth} deep")
        if count > limits.nodes:
            raise ValueError(f"expected at most {limits.nodes} values")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise ValueError(f"{echo(twice)} is given twice")
    return found


def _constant(name: str) -> Any:
    raise ValueError(f"{name}: expected a number that is finite")


def _number(text: str) -> Word:
    return word_of(text, len(text))
