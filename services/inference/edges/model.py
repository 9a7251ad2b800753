"""Model files: where they are, and the checks of their signature and metadata.

A network is an ONNX file with one input, uint8 ``(1, 1, z, y, x)``, and one output
``(1, classes, z', y', x')``: uint8, or float32 in [-1, 1]. The metadata property ``fibstream``
holds classes, voxel_size_nm, halo, stride, phase, tile and scale_nm as one JSON object; phase is
0 and scale_nm 50 where it does not say so.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from fibstream.core.errors import WrongUse
from fibstream.runtime.root import Root
from fibstream.services.inference.port import ModelSpec

# Three folders up is the checkout, or the installed package: released networks are in both.
MODELS = Path(__file__).resolve().parents[3] / "models"

MODELS_FOLDER = "models"  # below a root: networks of its own
METADATA = "fibstream"
UINT8 = onnx.TensorProto.UINT8
FLOAT = onnx.TensorProto.FLOAT


def released(name: str, root: Root) -> Path:
    """Return the file of a network that a client may name: one of the root's, or a released one.

    Raises WrongUse when there is none, or the name could be a path.
    """
    places = f"{MODELS_FOLDER}/NAME.onnx below the root of ingest, or a released network"
    if not name.replace("-", "").replace("_", "").isalnum():
        raise WrongUse(
            f"model {name[:140]!r}: services take no path, but the NAME (letters, digits, '-' and "
            f"'_') of {places}"
        )
    own = root.local / MODELS_FOLDER / f"{name}.onnx" if root.local else None
    if own and own.is_file():
        return own
    try:
        return find_model(name)
    except WrongUse:
        known = ", ".join(sorted(path.stem for path in MODELS.glob("*.onnx"))) or "none"
        raise WrongUse(f"model {name[:140]}: not found; expected {places} ({known})") from None


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
    if path.is_file():
        return path
    released = ", ".join(sorted(p.stem for p in models.glob("*.onnx"))) or "none"
    raise WrongUse(
        f"model {name_or_path}: not found; expected a path to an .onnx file "
        f"or a released network ({released})"
    )


def read_model(path: Path) -> ModelSpec:
    """Read the metadata of an ONNX file, and check it against its signature and weights.

    Parameters
    ----------
    path
        The model file.

    Raises
    ------
    WrongUse
        The file is not a network that fibstream can run; the message has the reason.
    """
    if not path.is_file():
        raise WrongUse(f"model {path}: no such file")
    content = path.read_bytes()
    graph = _load(path, content)
    metadata = _metadata(path, graph)
    try:
        spec = ModelSpec(
            **{**metadata, "name": path.stem, "sha256": hashlib.sha256(content).hexdigest()}
        )
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        reason = f"{where}: {first['msg']}" if where else first["msg"]
        raise WrongUse(f"model {path}: metadata {reason}") from None
    _check_signature(path, graph.graph, spec)
    _check_weights(path, graph.graph)
    return spec


def _load(path: Path, content: bytes) -> onnx.ModelProto:
    try:
        model = onnx.load_model_from_string(content)
        onnx.checker.check_model(model)
    except (DecodeError, onnx.checker.ValidationError):
        raise WrongUse(f"model {path}: not a valid ONNX file") from None
    return model


def _metadata(path: Path, model: onnx.ModelProto) -> dict[str, Any]:
    texts = {prop.key: prop.value for prop in model.metadata_props}
    try:
        found = json.loads(texts[METADATA])
    except (KeyError, ValueError):
        found = None
    if not isinstance(found, dict):
        raise WrongUse(
            f"model {path}: no metadata property '{METADATA}' holding a JSON object with "
            "classes, voxel_size_nm, halo, stride, phase, tile"
        )
    return found


def _check_signature(path: Path, graph: onnx.GraphProto, spec: ModelSpec) -> None:
    weights = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in weights]
    if len(inputs) != 1 or not _is(inputs[0], (UINT8,), (1, 1, *spec.tile)):
        found = "; ".join(map(_describe, inputs))
        raise WrongUse(f"model {path}: input must be uint8 (1, 1, z, y, x), found {found}")
    wanted = (1, len(spec.classes), *spec.output)
    if len(graph.output) != 1 or not _is(graph.output[0], (UINT8, FLOAT), wanted):
        found = "; ".join(map(_describe, graph.output))
        raise WrongUse(
            f"model {path}: output must be uint8 (1, {len(spec.classes)}, z, y, x), one channel "
            f"per class, found {found}"
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


def _check_weights(path: Path, graph: onnx.GraphProto) -> None:
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT and not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise WrongUse(f"model {path}: weight {tensor.name} holds a value that is not finite")
