"""No refusal of a request repeats more than 80 characters of what the request held."""

from collections.abc import Callable

import pytest

from fibstream.app.pipelines import parse_pipeline, read_pipeline, requested_pipeline
from fibstream.bus import wire
from fibstream.core.dataset import Dataset, Prediction, check_name
from fibstream.core.echo import MAX_ECHO
from fibstream.core.errors import FibstreamError
from fibstream.core.subject import parse
from fibstream.registry import service
from fibstream.runtime import root
from fibstream.services.analysis.clauses import parse_order
from fibstream.services.analysis.stages.contact_words import Contact, resolve
from fibstream.services.inference.edges.model import released
from fibstream.services.ingest.edges.datasets import DatasetRequest, check_request
from fibstream.services.ingest.edges.messages import landing_array
from fibstream.services.refine.recipe import find_recipe
from fibstream.services.refine.recipe import resolve as resolve_settings
from fibstream.volumes.zarr_n5.prediction_bytes import holds_distances, squash_of

LONG = "q" * 5000
CELL = Dataset(
    name="cell", shape=(8, 8, 8), chunk=(8, 8, 8), dtype="uint8", voxel_size_nm=(8, 8, 8),
    contrast=(0, 255), predictions=(Prediction(name="er"),),
)  # fmt: skip
M = "models: [m]\n"
MADE = f"{M}organelles:\n"


def pipeline(text: str) -> Callable[[], object]:
    return lambda: parse_pipeline(text, "as sent")


REQUEST = DatasetRequest("a", (8, 8, 8), None, LONG, (8, 8, 8), None, False, "")
REFUSED: dict[str, Callable[[], object]] = {
    "built-in": lambda: requested_pipeline(LONG),
    "word": pipeline(f"{LONG[:3000]}: [a]"),
    "model twice": pipeline(f"models: [{LONG[:3000]}, {LONG[:3000]}]"),
    "recipe": pipeline(f"{MADE}  - {{recipe: {LONG[:3000]}}}"),
    "name of none": pipeline(f"{MADE}  - {{name: {LONG[:3000]}}}"),
    "name": pipeline(f"{MADE}  - {{name: {LONG[:3000]}, recipe: mito}}"),
    "setting": pipeline(f"{MADE}  - {{recipe: mito, set: {{{LONG[:3000]}: 1}}}}"),
    "value": pipeline(f"{MADE}  - {{recipe: mito, set: {{connectivity: {LONG[:3000]}}}}}"),
    "list": pipeline(f"{MADE}  - {{recipe: mito, set: {{smooth_nm: [{'q, ' * 999}q]}}}}"),
    "role": pipeline(f"{MADE}  - {{recipe: mito, from: {{{LONG[:3000]}: 1}}}}"),
    "as": pipeline(f"predictions: [{{name: a, from: b, as: {LONG[:3000]}}}]"),
    "squash": pipeline(f"predictions: [{{name: a, squash_nm: {LONG[:3000]}}}]"),
    "organelle": pipeline(f"{M}contacts: [{{a: {LONG[:3000]}, b: c, distance_nm: 1}}]"),
    "distance": pipeline(f"{M}contacts: [{{a: b, b: c, distance_nm: {LONG[:3000]}}}]"),
    "contact": lambda: resolve(CELL, [Contact(a=LONG[:64], b="b", distance_nm=1)]),
    "find recipe": lambda: find_recipe(LONG),
    "settings": lambda: resolve_settings("mito", {LONG: 1}),
    "part": lambda: check_name(LONG),
    "dataset": lambda: root.check_name(LONG),
    "model": lambda: released(LONG[:70], None),  # type: ignore[arg-type]
    "long model": lambda: released(LONG, None),  # type: ignore[arg-type]
    "no file": lambda: read_pipeline(LONG[:300]),
    "path": lambda: released("../" + LONG, None),  # type: ignore[arg-type]
    "dtype": lambda: check_request(REQUEST),
    "prediction": lambda: landing_array(CELL, LONG),
    "subject": lambda: parse(LONG),
    "order": lambda: parse_order(LONG, ["a"]),
    "direction": lambda: parse_order("a " + LONG, ["a"]),
    "service": lambda: service(LONG),
    "event": lambda: wire.decode(LONG.encode()),
    "scale": lambda: squash_of({"squash_nm": LONG}, "p"),
    "meaning": lambda: holds_distances({"meaning": [LONG] * 10**4}, "p"),
}


@pytest.mark.parametrize("refused", REFUSED.values(), ids=REFUSED)
def test_a_refusal_is_one_short_line(
    request: pytest.FixtureRequest, refused: Callable[[], object]
) -> None:
    with pytest.raises((FibstreamError, ValueError)) as caught:
        refused()
    message = str(caught.value)
    assert message.isprintable()
    if "no file" not in request.node.name:  # that is what the user of a command gave
        assert message.count("q") <= MAX_ECHO + 5  # of our own words
        assert len(message) < 200
