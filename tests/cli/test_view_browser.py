"""What a browser draws of a dataset: each voxel where it is, with the right colour."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fibstream.bus import wire
from fibstream.bus.sqlite import SqliteBus
from fibstream.cli.view import follow, serving
from fibstream.cli.viewer.state import LABEL_ALPHA
from fibstream.core.events import ObjectChanged
from fibstream.core.grid import Index
from fibstream.core.rules import object_rules
from fibstream.runtime.root import bus_path

from ..support.chromium import Page, browser
from ..support.geometry import triple
from .viewing import (
    CHUNK,
    COLOURS,
    DATASET,
    FIRST,
    SECOND,
    SHAPE,
    VOLUMES,
    VOXEL_NM,
    land,
    make,
    tabulate,
)

PANELS = """[...viewer.display.panels].map(p => p.element.getBoundingClientRect())
    .map(r => [r.left, r.top, r.right, r.bottom])"""
SHOWN = "window.viewer && viewer.layerManager.managedLayers.length == 3 && viewer.isReady()"
PLAIN = "viewer.showAxisLines.value = false, viewer.showDefaultAnnotations.value = false"
WINDOW = {"width": 1280, "height": 800}
NEAR = 8  # grey values between what is computed and what is drawn
# Of the panels: what goes to the right (negative: to the left) and what goes down.
CUTS = ((2, 1, 1), (2, 1, 0), (0, -1, 1))


def panels(page: Page) -> list[list[float]]:
    """Return the rectangles of the panels: xy, xz, the surfaces, zy."""
    return sorted(page.run(PANELS), key=lambda place: (place[1] > 200, place[0]))


def expected(index: Index) -> NDArray[np.float64]:
    """Return the colour of a voxel in a cut: contrast, then the colour of the labels over it."""
    grey = (float(VOLUMES["raw"][index]) - 20) * 255 / 200
    number = VOLUMES["labels/mito"][index]
    if not number:
        return np.full(3, grey)
    return (1 - LABEL_ALPHA) * grey + LABEL_ALPHA * COLOURS(np.array([number], np.uint64))[0]


def agreement(page: Page, landed: Callable[[Index], bool]) -> list[float]:
    """Return the share of voxels that have the right colour in each cut: xy, xz and zy."""
    image, scale = page.picture().astype(float), page.run("viewer.crossSectionScale.value")
    xy, xz, _, zy = panels(page)
    middle = [(n - 1) // 2 for n in SHAPE]
    found = []
    for (left, top, right, bottom), (across, sign, down) in zip((xy, xz, zy), CUTS, strict=True):
        hits = []
        for i in range(2, SHAPE[across] - 2, 3):
            for j in range(2, SHAPE[down] - 2, 3):
                at = list(middle)
                at[across], at[down] = i, j
                index = triple(at)
                shift = (np.array(index) - middle) * VOXEL_NM / min(VOXEL_NM) / scale
                row, column = (top + bottom) / 2 + shift[down], (left + right) / 2
                seen = image[int(row), int(column + sign * shift[across])]
                wanted_ = expected(index) if landed(index) else np.zeros(3)
                hits.append(np.abs(seen - wanted_).max() < NEAR)
        found.append(float(np.mean(hits)))
    return found


def shaded(page: Page, number: int) -> int:
    """Return how many pixels of the surfaces have the hue of an object, lit from somewhere."""
    left, top, right, bottom = (round(edge) for edge in panels(page)[2])
    part = page.picture()[top:bottom, left:right].astype(float)
    colour = COLOURS(np.array([number], np.uint64))[0].astype(float)
    lengths = np.maximum(np.linalg.norm(part, axis=-1), 1) * np.linalg.norm(colour)
    return int(((part @ colour / lengths > 0.995) & (part.max(-1) > 60)).sum())


def test_a_browser_draws_it_where_it_is_and_what_comes_later_too(tmp_path: Path) -> None:
    root = make(tmp_path / "cell.zarr", z=[0], table=False)
    bus_path(root).parent.mkdir(exist_ok=True)
    with closing(SqliteBus(bus_path(root))) as bus:
        opened = ObjectChanged("mito", "opened", FIRST, 9, rule=object_rules(DATASET)["mito"])
        bus.publish(wire.OBJECTS, f"{DATASET.name}/mito/{FIRST}", wire.encode(opened))
    with serving(str(root)) as (viewer, url), browser(tmp_path / "profile") as page:
        page.open(url, **WINDOW)
        page.wait(SHOWN)
        page.run(PLAIN)
        half = lambda index: index[0] < CHUNK[0]  # noqa: E731
        page.until(lambda: min(agreement(page, half)) > 0.98, "the half that has landed")
        assert shaded(page, FIRST) == 0
        land(root, [i for i in DATASET.grid.indices() if i[0] == 1])
        tabulate(root)
        assert follow(viewer)
        page.until(lambda: min(agreement(page, lambda _: True)) > 0.98, "all of it")
        page.reload()
        page.wait(SHOWN)
        page.until(lambda: min(agreement(page, lambda _: True)) > 0.98, "all of it once more")
        page.until(lambda: shaded(page, FIRST) > 1000 < shaded(page, SECOND), "the surfaces")
