"""The state of Neuroglancer that shows a dataset, as a JSON document. Pure.

In its coordinates voxel ``i`` of an OME-NGFF array reaches from ``i - 0.5`` to ``i + 0.5`` (OME
counts centres), so that a mean voxel index is a position as it stands.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fibstream.app.colours import colours, css

State = dict[str, Any]  # as Neuroglancer has it in JSON
Kind = Literal["raw", "prediction", "labels", "light"]

ORIGIN = "http://fibstream.invalid"  # stands for the address under which the browser came
MAX_COLOURED = 10_000  # objects with our colours: the state is sent whole when it changes
MAX_MESHES = 100  # of the largest objects in the 3-D panel: each is cut out of the labels
PANEL = (455.0, 340.0)  # pixels (width, height) of one of four panels in a window of 1280 x 800
MARGIN = 0.95  # of a panel that the volume fills
LIST_WIDTH = 350  # pixels, of the list of objects at the side: ids, sizes and names
BACKGROUND = "#181818"
USER_CHOICES = ("segments", "segmentQuery")  # renewed until the user changes them
MAX_SIZE = 2**32 - 1  # voxels that the list can show: Neuroglancer's largest integer type
LABEL_ALPHA = 0.45  # how much colour of the labels lies over the grey
SEED = 1  # of Neuroglancer's own colours, which ids beyond MAX_COLOURED have: fixed
OBLIQUE = (0.8, 0.25, 0.15, 0.45)  # of the 3-D panel: a corner of the volume towards the eye
AXES = ("x", "y", "z")  # in the order of the panels: the first is to the right, the second down
# 127 is the surface: nothing outside, stronger inwards (docs/formats.md).
PREDICTION_SHADER = (
    "#uicontrol vec3 color color(default=\"#56b4e9\")\n"
    "void main() {\n"
    "  float inside = (float(toRaw(getDataValue())) - 127.0) / 128.0;\n"
    "  emitRGBA(vec4(color, clamp(inside, 0.0, 1.0)));\n"
    "}\n"
)  # fmt: skip
RAW_SHADER = "#uicontrol invlerp grey\nvoid main() {\n  emitGrayscale(grey());\n}\n"
# Of a light microscope: its brightness is added to the grey below.
LIGHT_SHADER = (
    "#uicontrol vec3 color color(default=\"#00ff66\")\n"
    "#uicontrol invlerp bright\n"
    "void main() {\n"
    "  emitRGB(color * bright());\n"
    "}\n"
)  # fmt: skip


@dataclass(frozen=True)
class Objects:
    """The objects of a label volume, the largest first; ``voxels`` of those that have a row."""

    ids: NDArray[np.uint64]
    voxels: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    rows: int = 0  # of them have a row in the table: they are whole, and have a surface
    colours_of: Callable[[NDArray[np.uint64]], NDArray[np.uint8]] = colours
    name: str = ""  # of the first is this and 1; empty: they have ids alone
    share: float = 0.0  # of the sampled voxels that belong to one, where that is known


@dataclass(frozen=True)
class Layer:
    """One array or multiscale group to show."""

    name: str
    kind: Kind
    source: str  # its URL, with what Neuroglancer calls the format
    window: tuple[float, float] | None = (
        None  # of raw and light: black and white; in descending order if inverted
    )
    objects: Objects | None = None  # of labels
    meshes: str = ""  # URL of their surfaces
    transform: Mapping[str, Any] | None = None  # of an array without axes in its metadata
    hidden: bool = False  # until the user switches it on; predictions always are


@dataclass(frozen=True)
class Scene:
    """All layers, and the geometry of the volume; axes (z, y, x)."""

    name: str
    voxel_size_nm: tuple[float, float, float]
    shape: tuple[int, int, int]
    focus: tuple[float, float, float]  # voxel indices where all panels meet
    layers: tuple[Layer, ...]


def viewer_state(scene: Scene) -> State:
    """Return the state in which the viewer opens: four panels, the volume filling them."""
    size = dict(zip("zyx", scene.voxel_size_nm, strict=True))
    focus = dict(zip("zyx", scene.focus, strict=True))
    state = {
        "title": f"{scene.name} - fibstream",
        "dimensions": {axis: [size[axis] * 1e-9, "m"] for axis in AXES},
        "position": [focus[axis] for axis in AXES],
        "crossSectionScale": _scale(scene),
        "projectionScale": _depth(scene),
        "projectionOrientation": list(OBLIQUE),
        "layers": [layer_state(layer) for layer in scene.layers],
        "showSlices": False,
        "layout": {"type": "4panel", "orthographicProjection": True},  # has a scale bar
        "crossSectionBackgroundColor": BACKGROUND,
        "projectionBackgroundColor": BACKGROUND,
    }
    first = next((layer.name for layer in scene.layers if layer.kind == "labels"), None)
    listed = {"layer": first, "visible": True, "size": LIST_WIDTH}
    return state | {"selectedLayer": listed} if first else state


def _lengths(scene: Scene) -> tuple[float, float, float]:
    """Return the edges (z, y, x) of the volume in the viewer's unit, its smallest voxel edge."""
    unit = min(scene.voxel_size_nm)
    z, y, x = (n * s / unit for n, s in zip(scene.shape, scene.voxel_size_nm, strict=True))
    return z, y, x


def _scale(scene: Scene) -> float:
    """Return units per pixel at which every cut fits its panel: xy, xz and zy."""
    z, y, x = _lengths(scene)
    width, height = PANEL
    return max(max(x, z) / width, max(y, z) / height) / MARGIN


def _depth(scene: Scene) -> float:
    """Return the units that the 3-D panel is high, at which a turned volume fits."""
    return math.hypot(*_lengths(scene)) / MARGIN


def layer_state(layer: Layer) -> State:
    """Return one layer of a state."""
    source: State = {"url": layer.source}
    if layer.transform:
        source["transform"] = dict(layer.transform)
    if layer.kind == "raw":
        control = {"range": list(layer.window)} if layer.window else {}
        return {
            "type": "image", "name": layer.name, "source": [source], "tab": "rendering",
            "opacity": 1.0, "shader": RAW_SHADER, "shaderControls": {"grey": control},
            **({"visible": False} if layer.hidden else {}),
        }  # fmt: skip
    if layer.kind == "light":
        control = {"range": list(layer.window)} if layer.window else {}
        return {
            "type": "image", "name": layer.name, "source": [source], "tab": "rendering",
            "opacity": 1.0, "blend": "additive", "shader": LIGHT_SHADER,
            "shaderControls": {"bright": control}, **({"visible": False} if layer.hidden else {}),
        }  # fmt: skip
    if layer.kind == "prediction":
        return {
            "type": "image", "name": layer.name, "source": [source], "tab": "rendering",
            "opacity": 0.5, "shader": PREDICTION_SHADER, "visible": False,
        }  # fmt: skip
    meshes = [{"url": layer.meshes}] if layer.meshes else []
    objects = layer.objects or Objects(np.zeros(0, np.uint64))
    return {
        "type": "segmentation", "name": layer.name, "source": [source, *meshes], "tab": "segments",
        "selectedAlpha": LABEL_ALPHA, "notSelectedAlpha": LABEL_ALPHA, "colorSeed": SEED,
        **coloured(objects), **listing(objects), **({"visible": False} if layer.hidden else {}),
    }  # fmt: skip


def coloured(objects: Objects) -> State:
    """Return the colours of objects, and which of them stand in the 3-D panel."""
    ids = objects.ids[:MAX_COLOURED]
    names = [str(number) for number in ids.tolist()]  # as text: JSON would lose digits
    return {
        "segmentColors": {
            name: css(colour) for name, colour in zip(names, objects.colours_of(ids), strict=True)
        },
        "segments": names[: min(objects.rows, MAX_MESHES)],
    }


def listing(objects: Objects) -> State:
    """Return how the list of objects opens: the largest first, with their sizes."""
    return {"segmentQuery": ">voxels |voxels"} if objects.rows else {}


def merged(seen: State, before: State, fresh: State) -> State:
    """Return the state of the user, updated with what is new in the dataset.

    Parameters
    ----------
    seen : dict
        The state as the user has changed it.
    before, fresh : dict
        The states of the dataset at the last update, and now. Sources, colours and layers that
        ``before`` lacks are taken over; the objects shown in 3-D and the order of the list only
        while the user has not changed them.
    """
    old = {layer["name"]: layer for layer in before["layers"]}
    new = {layer["name"]: layer for layer in fresh["layers"]}
    layers = []
    for layer in seen.get("layers", []):
        name = layer.get("name")
        if name not in new:
            layers.append(layer)
            continue
        choices = [key for key in USER_CHOICES if _unchanged(layer, old.get(name), key)]
        keys = [key for key in ("source", "segmentColors", *choices) if key in new[name]]
        layers.append(layer | {key: new[name][key] for key in keys})
    layers += [layer for name, layer in new.items() if name not in old]
    return seen | {"layers": layers}


def _unchanged(seen: State, before: State | None, key: str) -> bool:
    """Whether the user has not changed a choice; ids may come back in another order."""
    was, now = ((layer or {}).get(key) or [] for layer in (before, seen))
    return before is not None and set(was) == set(now)


def properties(objects: Objects) -> State:
    """Return the segment properties: a short name and the size, by which the list can be sorted."""
    rows = min(objects.rows, MAX_COLOURED)
    size = {
        "id": "voxels", "type": "number", "data_type": "uint32", "description": "size in voxels",
        "values": np.minimum(objects.voxels[:rows], MAX_SIZE).tolist(),
    }  # fmt: skip
    ids = [str(number) for number in objects.ids[:rows].tolist()]
    names = [f"{objects.name} {rank}" for rank in range(1, rows + 1)]
    label = {"id": "name", "type": "label", "description": "rank by size", "values": names}
    return {
        "@type": "neuroglancer_segment_properties",
        "inline": {"ids": ids, "properties": [*([label] if objects.name else []), size]},
    }


def raw_window(contrast: Sequence[float], *, invert: bool) -> tuple[float, float]:
    """Return the grey values of black and white, as the networks see them."""
    low, high = contrast
    return (high, low) if invert else (low, high)
