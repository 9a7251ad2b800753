"""Pipelines: a YAML file, or the name of one that is built in."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field

from fibstream.core.dataset import Frozen
from fibstream.core.errors import WrongUse
from fibstream.services.refine.recipe import RECIPES, resolve

MAX_TEXT = 64 * 1024  # characters: a pipeline has some dozen lines
BUILT_IN = {"mito": "models: [mito]\norganelles:\n  - recipe: mito\n"}


class Step(Frozen):
    """One organelle: a recipe and the parameters that differ from its defaults."""

    recipe: str
    set: Mapping[str, Any] = Field(default_factory=dict)


class Pipeline(Frozen):
    """Networks that predict, and organelles made of their predictions."""

    models: tuple[str, ...]
    organelles: tuple[Step, ...] = ()


def read_pipeline(name_or_path: str) -> Pipeline:
    """Return a pipeline; raise WrongUse naming the line of whatever is wrong in it."""
    path = Path(name_or_path)
    if name_or_path in BUILT_IN:
        text = BUILT_IN[name_or_path]
    elif path.is_file():
        text = path.read_text(errors="replace")
    else:
        known = ", ".join(BUILT_IN)
        raise WrongUse(f"pipeline {name_or_path}: not a file, and not built in ({known})")
    return parse_pipeline(text, str(path))


def requested_pipeline(text: str) -> Pipeline:
    """Return the pipeline that a client sends: a built-in name, or YAML."""
    if len(text) > MAX_TEXT:
        raise WrongUse(f"pipeline: {len(text)} characters; at most {MAX_TEXT} are allowed")
    if text and ":" not in text and text not in BUILT_IN:
        raise WrongUse(f"pipeline {text[:140]!r}: not built in ({', '.join(BUILT_IN)}), nor YAML")
    return parse_pipeline(BUILT_IN.get(text, text), "as sent")


def parse_pipeline(text: str, name: str) -> Pipeline:
    """Return the pipeline that a YAML text describes; raise WrongUse naming the wrong line."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}:" if mark else ""
        raise WrongUse(
            f"pipeline {name}:{line} not YAML: {getattr(error, 'problem', '')}"
        ) from None
    return _Reader(name).pipeline(root)


class _Reader:
    """Walks the nodes of a YAML document, which know their lines."""

    def __init__(self, name: str) -> None:
        self._name = name

    def _wrong(self, node: yaml.Node | None, message: str) -> WrongUse:
        line = f" line {node.start_mark.line + 1}:" if node is not None else ""
        return WrongUse(f"pipeline {self._name}:{line} {message}")

    def pipeline(self, root: yaml.Node | None) -> Pipeline:
        parts = self._mapping(root, "", ("models", "organelles"))
        models = [self._text(node) for node in self._list(parts.get("models"), root, "models")]
        if not models:
            raise self._wrong(root, "models names no network; expected models: [NAME or FILE.onnx]")
        nodes = self._list(parts["organelles"], root, "organelles") if "organelles" in parts else []
        steps = [self._step(node) for node in nodes]
        for number, step in enumerate(steps):
            if step.recipe in {other.recipe for other in steps[:number]}:
                raise self._wrong(nodes[number], f"recipe {step.recipe} is named twice")
        return Pipeline(models=tuple(models), organelles=tuple(steps))

    def _step(self, node: yaml.Node) -> Step:
        parts = self._mapping(node, "organelles", ("recipe", "set"))
        if "recipe" not in parts:
            raise self._wrong(node, f"an organelle needs recipe: one of {', '.join(RECIPES)}")
        recipe = self._text(parts["recipe"])
        given: dict[str, Any] = {}
        if "set" in parts:
            self._mapping(parts["set"], "set", None)
        try:
            if "set" in parts:
                given = yaml.SafeLoader("").construct_document(parts["set"])
            resolve(recipe, given)
        except yaml.YAMLError as error:
            problem = getattr(error, "problem", "")
            raise self._wrong(parts.get("set", node), f"not a value: {problem}") from None
        except WrongUse as error:
            raise self._wrong(parts.get("set", node), str(error)) from None
        return Step(recipe=recipe, set=given)

    def _mapping(
        self, node: yaml.Node | None, what: str, words: tuple[str, ...] | None
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            expected = ", ".join(f"{w}:" for w in words or ("key:",))
            raise self._wrong(node, f"{what or 'a pipeline'} is a mapping with {expected}")
        parts = {str(key.value): value for key, value in node.value}
        for key, _ in node.value:
            if words is not None and key.value not in words:
                raise self._wrong(key, f"unknown word {key.value!r}; allowed: {', '.join(words)}")
        return parts

    def _list(self, node: yaml.Node | None, parent: yaml.Node | None, what: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self._wrong(node or parent, f"{what} is a list")
        return list(node.value)

    def _text(self, node: yaml.Node) -> str:
        if not isinstance(node, yaml.ScalarNode) or not node.value:
            raise self._wrong(node, "expected a name")
        return str(node.value)
