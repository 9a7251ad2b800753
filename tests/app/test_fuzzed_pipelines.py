"""Pipelines of strangers: what each attack was answered with, and 2,000 drawn at random."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fibstream.app.pipelines import parse_pipeline
from fibstream.core.errors import WrongUse

from .pipeline_fuzzing import (
    MEMORY,
    REQUESTS,
    VALID,
    check_law,
    held,
    resolve,
    text_of,
    trees,
    written,
)

M = "models: [m]\n"
MADE = f"{M}organelles:\n"
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)
SET = "  - {recipe: mito, set: {smooth_nm: "
REFUSED = {
    "bomb": (BOMB, "line 1: 'a0': expected no anchors and aliases"),
    "alias in a setting": (
        MADE + "  - {recipe: mito, set: {connectivity: &a [6], b: *a}}", "line 3: 'a': expected"),
    "merge of itself": (
        MADE + "  - {recipe: mito, set: &s {<<: *s}}", "line 3: 's': expected no anchors"),
    "merge": (MADE + "  - {recipe: mito, set: {<<: {a: 1}}}", "line 3: expected no merges"),
    "digits": (f"{MADE}{SET}{'9' * 45_000}}}}}", "line 3: a number of 45000 characters"),
    "date": (MADE + SET + "2024-99-99}}", "line 3: .*is '2024-99-99': expected a num"),
    "hexadecimal": (f"{MADE}{SET}0x{'f' * 3000}}}}}", "line 3: .* smooth_nm is '0xfff"),
    "tag": (MADE + SET + "!!int abc}}", "line 3: 'tag:yaml.org,2002:int': expected no tags"),
    "time": (MADE + SET + "!!timestamp abc}}", "line 3: .*expected no tags"),
    "deep": (MADE + SET + "[" * 2000, "line 3: expected lists at most 16 deep"),
    "one network": (f"models: [{'mito, ' * 10_900}]", "line 1: expected at most 4000 words"),
    "some networks": (f"models: [{'mito, ' * 999}]", "line 1: models lists 999; expected at most"),
    "two networks": ("models: [mito, mito]", "line 1: network mito is given twice"),
    "network and file": ("models: [mito, a/mito.onnx]", "line 1: network mito is given twice"),
    "organelles": (MADE + "  - recipe: mito\n" * 65, "line 3: organelles lists 65; expected at mo"),
    "contacts": (
        M + "contacts:\n" + "  - {a: b, b: c, distance_nm: 1}\n" * 65, "line 3: contacts lists 65"),
    "true volume": (
        MADE + "  - {recipe: mito, set: {min_volume_nm3: true}}",
        "line 3: .*min_volume_nm3 is True: expected a number of nm3"),
    "smoothing": (MADE + SET + "1e6}}", "line 3: .*smooth_nm is 1000000.0: expected .* 0 to 1000"),
    "more smoothing": (MADE + SET + "1e308}}", r"line 3: .*smooth_nm is 1e\+308: expected"),
    "true distance": (
        M + "contacts:\n  - {a: b, b: c, distance_nm: true}", "line 3: contacts: distance_nm: "),
    "text distance": (
        M + "contacts:\n  - {a: b, b: c, distance_nm: '5'}", "line 3: contacts: distance_nm: "),
}  # fmt: skip


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_an_attack_is_one_line_that_has_its_number(text: str, reason: str) -> None:
    check_law(text, REQUESTS[0])
    assert held(text, REQUESTS[0]) < MEMORY
    with pytest.raises(WrongUse, match=f"^pipeline p: {reason}"):
        parse_pipeline(text, "p")


def test_what_is_edited_is_valid() -> None:
    for request in REQUESTS[::2]:
        assert all(resolve(text, request).predictions for text in VALID)


def test_texts_are_a_dataset_or_one_line() -> None:
    for text in VALID:
        check_law(text, REQUESTS[0])  # what a process loads once
    lines = set()
    for seed in range(1600):
        text, request = text_of(seed), REQUESTS[seed % len(REQUESTS)]
        lines.add(check_law(text, request).line)
        if seed % 20 == 0:
            assert held(text, request) < MEMORY, seed
    assert "" in lines and len(lines) > 300, "too little was drawn"


@settings(deadline=None, max_examples=400, suppress_health_check=list(HealthCheck))
@given(trees(), st.integers(0, 2), st.sampled_from(REQUESTS))
def test_trees_are_a_dataset_or_one_line(tree, style, request) -> None:
    check_law(written(tree, style), request)
