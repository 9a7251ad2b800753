"""How a file wants its grey values to be shown: which are black and white, and whether inverted."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Display:
    """What the metadata say; None and False where they say nothing."""

    window: tuple[float, float] | None = None  # grey values that are black and white
    inverted: bool = False  # high values are dark


def display_of(places: Iterable[Mapping[str, Any]]) -> Display:
    """Return the first display that attributes state, given of the array and the groups above it.

    ``omero`` is that of OME-NGFF, of which the first channel counts; ``contrastAdjustment`` is that
    of COSEM, where the smaller grey value may be called max: then the picture is inverted.
    """
    for attributes in places:
        omero = attributes.get("ome", attributes)
        omero = omero.get("omero") if isinstance(omero, Mapping) else None
        channels = omero.get("channels") if isinstance(omero, Mapping) else None
        if isinstance(channels, list) and channels and isinstance(channels[0], Mapping):
            window = channels[0].get("window")
            window = window if isinstance(window, Mapping) else {}
            shown = shown_between(window.get("start"), window.get("end"))
            return Display(shown.window, bool(channels[0].get("inverted")) != shown.inverted)
        stated = attributes.get("contrastAdjustment")
        if isinstance(stated, Mapping):
            return shown_between(stated.get("min"), stated.get("max"))
    return Display()


def shown_between(black: object, white: object) -> Display:
    """Return the display in which two grey values are black and white; none if they are not two."""
    if not isinstance(black, int | float) or not isinstance(white, int | float) or black == white:
        return Display()
    return Display((float(min(black, white)), float(max(black, white))), black > white)
