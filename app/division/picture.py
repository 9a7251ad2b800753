"""A picture of how components came apart: they, their fragments and the objects, in one plane.

After Extended Data Fig. 6 of Heinrich et al. 2021. One plane is shown, and of it a window: what is
read is bounded whatever the volume.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from fibstream.core.dataset import Dataset
from fibstream.kernels.runs import rank
from fibstream.kernels.scores import count_pairs, object_sizes
from fibstream.kernels.watershed.traced import LEVELS
from fibstream.volumes.sources import open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from ..colours import Colouring
from ..drawing import DARK, GAP, MARK, TITLE, Panel, bar, edges, fit, length_text, over, rgb, write
from ..grey import network_grey
from ..planes import CUTS, shapes
from .divided import COMPONENT, FRAGMENT, OBJECT, Divided
from .plane import Plane

WIDE = 480  # pixels: the edge of the longest panel
LINE = 18  # pixels of a line of text
TOP = 1 << 63  # no id has this bit
OTHER = TOP + (1 << 62)  # beyond it are objects of the truth: ids of components end far below
Ids = NDArray[np.uint64]
Scores = Mapping[str, float]


@dataclass(frozen=True)
class Subject:
    """What a picture shows: an organelle, its colours, and scores before and after, if known."""

    out: Path
    dataset: Dataset
    name: str  # of the organelle
    predicted: str  # the prediction that it is made of
    divided: Divided
    component: int
    plane: Plane
    colours_of: Colouring
    scores: tuple[Scores, Scores] | None = None
    truth: Ids | None = None  # of the window, (1, y, x) or alike

    def read(self, group: str, kind: Kind) -> NDArray[Any] | None:
        """Return the window of an array; None where there is none, or none of this part yet."""
        levels = shapes(self.out / group)
        inside = levels and all(a <= b for a, b in zip(self.plane.box.stop, levels[0], strict=True))
        if not inside:
            return None
        size = self.dataset.voxel_size_nm
        source = open_volume(f"{self.out / group}/s0", kind=kind, voxel_size_nm=size, growing=True)
        values = source.read(self.plane.box)
        source.close()
        return values.squeeze(self.plane.axis)


def paint(subject: Subject) -> Image.Image:
    """Return an image: components, fragments and objects of one window, below it raw."""
    axis, box = subject.plane
    seen: list[Ids] = [
        subject.divided.read(box, level).squeeze(axis) for level in ("component", "fragment")
    ]
    labels = subject.read(f"labels/{subject.name}", "labels")
    seen.append(np.zeros_like(seen[0]) if labels is None else labels.astype(np.uint64))
    shape, per_nm = _scale(subject)
    raw = subject.read("raw", "raw")
    grey = np.zeros((1, 1), np.uint8) if raw is None else network_grey(raw, subject.dataset)
    below, keys = rgb(fit(grey, shape)), keyed(seen, subject.divided)
    if subject.truth is not None:
        keys.append(truth_keys(subject.truth, seen[OBJECT]))
    colours_of = panel_colours(keys, subject)
    line = edges(fit(seen[COMPONENT] == subject.component, shape))
    images = [over(below, fit(each, shape), colours_of) for each in keys]
    for image in images[: len(LEVELS)]:
        image[line] = MARK
    upper = [Panel(Image.fromarray(image), per_nm) for image in images[: len(LEVELS)]]
    lower = [("raw", below)]
    predicted = subject.read(f"predictions/{subject.predicted}", "prediction")
    if predicted is not None:
        lower.append((f"prediction: {subject.predicted}", rgb(fit(predicted, shape))))
    lower += [("truth", image) for image in images[len(LEVELS) :]]
    rows = [(title, Panel(Image.fromarray(image), per_nm)) for title, image in lower]
    return _page(subject, upper, rows, _texts(subject, seen))


def _scale(subject: Subject) -> tuple[tuple[int, int], float]:
    """Return the (rows, columns) of a panel, and how many of its pixels one nanometre is."""
    rest = [n for n in range(3) if n != subject.plane.axis]
    extent = [subject.plane.box.shape[n] * subject.dataset.voxel_size_nm[n] for n in rest]
    per_nm = WIDE / max(extent)
    height, width = (max(round(length * per_nm), 1) for length in extent)
    return (height, width), per_nm


def keyed(seen: Sequence[Ids], divided: Divided) -> list[Ids]:
    """Return ids of components, fragments and objects in which one number is one set of voxels.

    Sets with one least voxel contain each other: those of one size are the same, and have the id of
    the object. Others have the top bit, which no id has, fragments with all bits turned.
    """
    of_object = divided.voxels[-1]
    components, fragments, objects = seen
    found = []
    for level, ids in (COMPONENT, components), (FRAGMENT, fragments):
        distinct, inverse = np.unique(ids, return_inverse=True)
        sizes = divided.voxels[level]
        keys = [_key(i, level, same=sizes[i] == of_object.get(i)) for i in distinct.tolist()]
        found.append(np.array(keys, np.uint64)[inverse.reshape(ids.shape)])
    return [*found, objects]


def _key(id_: int, level: int, *, same: bool) -> int:
    if id_ == 0 or same:
        return id_
    return id_ | TOP if level == COMPONENT else 2 * TOP - 1 - id_


def truth_keys(truth: Ids, objects: Ids) -> Ids:
    """Return ids of the truth in which one that an object matches has the object's.

    They match where their IoU in the plane is above 1/2; others have ids that no object has.
    """
    pairs = count_pairs(truth, objects)
    sizes = object_sizes(pairs)
    same = {
        a: b for (a, b), both in pairs.items() if a and b and 3 * both > sizes[0][a] + sizes[1][b]
    }
    distinct, inverse = np.unique(truth, return_inverse=True)
    keys = [same.get(i, OTHER + n) if i else 0 for n, i in enumerate(distinct.tolist())]
    return np.array(keys, np.uint64)[inverse.reshape(truth.shape)]


def panel_colours(keys: Sequence[Ids], subject: Subject) -> Colouring:
    """Return colours of all that is seen: of objects those of the report, of others apart."""
    boxes: dict[int, tuple[list[int], list[int]]] = {}
    rest = [n for n in range(3) if n != subject.plane.axis]
    for ids in (keys[OBJECT], *keys):  # objects first: theirs are given
        distinct, ranks = rank(ids)
        places = ndimage.find_objects(ranks)
        sizes = np.bincount(ranks.reshape(-1))[1:]
        for n in np.argsort(-sizes, kind="stable").tolist():
            low, high = [0, 0, 0], [0, 0, 0]
            for axis, span in zip(rest, places[n], strict=True):
                low[axis], high[axis] = span.start, span.stop - 1
            boxes.setdefault(int(distinct[n + 1]), (low, high))
    known = sum(key < TOP for key in boxes)
    every = sorted(boxes, key=lambda key: key >= TOP)  # stable
    low_, high_ = (
        np.array([boxes[key][end] for key in every], np.int64).reshape(-1, 3) for end in (0, 1)
    )
    return Colouring(
        np.array(every, np.uint64), low_, high_, subject.dataset.voxel_size_nm, known=known,
        own=subject.colours_of.places,
    )  # fmt: skip


def _texts(subject: Subject, seen: Sequence[Ids]) -> list[list[str]]:
    """Return the lines below each panel: how many there are, here and of the chosen component."""
    divided = subject.divided
    shares = divided.shares[subject.component]
    every = len(divided.shares), divided.fragments, len(divided.objects)
    own = 1, shares.fragments, len(shares.objects)
    lines = []
    for n, word in enumerate(("component", "fragment", "object")):
        here = np.count_nonzero(np.unique(seen[n]))
        chosen = f"{counted(own[n], word)} of it" if n else "outlined: one with most objects"
        lines.append([f"{counted(every[n], word)} in the volume, {here} in view", chosen])
    for column, scores in zip((0, 2), subject.scores or (), strict=False):
        lines[column] += score_lines(scores)
    return lines


def counted(number: int, word: str) -> str:
    """Return a number with its word."""
    return f"{number:,} {word}{'' if number == 1 else 's'}"


def score_lines(scores: Scores) -> list[str]:
    """Return scores of objects against those of the truth, in two lines."""
    splits, merges = (counted(int(scores[f"{word}s"]), word) for word in ("split", "merge"))
    return [
        "F1 {f1:.3f}, precision {precision:.3f}, recall {recall:.3f}".format(**scores),
        f"{splits}, {merges}; {counted(int(scores['tp'] + scores['fn']), 'object')} of the truth",
    ]


def _page(
    subject: Subject, panels: Sequence[Panel], below: Sequence[tuple[str, Panel]],
    texts: Sequence[Sequence[str]],
) -> Image.Image:  # fmt: skip
    height, width = panels[0].image.height, max(panels[0].image.width, WIDE)
    text = LINE * max(map(len, texts)) + GAP
    size = (GAP + 3 * (width + GAP), 3 * TITLE + 2 * height + text + TITLE + GAP)
    image = Image.new("RGB", size, DARK)
    draw = ImageDraw.Draw(image)
    write(draw, (GAP, 3), _caption(subject))
    titles = (f"components of {subject.name}", "fragments", f"objects: {subject.name}")
    for n, (title, panel, lines) in enumerate(zip(titles, panels, texts, strict=True)):
        left, top = GAP + n * (width + GAP), 2 * TITLE
        write(draw, (left, TITLE), title, fill=MARK)
        image.paste(panel.image, (left, top))
        bar(draw, left, top, panel)
        for line, words in enumerate(lines):
            write(draw, (left, top + height + 3 + line * LINE), words, size=13)
    top = 3 * TITLE + height + text
    for n, (title, panel) in enumerate(below):
        left = GAP + n * (width + GAP)
        write(draw, (left, top - TITLE), title, fill=MARK)
        image.paste(panel.image, (left, top))
        bar(draw, left, top, panel)
    write(draw, (GAP, top + height + 4), _note(subject, panels[0]), size=13)
    return image


def _caption(subject: Subject) -> str:
    axis, box = subject.plane
    number, size = box.start[axis], subject.dataset.voxel_size_nm[axis]
    place = length_text(round(subject.dataset.offset_nm[axis] + number * size, 1))
    return (
        f"{CUTS[axis][0]} at {'zyx'[axis]} = {number} ({place}), through component"
        f" {subject.component}"
    )


def _note(subject: Subject, panel: Panel) -> str:
    size = " x ".join(f"{edge:g}" for edge in subject.dataset.voxel_size_nm)
    return (
        f"one colour is one set of voxels; {1 / panel.per_nm:.3g} nm a pixel, voxels are {size} nm"
        " (z, y, x)"
    )
