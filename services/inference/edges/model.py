"""Model files: where they are, and the checks of their signature and metadata.

A network is an ONNX file with one input, uint8 ``(1, 1, z, y, x)``, and one output
``(1, classes, z', y', x')``: float32, or uint8 of a distance. The metadata property ``fibstream``
holds meaning, classes, voxel_size_nm, halo, stride, phase and tile as one JSON object, with a
distance scale_nm too; phase is 0 where it does not say so, and output_voxel_size_nm is there where
the output is finer than the input. docs/networks.md describes each.
"""

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
from pydantic import ValidationError

from fibstream.core.dataset import MAX_NAME
from fibstream.core.documents import parse_json
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.runtime.root import Root
from fibstream.services.inference.port import Meaning, ModelSpec

from .weights import FLOAT, check_weights, take_in

# Three folders up is the checkout, or the installed package: released networks are in both.
MODELS = Path(__file__).resolve().parents[3] / "models"

MODELS_FOLDER = "models"  # below a root: networks of its own
METADATA = "fibstream"
UINT8 = onnx.TensorProto.UINT8


def released(name: str, root: Root) -> Path:
    """Return the file of a network that a client may name: one of the root's, or a released one.

    Raises WrongUse when there is none, or the name could be a path.
    """
    places = f"{MODELS_FOLDER}/NAME.onnx below the root of ingest, or a released network"
    if len(name) > MAX_NAME or not name.replace("-", "").replace("_", "").isalnum():
        raise WrongUse(
            f"model {echo(name, 40)}: expected the NAME (letters, digits, '-', '_'), no path, of"
            f" {places}"
        )
    own = root.local / MODELS_FOLDER / f"{name}.onnx" if root.local else None
    if own and own.is_file():
        return own
    try:
        return find_model(name)
    except WrongUse:
        known = listed(sorted(path.stem for path in MODELS.glob("*.onnx")))
        raise WrongUse(f"model {cut(name, 40)}: not found; expected {places} ({known})") from None


def find_model(name_or_path: str, models: Path = MODELS) -> Path:
    """Return the file of a network.

    Parameters
    ----------
    name_or_path
        A path to an ``.onnx`` file, or the name of a released network.
    models
        The folder of released networks.

    Raises
    ------
    WrongUse
        There is none; the message lists the released networks.
    """
    path = Path(name_or_path)
    if path.suffix != ".onnx" and path.name == name_or_path:
        path = models / f"{name_or_path}.onnx"
    if _is_file(path):
        return path
    released = ", ".join(sorted(p.stem for p in models.glob("*.onnx"))) or "none"
    raise WrongUse(
        f"model {name_or_path}: not found; expected a path to an .onnx file "
        f"or a released network ({released})"
    )


def with_digest(sha256: str, models: Path = MODELS) -> Path | None:
    """Return the file of the released network that has a digest; None where none has."""
    for path in models.glob("*.onnx"):
        with contextlib.suppress(WrongUse):  # another file that somebody put there
            if read_model(path).sha256 == sha256:
                return path
    return None


def _is_file(path: Path) -> bool:
    """Whether there is a file; what no file can be named by is none."""
    try:
        return path.is_file()
    except OSError:  # the name is too long
        return False


def read_model(path: Path) -> ModelSpec:
    """Read the metadata of an ONNX file, and check it against its signature and weights.

    Parameters
    ----------
    path
        The model file; weights that it keeps in other files of its folder belong to it.

    Raises
    ------
    WrongUse
        The file is not a network that fibstream can run; the message has the reason.
    """
    return read_network(path)[0]


def read_network(
    path: Path, meaning: Meaning | None = None, tile: Index | None = None
) -> tuple[ModelSpec, onnx.ModelProto]:
    """Return metadata and graph as `read_model`.

    ``meaning`` is that of a file that has none; a ``tile`` takes the place of the file's.
    """
    content, model = take_in(path)
    metadata = _metadata(path, model)
    if meaning is not None:
        metadata = {"meaning": meaning, **metadata}
    else:
        _check_meaning(path, metadata)
    if tile is not None:
        metadata = {**metadata, "tile": tile}
    try:
        spec = ModelSpec(
            **{**metadata, "name": path.stem, "sha256": hashlib.sha256(content).hexdigest()}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        message = first["msg"].removeprefix("Value error, ")
        reason = f"{where}: {message}" if where else message
        raise WrongUse(f"model {path}: metadata {reason}") from None
    _check_signature(path, model.graph, spec)
    check_weights(path, model.graph)
    return spec, model


def network_bytes(path: Path) -> bytes:
    """Return a network as one file: with the weights that it keeps in others, if there are any.

    Raises WrongUse as `read_model`.
    """
    return take_in(path)[0]


def _check_meaning(path: Path, metadata: Mapping[str, Any]) -> None:
    """Raise WrongUse unless metadata declare what the output means, a distance with its length."""
    meaning = metadata.get("meaning")
    if meaning is None:
        raise WrongUse(
            f"model {path}: what its output means is not declared; add meaning to its metadata: "
            "distance with scale_nm, probability, or logit (docs/networks.md shows how)"
        )
    if meaning == "distance" and "scale_nm" not in metadata:
        raise WrongUse(
            f"model {path}: metadata: a distance needs scale_nm, by which it is divided before tanh"
        )
    if meaning in ("probability", "logit") and "scale_nm" in metadata:
        raise WrongUse(f"model {path}: metadata: scale_nm is of a distance, not of a {meaning}")


def _metadata(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    texts = {prop.key: prop.value for prop in model.metadata_props}
    try:
        found = parse_json(texts[METADATA], "metadata", constants=True)
    except (KeyError, WrongUse):
        found = None
    if not isinstance(found, dict):
        raise WrongUse(
            f"model {path}: no metadata property '{METADATA}' holding a JSON object with "
            "meaning, classes, voxel_size_nm, halo, stride, phase, tile"
        )
    return found


def _check_signature(path: Path, graph: onnx.GraphProto, spec: ModelSpec) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or not _is(inputs[0], (UINT8,), (1, 1, *spec.tile)):
        found = "; ".join(map(_describe, inputs))
        raise WrongUse(f"model {path}: input must be uint8 (1, 1, z, y, x), found {found}")
    wanted = (1, len(spec.classes), *spec.predicted)
    types = (UINT8, FLOAT) if spec.meaning == "distance" else (FLOAT,)
    if len(graph.output) != 1 or not _is(graph.output[0], types, wanted):
        found = "; ".join(map(_describe, graph.output))
        kind = "uint8 or float" if UINT8 in types else "float"
        raise WrongUse(
            f"model {path}: output must be {kind} (1, {len(spec.classes)}, z, y, x), one channel "
            f"per class, for a {spec.meaning}, found {found}"
        )


def _is(value: onnx.ValueInfoProto, types: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether a declared tensor can have one of the types and the shape; free axes fit any."""
    tensor = value.type.tensor_type
    sizes = [axis.dim_value for axis in tensor.shape.dim]
    fits = len(sizes) == len(shape) and all(s in (0, n) for s, n in zip(sizes, shape, strict=True))
    return tensor.elem_type in types and fits


def _describe(value: onnx.ValueInfoProto) -> str:
    tensor = value.type.tensor_type
    kind = onnx.TensorProto.DataType.Name(tensor.elem_type).lower()
    axes = (str(axis.dim_value or axis.dim_param or "?") for axis in tensor.shape.dim)
    return f"{value.name} {kind} ({', '.join(axes)})"
