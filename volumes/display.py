"""How a file wants its grey values to be shown: the window of grey values, and inversion."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

GREY_STEP = 257  # of 65535: one step of 255, by which channels of a grey may differ


@dataclass(frozen=True)
class Display:
    """The display that metadata state; None and False where they state none."""

    window: tuple[float, float] | None = None  # grey values that are black and white
    inverted: bool = False  # high values are dark
    coloured: bool = False  # values are numbers of colours, which mean nothing as grey values


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


def display_of_palette(palette: NDArray[np.uint16] | None) -> Display:
    """Return the display of a TIFF palette, (3, colours): grey, inverted grey, or colours.

    A palette of grey that goes up by unequal steps changes the contrast alone: values are taken as
    they are stored, as for any other window of grey values.
    """
    if palette is None or palette.ndim != 2:
        return Display(coloured=True)
    levels = palette.astype(np.int64)
    steps = np.diff(levels[0])
    if np.ptp(levels, axis=0).max() > GREY_STEP or not steps.any():
        return Display(coloured=True)
    if (steps >= 0).all():
        return Display()
    return Display(inverted=bool((steps <= 0).all()), coloured=not (steps <= 0).all())
