"""Pipelines: a YAML file, or the name of one that is built in.

A pipeline lists networks, stored predictions and other names of classes, and organelles; each
further word is a list that one service reads, by the model of an element that it declares.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from pydantic import Field, SerializeAsAny, TypeAdapter, ValidationError

from fibstream.core.dataset import (
    MAX_SQUASH_NM,
    MIN_SQUASH_NM,
    SQUASH_NM,
    Frozen,
    Name,
    SquashLength,
    check_name,
)
from fibstream.core.documents import PIPELINE, Fields, Items, Node, Scalar, parse_yaml, plain
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse
from fibstream.core.service import Word
from fibstream.registry import words as declared_words
from fibstream.services.refine.recipe import find_recipe, recipes, resolve

# Of each list of a pipeline: a cell has some 40 kinds of organelles, and whatever is listed is a
# stage or more, which every planner plans chunk by chunk.
MAX_LISTED = 64
MAX_MODELS = 8  # engines are in memory at once, some hundred MB each
# A file each beside this one: its name is that of the pipeline.
BUILT_IN: Mapping[str, str] = {
    path.stem: path.read_text("utf-8")
    for path in sorted((Path(__file__).parent / "built_in").glob("*.yaml"))
}
_LENGTH = TypeAdapter(SquashLength)
Words = Mapping[str, Word]  # further words of a pipeline, each read by the service that declares it


class Entry(Frozen):
    """An element of a list of a pipeline; ``where`` is how messages begin, with its line."""

    where: str = Field(default="pipeline:", exclude=True, repr=False)


class OrganelleEntry(Entry):
    """One organelle: its recipe, the inputs that are given, the settings that differ."""

    name: Name
    recipe: str
    inputs: Mapping[str, str] = Field(default_factory=dict)  # role of the recipe -> name
    set: Mapping[str, Any] = Field(default_factory=dict)


class PredictionEntry(Entry):
    """A prediction: the class of a network under another name, or one that lands.

    What lands is stored at a path, or a client has it, which knows its squash length.
    """

    name: Name
    model: str = ""
    channel: str = ""
    path: str = ""
    # What is stored at the path, or lands; with a path, distance is that of labels.
    given_as: Literal["", "distance", "probability", "labels", "mask"] = ""
    squash_nm: float = Field(default=0.0, ge=0, le=MAX_SQUASH_NM)  # 0: not given

    @property
    def lands(self) -> bool:
        """Whether no network makes it."""
        return not self.model

    @property
    def made_of(self) -> Literal["", "labels", "mask"]:
        """What its distances are computed from, where that is declared."""
        return self.given_as if self.given_as in ("labels", "mask") else ""

    @property
    def length_nm(self) -> float:
        """The squash length of what a client lands; 0 of a probability."""
        return 0.0 if self.given_as == "probability" else self.squash_nm or SQUASH_NM

    @property
    def holds_labels(self) -> bool:
        """Whether its path holds labels, or a mask."""
        return bool(self.path) and self.given_as in ("distance", "labels", "mask")


class Pipeline(Frozen):
    """Networks that predict, and organelles made of their predictions."""

    models: tuple[str, ...] = ()
    predictions: tuple[PredictionEntry, ...] = ()
    organelles: tuple[OrganelleEntry, ...] = ()
    steps: Mapping[str, tuple[SerializeAsAny[Frozen], ...]] = Field(default_factory=dict)
    # Of each element of a list how messages begin, with its line.
    places: Mapping[str, tuple[str, ...]] = Field(default_factory=dict, exclude=True, repr=False)

    def where(self, word: str, number: int) -> str:
        """Return how a message on one element of a list begins."""
        places = self.places.get(word, ())
        return places[number] if number < len(places) else "pipeline:"


AnyEntry = TypeVar("AnyEntry", PredictionEntry, OrganelleEntry)


def read_pipeline(name_or_path: str) -> Pipeline:
    """Return a pipeline; raise WrongUse naming the line of whatever is wrong in it."""
    path = Path(name_or_path)
    if name_or_path in BUILT_IN:
        text = BUILT_IN[name_or_path]
    elif _is_file(path):
        with path.open("rb") as file:  # one byte more than it may have shows that it is too long
            text = file.read(PIPELINE.size + 1).decode(errors="replace")
    else:
        known = ", ".join(BUILT_IN)
        raise WrongUse(f"pipeline {name_or_path}: not a file, and not built in ({known})")
    return parse_pipeline(text, str(path))


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def requested_pipeline(text: str) -> Pipeline:
    """Return the pipeline that a client sends: a built-in name, or YAML."""
    if text and ":" not in text and text not in BUILT_IN:
        raise WrongUse(f"pipeline {echo(text)}: not built in ({', '.join(BUILT_IN)}), nor YAML")
    return parse_pipeline(BUILT_IN.get(text, text), "as sent")


def parse_pipeline(text: str, name: str, words: Words | None = None) -> Pipeline:
    """Return the pipeline that a YAML text describes; raise WrongUse naming the wrong line.

    ``words`` are allowed beside those of every pipeline: by default those of all services.
    """
    what = f"pipeline {name}"
    return _Reader(what, declared_words() if words is None else words).pipeline(
        parse_yaml(text, what)
    )


def network_name(given: str) -> str:
    """Return the name of a network that ``models`` gives by its name or its file."""
    return Path(given).name.removesuffix(".onnx")


_PREDICTION_WORDS = ("name", "from", "as", "squash_nm", "model", "class")
GIVEN_AS = ("distance", "probability", "labels", "mask")
_PREDICTIONS = (
    {"name", "from"}, {"name", "from", "as"}, {"name", "squash_nm"}, {"name", "as"},
    {"name", "as", "squash_nm"}, {"name", "model", "class"},
)  # fmt: skip


class _Reader:
    """Walks the nodes of a document, which know their lines."""

    def __init__(self, what: str, words: Words) -> None:
        self._what = what
        self._words = words

    def _where(self, node: Node | None) -> str:
        return f"{self._what}: line {node.line}:" if node is not None else f"{self._what}:"

    def _wrong(self, node: Node | None, message: str) -> WrongUse:
        return WrongUse(f"{self._where(node)} {message}")

    def pipeline(self, root: Node | None) -> Pipeline:
        allowed = ("models", "predictions", "organelles", *self._words)
        parts = self._mapping(root, "", allowed)
        lists = {word: self._list(node, word) for word, node in parts.items()}
        places = {word: tuple(map(self._where, nodes)) for word, nodes in lists.items()}
        models = self._models(lists.pop("models", []))
        predictions = self._named(lists.pop("predictions", []), self._prediction)
        if not models and not any(entry.lands for entry in predictions):
            raise self._wrong(root, "models names no network; expected models: [NAME or FILE.onnx]")
        organelles = self._named(lists.pop("organelles", []), self._organelle)
        steps = {
            word: tuple(self._step(word, node) for node in nodes) for word, nodes in lists.items()
        }
        return Pipeline(
            models=tuple(models), predictions=tuple(predictions), organelles=tuple(organelles),
            steps=steps, places=places,
        )  # fmt: skip

    def _models(self, nodes: Sequence[Node]) -> list[str]:
        """Return networks; they are told apart by name, before any of them is loaded."""
        found: dict[str, str] = {}
        for node in nodes:
            given = self._text(node)
            name = network_name(given)
            if name in found:
                raise self._wrong(node, f"network {cut(name)} is given twice")
            found[name] = given
        return list(found.values())

    def _named(self, nodes: Sequence[Node], read: Callable[[Node], AnyEntry]) -> list[AnyEntry]:
        """Return the entries of a list; their names must differ by more than case."""
        found: dict[str, AnyEntry] = {}
        for node in nodes:
            entry = read(node)
            if entry.name.lower() in found:
                raise self._wrong(node, f"{entry.name} is named twice")
            found[entry.name.lower()] = entry
        return list(found.values())

    def _prediction(self, node: Node) -> PredictionEntry:
        parts = self._mapping(node, "predictions", _PREDICTION_WORDS)
        given = {word: self._text(value) for word, value in parts.items()}
        if given.keys() not in _PREDICTIONS:
            raise self._wrong(
                node, "a prediction is {name, from: PATH}, {name, as or squash_nm} or {name, "
                "model, class}; as: labels or mask where distances are to be made of them"
            )  # fmt: skip
        word = given.get("as", "")
        if "as" in given and word not in GIVEN_AS:
            raise self._wrong(parts["as"], f"as is {echo(word)}: expected {', '.join(GIVEN_AS)}")
        if word == "probability" and "squash_nm" in given:
            raise self._wrong(parts["squash_nm"], "a probability has no squash_nm; leave it out")
        return PredictionEntry(
            name=self._part_name(parts["name"]), model=given.get("model", ""),
            channel=given.get("class", ""), path=given.get("from", ""),
            given_as=cast("Any", word), where=self._where(node),
            squash_nm=self._length(parts["squash_nm"]) if "squash_nm" in parts else 0.0,
        )  # fmt: skip

    def _organelle(self, node: Node) -> OrganelleEntry:
        parts = self._mapping(node, "organelles", ("name", "recipe", "from", "set"))
        given = parts.get("recipe", parts.get("name"))
        if given is None:
            raise self._wrong(node, f"an organelle needs recipe: one of {listed(recipes())}")
        recipe = self._text(given)
        if "recipe" not in parts and recipe not in recipes():
            raise self._wrong(
                node, f"organelle {cut(recipe)} needs recipe: one of {listed(recipes(), 60)}"
            )
        settings = self._settings(recipe, parts.get("set"), given)
        return OrganelleEntry(
            name=self._part_name(parts.get("name", given)), recipe=recipe,
            inputs=self._inputs(recipe, parts["from"]) if "from" in parts else {}, set=settings,
            where=self._where(node),
        )  # fmt: skip

    def _settings(self, recipe: str, node: Node | None, named: Node) -> Mapping[str, Any]:
        """Return the settings that ``set`` gives, once they are those of the recipe."""
        settings: dict[str, Any] = {}
        if node is not None:
            self._mapping(node, "set", None)
            settings = plain(node)
        try:
            resolve(recipe, settings)
        except WrongUse as error:
            raise self._wrong(node if node is not None else named, str(error)) from None
        return settings

    def _inputs(self, recipe: str, node: Node) -> Mapping[str, str]:
        """Return the inputs that ``from`` gives: one name for the first role, or name by role."""
        roles = [role.name for role in find_recipe(recipe).inputs]
        if isinstance(node, Scalar):
            return {roles[0]: self._text(node)}
        parts = self._mapping(node, "from", roles)
        return {role: self._text(value) for role, value in parts.items()}

    def _step(self, word: str, node: Node) -> Frozen:
        """Return one element of a further word, by the model that its service declares."""
        model = self._words[word].entry
        allowed = [field.alias or name for name, field in model.model_fields.items()]
        parts = self._mapping(node, word, allowed)
        try:
            return model.model_validate(plain(node))
        except ValidationError as error:
            first = error.errors()[0]
            field = str(first["loc"][0]) if first["loc"] else ""
            inner = ".".join(part for part in first["loc"] if isinstance(part, str))
            said = first["msg"].removeprefix("Value error, ")
            message = cut(f"{inner}: {said}" if inner else said, 140)
            raise self._wrong(parts.get(field, node), f"{word}: {message}") from None

    def _mapping(
        self, node: Node | None, what: str, words: Sequence[str] | None
    ) -> dict[str, Node]:
        if not isinstance(node, Fields):
            expected = listed(f"{w}:" for w in words or ("key:",))
            raise self._wrong(node, f"{what or 'a pipeline'} is a mapping with {expected}")
        for key, _ in node.pairs:
            if words is not None and key.text not in words:
                known = listed(words)
                raise self._wrong(key, f"unknown word {echo(key.text, 60)}; allowed: {known}")
        return {key.text: value for key, value in node.pairs}

    def _list(self, node: Node, what: str) -> list[Node]:
        if not isinstance(node, Items):
            raise self._wrong(node, f"{what} is a list")
        most = MAX_MODELS if what == "models" else MAX_LISTED
        if len(node.nodes) > most:
            raise self._wrong(node, f"{what} lists {len(node.nodes)}; expected at most {most}")
        return node.nodes

    def _text(self, node: Node) -> str:
        if not isinstance(node, Scalar) or not node.text:
            raise self._wrong(node, "expected a name")
        return node.text

    def _length(self, node: Node) -> float:
        """Return a length, in nm, of what a prediction holds."""
        value = plain(node)
        try:
            return _LENGTH.validate_python(value)
        except ValidationError:
            raise self._wrong(
                node, f"expected a length from {MIN_SQUASH_NM:g} to {MAX_SQUASH_NM:g} nm,"
                f" not {echo(value)}"
            ) from None  # fmt: skip

    def _part_name(self, node: Node) -> str:
        """Return the name of a prediction or an organelle, which becomes part of paths."""
        try:
            return check_name(self._text(node))
        except ValueError as error:
            raise self._wrong(node, str(error)) from None
