"""The contacts of Heinrich et al. 2021 as a table: pairs, distances, and who loses what both have.

Their ``contact_refinements.csv``. The same can be written in a pipeline, word by word; organelles
are called as the recipes of that paper are, and as ``ribo`` and ``mt``.
"""

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple


class Pair(NamedTuple):
    """Refined contacts of two organelles; ``loses``: the side without the overlap."""

    name: str
    a: str
    b: str
    distance_nm: float = 10.0
    loses: Literal["", "a", "b"] = ""

    def fill(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return the words of a contact: those that are given go before those of the pair."""
        words = {"a": self.a, "b": self.b, "distance_nm": self.distance_nm, "kind": "refined"}
        words |= given
        if self.loses:
            words.setdefault("loses", words[self.loses])
        return words


_WITH_TUBES = ("er", "er-periph", "endo", "golgi", "mito", "nucleus", "vesicle", "pm")
PRESETS: Mapping[str, Pair] = {
    pair.name: pair
    for pair in (
        Pair("er_ribo", "er", "ribo", loses="a"),
        Pair("er-periph_ribo", "er-periph", "ribo"),
        Pair("er_golgi", "er", "golgi", loses="a"),
        Pair("er_mito", "er", "mito", loses="b"),
        Pair("er-periph_mito", "er-periph", "mito", loses="b"),
        Pair("er_endo", "er", "endo"),
        Pair("er_pm", "er", "pm", loses="a"),
        Pair("er_vesicle", "er", "vesicle"),
        Pair("golgi_vesicle", "golgi", "vesicle"),
        Pair("golgi_endo", "golgi", "endo"),
        Pair("mito_pm", "mito", "pm"),
        *(Pair(f"{name}_mt", name, "mt", 20.0, "a") for name in _WITH_TUBES),
    )
}
