"""The file of a network taken in whole: weights that it keeps in other files become part of it."""

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

MAX_BYTES = 2_000_000_000  # of a network: one protobuf message holds less than 2 GiB
MAX_DIGITS = 18  # of a place in a file
FLOAT = onnx.TensorProto.FLOAT
INVALID = (
    DecodeError,
    onnx.checker.ValidationError,
    KeyError,
    OverflowError,
    TypeError,
    ValueError,
)


def take_in(path: Path) -> tuple[bytes, onnx.ModelProto]:
    """Return a network's bytes, self-contained, and the same parsed.

    Those of a file without others are its own, unchanged. Raises WrongUse for a file that is no
    network, is too large, or whose weights are not beside it.
    """
    if not path.is_file():
        raise WrongUse(f"model {path}: no such file")
    _check_size(path, path.stat().st_size)
    content = path.read_bytes()
    try:
        model = onnx.load_model_from_string(content)
        if _external(path, model):
            onnx.load_external_data_for_model(model, str(path.parent))
            content = model.SerializeToString(deterministic=True)
        onnx.checker.check_model(model)
    except INVALID:
        raise WrongUse(f"model {path}: not a valid ONNX file") from None
    return content, model


def _external(path: Path, model: onnx.ModelProto) -> bool:
    """Whether weights lie in other files; raise WrongUse where they cannot be taken in."""
    used: dict[str, int] = {}
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        stated = {entry.key: entry.value for entry in tensor.external_data}
        name = stated.get("location", "")
        place = path.parent / name
        if not name or Path(name).name != name or place.is_symlink() or not place.is_file():
            raise WrongUse(
                f"model {path}: weight {tensor.name} lies in {echo(name)}; "
                "expected a file beside the model, copied together with it"
            )
        offset, length = (_number(path, tensor, stated.get(k)) for k in ("offset", "length"))
        kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.data_type)
        wanted = math.prod(tensor.dims) * kind.itemsize
        size = place.stat().st_size
        if min(tensor.dims, default=0) < 0 or length not in (None, wanted):
            raise WrongUse(f"model {path}: weight {tensor.name} has not the size of its shape")
        if (offset or 0) + wanted > size:
            raise WrongUse(
                f"model {path}: {name} has {size} bytes, too few for weight {tensor.name}; "
                "expected the whole file, copied together with the model"
            )
        used[name] = used.get(name, 0) + wanted
    _check_size(path, path.stat().st_size + sum(used.values()))
    return bool(used)


def _number(path: Path, tensor: onnx.TensorProto, text: str | None) -> int | None:
    if text is None:
        return None
    if not text.isdecimal() or len(text) > MAX_DIGITS:
        raise WrongUse(
            f"model {path}: weight {tensor.name} lies at byte {echo(text, 40)} of a file"
        )
    return int(text)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all weights and constants of a network, those of graphs inside nodes too."""
    yield from model.graph.initializer
    nodes = [*model.graph.node, *(node for function in model.functions for node in function.node)]
    while nodes:
        for attribute in nodes.pop().attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from graph.initializer
                nodes += graph.node


def _check_size(path: Path, size: int) -> None:
    if size > MAX_BYTES:
        raise WrongUse(f"model {path}: {size} bytes with its weights; at most {MAX_BYTES}")


def check_weights(path: Path, graph: onnx.GraphProto) -> None:
    """Raise WrongUse for a weight that is not finite."""
    for tensor in graph.initializer:
        if tensor.data_type == FLOAT and not np.isfinite(onnx.numpy_helper.to_array(tensor)).all():
            raise WrongUse(f"model {path}: weight {tensor.name} holds a value that is not finite")
