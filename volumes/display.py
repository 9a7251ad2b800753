"""How a file wants its grey values to be shown: the window of grey values, and inversion."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Display:
    """The display that metadata state; None and False where they state none."""

    window: tuple[float, float] | None = None  # grey values that are black and white
    inverted: bool = False  # high values are dark


def display_of(places: Iterable[Mapping[str, Any]]) -> Display:
    """Return the first display stated in attributes: the array's, then those of its parent groups.

    ``omero`` is that of OME-NGFF, of which the first channel counts; ``contrastAdjustment`` is that
    of COSEM, where the smaller grey value may be called max: then the image is inverted.
    """
    for attributes in places:
        omero = attributes.get("ome", attributes)
        omero = omero.get("omero") if isinstance(omero, Mapping) else None
        channels = omero.get("channels") if isinstance(omero, Mapping) else None
        if isinstance(channels, list) and channels and isinstance(channels[0], Mapping):
            window = channels[0].get("window")
            window = window if isinstance(window, Mapping) else {}
            shown = display_between(window.get("start"), window.get("end"))
            return Display(shown.window, bool(channels[0].get("inverted")) != shown.inverted)
        stated = attributes.get("contrastAdjustment")
        if isinstance(stated, Mapping):
            return display_between(stated.get("min"), stated.get("max"))
    return Display()


def display_between(black: object, white: object) -> Display:
    """Return the display in which two grey values are black and white; none unless both differ."""
    if not isinstance(black, int | float) or not isinstance(white, int | float) or black == white:
        return Display()
    return Display((float(min(black, white)), float(max(black, white))), black > white)
