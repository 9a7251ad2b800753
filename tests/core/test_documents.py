"""Documents from outside: what words mean, and that nothing costs more than its length."""

import json
import math
import time
import tracemalloc
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from fibstream.core.documents import PIPELINE, Limits, parse_json, parse_yaml, plain, word_of
from fibstream.core.echo import MAX_ECHO, cut, echo, listed
from fibstream.core.errors import WrongUse

SECONDS = 1.0
MEMORY = 50 << 20
MESSAGE = 200


def read(text: str) -> Any:
    root = parse_yaml(text, "p")
    return None if root is None else plain(root)


def test_words_are_those_of_yaml_1_2() -> None:
    text = "[~, null, '', true, FALSE, 1, -2, 2e6, 1.5e+3, .5, 1., a b, 'true', \"1\"]"
    assert read(text) == [
        None, None, "", True, False, 1, -2, 2e6, 1500.0, 0.5, 1.0, "a b", "true", "1",
    ]  # fmt: skip
    assert read("a: {b: [1]}\nc:\n") == {"a": {"b": [1]}, "c": None}
    assert read("# nothing") is None


@pytest.mark.parametrize(
    "word",
    ["yes", "no", "on", "2024-99-99", "0xfff", "010", "0o7", "1:30", "1_000", ".inf", ".nan"],
)
def test_what_readers_take_for_different_things_is_text(word: str) -> None:
    assert read(f"a: {word}") == {"a": word}


REFUSED = {
    "anchor": ("a: 1\nb: &x 1", "line 2: 'x': expected no anchors"),
    "alias": ("a: *x", "line 1: 'x': expected no anchors"),
    "merge": ("set: {<<: {a: 1}}", r"line 1: expected no merges"),
    "merge of itself": ("set: &s {<<: *s}", "line 1: 's': expected no anchors"),
    "tag": ("a:\n  !!int abc", "line 2: 'tag:yaml.org,2002:int': expected no tags"),
    "time": ("!!timestamp abc", "line 1: 'tag:yaml.org,2002:timestamp': expected no tags"),
    "digits": ("a: " + "9" * 45_000, "line 1: a number of 45000 characters; expected at most 40"),
    "large": ("a: 1e999", "line 1: 1e999 is no float64"),
    "small": ("a: 1e-999", "line 1: 1e-999 is no float64"),
    "text": ("\n\na: " + "x" * 5000, "line 3: a text of 5000 characters; expected at most 4096"),
    "long": ("#" * 70_000, "70000 bytes; expected at most 65536"),
    "long in bytes": ("#" + "\u00e9" * 40_000, "80001 bytes; expected at most 65536"),
    "deep": ("[" * 5000, "line 1: expected lists at most 16 deep"),
    "many": ("- a\n" * 5000, "line 4000: expected at most 4000 words and lists"),
    "key twice": ("a: {b: 1,\n b: 2}", "line 2: b is given twice"),
    "list as key": ("? [a]\n: b", "line 1: a list or mapping as a key"),
    "documents": ("--- a\n--- b", "line 2: a second document"),
    "zero": ("a: \0", "not YAML: it holds characters"),
    "escaped zero": ('a: "\\0"', r"line 1: '\\x00': expected characters that can be printed"),
    "surrogate": ('a: "\\ud800"', r"line 1: '\\ud800': expected characters that can be printed"),
    "no character": ('a: "\\UFFFFFFFF"', "not YAML: an escape or a directive"),
    "no version": ("%YAML " + "9" * 5000 + "\n--- a", "not YAML: an escape or a directive"),
    "no yaml": ("a: [1", "line 1: not YAML: "),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_refused_is_named_with_its_line(text: str, reason: str) -> None:
    with pytest.raises(WrongUse, match=f"^p: {reason}") as caught:
        read(text)
    assert len(str(caught.value)) < MESSAGE and str(caught.value).isprintable()


PATTERNS = (
    "[", "{", "- ", "? ", "a:\n", "a\n", "%a\n", "&a ", "*a ", "!a ", "# ", "'\n", "[a,", "{a: ",
    "[? ", ":", "-", "|\n ", ">\n b", '"\\x41', "a: b, ", "<<: ", "\n", "\t", "9", "---\n", ", ",
)  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("begin", ["", "a: ["])
def test_time_and_memory_follow_from_the_length(pattern: str, begin: str) -> None:
    text = (begin + pattern * PIPELINE.size)[: PIPELINE.size]
    tracemalloc.start()
    started = time.process_time()
    try:
        read(text)
    except WrongUse as error:
        assert len(str(error)) < MESSAGE
    finally:
        spent = time.process_time() - started
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert spent < SECONDS * 5  # tracing alone takes four times as long
    assert peak < MEMORY


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**18), 10**18) | st.text(max_size=20)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner,
                                                                max_size=4),
    max_leaves=20,
)  # fmt: skip


@settings(deadline=None, max_examples=100)
@given(VALUES)
def test_what_is_written_is_read_again(value: Any) -> None:
    """Of YAML that is so but for texts with characters that cannot be printed."""
    assert parse_json(json.dumps(value), "p", PIPELINE) == value
    written = yaml.safe_dump(value, allow_unicode=True)
    try:
        assert read(written) == value
    except WrongUse as error:
        assert "expected characters that can be printed" in str(error)


JSON_REFUSED = {
    "digits": ('{"a": ' + "9" * 45_000 + "}", "a number of 45000; expected at most 40"),
    "twice": ('{"a": 1, "a": 2}', "'a' is given twice"),
    "constant": ("[NaN]", "NaN: expected a number that is finite"),
    "large": ("[1e999]", "1e999 is no float64"),
    "deep": ("[" * 20 + "]" * 20, "expected lists at most 16 deep"),
    "many": ("[" + "1," * 5000 + "1]", "expected at most 4000 values"),
    "text": (json.dumps("x" * 5000), "a text of 5000; expected at most 4096"),
    "long": (" " * 70_000, "70000 bytes; expected at most 65536"),
    "no json": ('{"a":\n a}', "line 2: not JSON: Expecting value"),
    "no text": (b"\xff\xfe\x00", "not JSON: it is not UTF-8"),
}


@pytest.mark.parametrize(("data", "reason"), JSON_REFUSED.values(), ids=JSON_REFUSED)
def test_json_is_read_within_the_same_limits(data: str | bytes, reason: str) -> None:
    with pytest.raises(WrongUse, match=f"^p: {reason}") as caught:
        parse_json(data, "p", PIPELINE)
    assert len(str(caught.value)) < MESSAGE


def test_limits_may_be_others() -> None:
    assert parse_json("[1, 2]", "p", Limits(nodes=3)) == [1, 2]
    with pytest.raises(WrongUse, match="at most 1 values"):
        parse_json("[1, 2]", "p", Limits(nodes=1))


@given(st.text("0123456789.eE+-xinfa_:", max_size=12))
def test_a_word_is_what_json_says_or_text(text: str) -> None:
    try:
        value = word_of(text)
    except ValueError:
        return
    if isinstance(value, int | float) and not isinstance(value, bool):
        assert math.isfinite(value) and float(text) == value
    else:
        assert value in (None, text)


# -- what messages repeat --------------------------------------------------------------------------

DEEP: list[Any] = []
for _ in range(30):
    DEEP = [DEEP] * 9  # 9**30 values, were they written


GIVEN = {
    "deep": DEEP, "digits": 10**5000, "long": "x" * 10**6, "bytes": b"\0" * 10**6,
    "mapping": {"a": DEEP}, "lines": ("a\nb",), "separator": "\u2028", "none": None,
}  # fmt: skip


@pytest.mark.parametrize("value", GIVEN.values(), ids=GIVEN)
def test_what_is_repeated_is_one_short_line(value: object) -> None:
    for most in (MAX_ECHO, 40):
        found = [echo(value, most), *([cut(value, most)] if isinstance(value, str) else [])]
        assert all(len(text) <= most and text.isprintable() for text in found)


@given(st.lists(st.text("ab", max_size=40), max_size=50))
def test_names_are_listed_as_far_as_a_line_goes(names: list[str]) -> None:
    found = listed(names)
    assert len(found) <= MAX_ECHO
    if names and len(", ".join(names)) <= MAX_ECHO:
        assert found == ", ".join(names)


@pytest.mark.parametrize("end", ["", "\\", '"'])
def test_a_text_without_an_end_is_looked_through_once(end: str) -> None:
    """Each quote in it as a new beginning would take hours; the time limit of tests is a minute."""
    wide = Limits(size=1 << 24, text=1 << 23)
    with pytest.raises(WrongUse, match="not JSON"):
        parse_json('{"a": "' + '\\"' * 1_000_000 + end, "x", wide)
