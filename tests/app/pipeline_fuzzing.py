"""Pipelines that nobody would write, and the law that each of them must keep.

The law: a dataset or one short line, within a second and 50 MB. Texts are drawn from a seed: valid
pipelines edited at random, and pieces of YAML's grammar. Trees are drawn by the schemas of the
models that read them, of values inside and outside the bounds.
"""

import json
import random
import time
import tracemalloc
from collections.abc import Callable
from typing import Any, NamedTuple

import yaml
from hypothesis import strategies as st

from fibstream.app.design import dataset_of, requested_lengths_nm
from fibstream.app.naming import taken
from fibstream.app.pipelines import BUILT_IN, OrganelleEntry, PredictionEntry, requested_pipeline
from fibstream.core.dataset import Dataset, Model
from fibstream.core.errors import WrongUse
from fibstream.registry import words
from fibstream.services.inference.edges.model import MODELS, read_model, released
from fibstream.services.ingest.edges.datasets import DatasetRequest
from fibstream.services.refine.recipe import recipes
from fibstream.store.gate import gate_of

SECONDS = 1.0  # of a core
MEMORY = 50 << 20
LINE = 200

REQUESTS = [
    DatasetRequest("cell", shape, chunk, "uint8", (edge,) * 3, (0.0, 255.0), False, "", absent)
    for shape, chunk, edge, absent in (
        ((None, 512, 512), None, 10.0, None), ((64, 64, 64), (8, 8, 8), 9.5, 3.0),
        ((2**21, 2**12, 2**13), (512, 512, 512), 10.5, None),
    )
]  # fmt: skip
VALID = (
    "mito",
    "models: [mito]\norganelles:\n  - recipe: mito\n  - {name: b, recipe: generic, from: mito,\n"
    "     set: {smooth_nm: 12, threshold_nm: -2.5e+1, connectivity: 26, fill_holes: all,\n"
    "           min_volume_nm3: 1.0e6, max_volume_nm3: 1e9, min_rule: ceil}}\n",
    "predictions:\n  - {name: er, squash_nm: 50}\n  - {name: ld, squash_nm: 30.5}\norganelles:\n"
    "  - {name: er, recipe: generic, from: er}\n  - name: ld\n    recipe: generic\n    from:\n"
    "      prediction: ld\ncontacts:\n  - {a: er, b: ld, distance_nm: 40}\n"
    "  - {a: er, b: er, distance_nm: 20, name: near, kind: naive}\n",
    "models: [mito]\npredictions:\n  - {name: other, model: mito, class: mito}\norganelles:\n"
    "  - {recipe: generic, from: other}\n",
)
PIECES = (
    "[", "]", "{", "}", ": ", ", ", "- ", "? ", "&a ", "*a", "<<: *a\n", "<<: ", "!!int ", "!!str ",
    "!!python/object:os.system ", "!t ", "|\n  ", ">-\n  ", "'", '"', "\\", "# ", "%YAML 1.1\n",
    "---\n", "...\n", "\n", "\n  ", "\t", "\0", "\ufeff", "\u2028", "\u00e9", "\U0001f400", "~",
    "null", "true", "yes", "2024-99-99", "0xfff", "0o17", "017", "1:30", "1_000", ".inf", "-.inf",
    ".nan", "1e999", "1e-999", "5e-324", "1e308", "-1e308", "-1", "0", "9" * 50, "9" * 5000,
    '"\\ud800"', '"\\0"', '"\\UFFFFFFFF"', "../x", "a--b", "zarr.json", "x" * 65, "x" * 300,
    "x" * 5000, "models: ", "predictions: ", "organelles: ", "contacts: ", "recipe: ", "name: ",
    "from: ", "set: ", "as: distance", "squash_nm: ", "model: ", "class: ", "smooth_nm: ", "a: ",
    "distance_nm: ", "mito", "generic", "er", "raw", "{a: " * 30, "[" * 300, "- " * 40,
)  # fmt: skip


class NoRoot:
    """A root without a folder of networks."""

    local = None


class Found(NamedTuple):
    """What came of one pipeline: a line, empty where it was accepted."""

    line: str
    seconds: float


def mito() -> tuple[Model, Any]:
    """Return the released network as a dataset records it."""
    spec = read_model(MODELS / "mito.onnx")
    fields = spec.model_dump(mode="json")
    return Model(
        name=spec.name, classes=spec.classes, sha256=spec.sha256, spec=fields, profile={}
    ), spec  # fmt: skip


MITO, SPEC = mito()


def resolve(text: str, request: DatasetRequest) -> Dataset:
    """Return the dataset that a client gets of services that admit no files; without engines."""
    pipeline, _ = taken(requested_pipeline(text), words(), gate_of(()))
    paths = [released(name, NoRoot()) for name in pipeline.models]  # type: ignore[arg-type]
    models, specs = [MITO] * len(paths), [SPEC] * len(paths)
    return dataset_of(request, pipeline, models, specs, requested_lengths_nm(pipeline))


def check_law(text: str, request: DatasetRequest) -> Found:
    """Fail unless a pipeline is a dataset or one short line, soon."""
    started = time.process_time()
    try:
        resolve(text, request)
        line = ""
    except WrongUse as error:
        line = str(error)
        assert line.isprintable() and 0 < len(line) < LINE, (len(line), line[:400])
    seconds = time.process_time() - started
    assert seconds < SECONDS, (seconds, text[:300])
    return Found(line, seconds)


def held(text: str, request: DatasetRequest) -> int:
    """Return the most bytes that were held at a time for one pipeline; it takes longer."""
    tracemalloc.start()
    try:
        resolve(text, request)
    except WrongUse:
        pass
    finally:
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return most


# -- texts -----------------------------------------------------------------------------------------


def _span(rng: random.Random, text: str) -> tuple[int, int]:
    start = rng.randint(0, len(text))
    return start, min(len(text), start + rng.choice((1, 1, 3, 10, 40)))


def _cut(rng: random.Random, text: str) -> str:
    a, b = _span(rng, text)
    return text[:a] + text[b:]


def _insert(rng: random.Random, text: str) -> str:
    a, _ = _span(rng, text)
    return text[:a] + rng.choice(PIECES) + text[a:]


def _replace(rng: random.Random, text: str) -> str:
    """Replace one word, such as a number or a name."""
    parts = text.split(" ")
    place = rng.randrange(len(parts))
    parts[place] = rng.choice(PIECES) + ("," if parts[place].endswith(",") else "")
    return " ".join(parts)


def _repeat(rng: random.Random, text: str) -> str:
    a, b = _span(rng, text)
    return text[:a] + text[a:b] * rng.choice((2, 2, 5, 70, 3000)) + text[b:]


def _move(rng: random.Random, text: str) -> str:
    lines = text.split("\n")
    lines.insert(rng.randint(0, len(lines)), lines.pop(rng.randrange(len(lines))))
    return "\n".join(lines)


EDITS: tuple[Callable[[random.Random, str], str], ...] = (_cut, _insert, _replace, _repeat, _move)


def text_of(seed: int) -> str:
    """Return a text: three of four are edited pipelines, the rest pieces one after the other."""
    rng = random.Random(seed)
    if rng.random() < 0.25:
        return "".join(rng.choice(PIECES) for _ in range(rng.randint(1, 40)))
    text = rng.choice([*VALID, *BUILT_IN.values()])
    for _ in range(rng.choice((1, 1, 2, 3, 8))):
        text = rng.choice(EDITS)(rng, text)
    return text


# -- trees -----------------------------------------------------------------------------------------

WILD: st.SearchStrategy[Any] = st.sampled_from(
    [None, True, False, 0, -1, 1, 1e308, -1e308, 5e-324, 10**39, 10**400, "", "1", "true", "a",
     "er", "mito", "x" * 65, "x" * 5000, [], [1], [[[]]], {}, {"a": {"b": [1]}}]
)  # fmt: skip


def values_of(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Return values of a JSON schema: most of them fit, at the bounds too, some do not."""
    return st.integers(0, 49).flatmap(lambda n: WILD if n == 49 else _fitting(schema, definitions))


def _fitting(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return values_of(definitions[schema["$ref"].rpartition("/")[2]], definitions)
    if choices := schema.get("anyOf"):
        return st.one_of([_fitting(each, definitions) for each in choices])
    if "enum" in schema or "const" in schema:
        return st.sampled_from(schema.get("enum", [schema.get("const")]))
    kind = schema.get("type")
    if kind in ("number", "integer"):
        low, high = schema.get("minimum", -10), schema.get("maximum", 10)
        usual = [0, 1, 12, 40, 0.5, 50]
        fits = [n for n in usual if low <= n <= high]
        between = st.integers(low, high) if kind == "integer" else st.floats(low, high)
        return st.sampled_from([*fits * 4, low, high, low - 1, high + 1]) | between
    if kind == "array":
        return st.lists(values_of(schema.get("items", {}), definitions), max_size=3)
    if kind == "object" and "properties" in schema:
        return _object(schema, definitions)
    if kind == "object":
        return st.dictionaries(st.sampled_from(["prediction", "a", ""]), WILD, max_size=2)
    if kind == "string":
        return st.sampled_from(["er", "mito", "b", "near", "generic"])
    return st.none() if kind == "null" else WILD


def _object(schema: dict[str, Any], definitions: dict[str, Any]) -> st.SearchStrategy[Any]:
    fields = {name: values_of(each, definitions) for name, each in schema["properties"].items()}
    required = {name: fields.pop(name) for name in schema.get("required", ())}
    return st.fixed_dictionaries(required, optional=fields)


def _model(model: Any, **renamed: str) -> st.SearchStrategy[Any]:
    """Return entries as a model has them, under the words of a pipeline."""
    schema = model.model_json_schema()
    made = values_of(schema, schema.get("$defs", {}))

    def rename(entry: Any) -> Any:
        if not isinstance(entry, dict):
            return entry
        return {renamed.get(name, name): value for name, value in entry.items()
                if renamed.get(name) != ""}  # fmt: skip

    return made.map(rename)


def _organelles() -> st.SearchStrategy[Any]:
    """Return organelles with settings of their recipe."""
    plain = _model(OrganelleEntry, inputs="from", where="")
    return st.one_of(plain, *(_with_settings(plain, name) for name in recipes()))


def _with_settings(entries: st.SearchStrategy[Any], recipe: str) -> st.SearchStrategy[Any]:
    def put(pair: tuple[Any, Any]) -> Any:
        entry, settings = pair
        return {**entry, "recipe": recipe, "set": settings} if isinstance(entry, dict) else entry

    return st.tuples(entries, _model(type(recipes()[recipe].settings))).map(put)


def trees() -> st.SearchStrategy[Any]:
    """Return pipelines as values: each word is a list of what its model reads."""
    entries = {
        "models": st.sampled_from(["mito", "mito", "mito", "a.onnx", "../x"]),
        "predictions": st.sampled_from([{"name": "er", "squash_nm": 50}] * 9)
        | _model(PredictionEntry, channel="class", path="from", given_as="as", where=""),
        "organelles": _organelles(),
        **{name: _model(word.entry) for name, word in words().items()},
    }
    lists = {name: _lists(each) for name, each in entries.items()}
    given = {"predictions": lists.pop("predictions")}
    return st.fixed_dictionaries(given, optional=lists)


def _lists(each: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Return mostly lists of one or two elements."""

    def lists(number: int) -> st.SearchStrategy[Any]:
        if number == 19:
            return each.map(lambda one: [one] * 65)
        return WILD if number == 18 else st.lists(each, min_size=1, max_size=1 + number % 2)

    return st.integers(0, 19).flatmap(lists)


def written(tree: Any, style: int) -> str:
    """Return a tree as text: as JSON, or as YAML in blocks or inline."""
    if style == 0:
        try:
            return json.dumps(tree)
        except ValueError:  # of a number of thousands of digits
            style = 1
    try:
        return str(yaml.safe_dump(tree, default_flow_style=style == 1))
    except ValueError:
        return "models: [" + "9" * 5000 + "]"
