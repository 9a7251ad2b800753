"""The page of `fibstream register`: its pictures, each drawn from what the command has."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL.Image import Image as Drawn

from fibstream.app.registration import Overlay, Picture, draw_overlay, write_page
from fibstream.app.warp_pictures import (
    draw_checkerboard,
    draw_error,
    draw_residuals,
    draw_stretch,
    draw_valid,
)
from fibstream.services.registration.port import Image, Registration, Triple
from fibstream.services.registration.register import Pair
from fibstream.services.registration.warp import pulled

PAGE, OVERLAY = "index.html", "overlay.png"
UNSEEN = "a fit that did not see a patch and its neighbours"
JUMPED = ", and how far thin patches find its layer jumped aside"


class Stretch(NamedTuple):
    """det J over det A in the middles of a coarse grid over the specimen."""

    values: NDArray[np.float32]
    voxel_nm: Triple


def put_page(
    folder: Path, made: tuple[Registration, Image], pair: Pair, stretch: Stretch,
    facts: Mapping[str, Any],
) -> None:  # fmt: skip
    """Draw the pictures of a registration into its folder, and write the page that holds them.

    ``made`` is the registration and where it is supported. Of one that is unregistered only the
    light over the specimen: maps of a transform that nothing shows to be right would say what
    nobody knows.
    """
    pictures = []
    given = facts["landmarks"] is not None
    for name, image, title, caption in _drawn(*made, pair, stretch, given=given):
        image.save(folder / name)
        pictures.append(Picture(folder / name, title, caption))
    write_page(folder / PAGE, facts, pictures)


def _drawn(
    found: Registration, valid: Image, pair: Pair, stretch: Stretch, *, given: bool
) -> Iterator[tuple[str, Drawn, str, str]]:  # fmt: skip
    """Yield name, picture, title and caption; ``given``: a person's landmarks were followed."""
    em = pair.em
    both = Overlay(em.grey, pulled(found.transform, pair.light, em), em.voxel_nm)
    yield (
        OVERLAY, draw_overlay(both), "The light over the specimen",
        "Cuts through the middle of the specimen. The prediction is blurred as the microscope "
        "does it, and local brightness is removed from both: so registration compares them.",
    )  # fmt: skip
    if found.judgement.status == "unregistered":
        return
    yield (
        "checkerboard.png", draw_checkerboard(both), "Checkerboard",
        "The same cuts, tiles of the specimen and of the warped light by turns, crosses where they "
        "meet; the upper left tile is of the specimen. Where registration is right, mitochondria "
        "go on from tile to tile.",
    )  # fmt: skip
    held = valid.voxels.astype(np.bool_)
    yield (
        "valid.png", draw_valid(both, held, valid.voxel_nm), "Where it is supported",
        "The light over the specimen, where the specimen is known, a patch that found a place is "
        "within 1 um, and the light image reaches: valid of the files. Elsewhere the specimen "
        "alone, dim and in grey: there the fit only goes on, and may be off by a micrometre.",
    )  # fmt: skip
    points = found.points_nm - np.array(em.corner_nm)
    lost = int(np.isnan(found.error_nm).sum())
    yield (
        "residuals.png", draw_residuals(em.grey, em.voxel_nm, points, found.miss_nm),
        "Errors of patches",
        f"From where {'the transform' if given else UNSEEN} puts it, to where it correlates best "
        f"with the light{'' if given else JUMPED}, in nm of the specimen; all depths at once, over "
        "the brightest of the specimen. An arrow shows two axes, its colour the length in three. "
        f"Crosses: the {lost} of {len(points)} patches that found no place. The histogram counts "
        "patches. This is noise of patches and error of the fit together.",
    )  # fmt: skip
    yield (
        "stretch.png", draw_stretch(stretch.values, stretch.voxel_nm), "Local change of volume",
        "det J relative to the affine map, in cuts through the middle: red where the light image "
        "shows the specimen larger than that map says, blue where smaller, white where equal. "
        "Yellow: space is turned over, which no specimen does. The histogram counts places about "
        "256 nm apart all over the specimen; the ends hold what lies beyond.",
    )  # fmt: skip
    if found.error_map is not None:
        yield _error(found.error_map, points)


def _error(error: Image, points: NDArray[np.float64]) -> tuple[str, Drawn, str, str]:
    return (
        "error.png", draw_error(error.grey, error.voxel_nm, points), "Error to expect",
        "An estimate, one value about every micrometre: small near patches, growing away from "
        "them; its median at patches is their error by cross-validation. What all patches miss "
        "alike is not in it. The histogram counts places; the ends hold what lies beyond.",
    )  # fmt: skip
