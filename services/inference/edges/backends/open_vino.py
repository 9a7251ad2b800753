"""OpenVINO on the processor: the same sums as the reference in fp32, in half the time."""

import platform
import sys
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fibstream.core.grid import Index
from fibstream.services.inference.backend import FP32, INT8, Backend, Runner

if TYPE_CHECKING:
    import openvino

DEVICE = "CPU"
PROVIDER = "OpenVINO CPU"
X86 = (
    "x86_64",
    "AMD64",
)  # Intel and AMD: elsewhere it was not measured, and is taken by name alone
HINTS = {FP32: "f32", "bf16": "bf16", INT8: "f32"}  # of what is no convolution of bytes

INSTRUCTIONS = {"bf16": "avx512_bf16 or amx_bf16", INT8: "avx2 or later"}


class Request:
    """A network compiled for one input shape; see ``Runner``."""

    def __init__(self, model: bytes, tile: Index, precision: str, threads: int) -> None:
        core = _core()
        network = core.read_model(model)
        network.reshape([1, 1, *tile])
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "INFERENCE_NUM_THREADS": threads,
            "NUM_STREAMS": 1,
            "ENABLE_CPU_PINNING": False,  # workers share the cores
        }
        compiled = core.compile_model(network, DEVICE, settings)
        self.facts: Mapping[str, str] = MappingProxyType({"kernels": ",".join(_kernels(compiled))})
        self._request = compiled.create_infer_request()

    def __call__(self, tile: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the output of a tile: a copy, since the next call writes to the same memory."""
        self._request.infer([tile], share_inputs=True)
        return np.array(self._request.get_output_tensor(0).data)


@cache
def _core() -> "openvino.Core":
    """Return the one core of this process.

    Each core gives the thread that makes it another stack for signals, and takes back the one
    before when it goes, which may be gone by then: with two cores the next signal that Python
    handles, such as SIGTERM, would end the process.
    """
    # Imported with this package beside it, openvino reports each import to its makers. Python
    # takes None for a package that is not there, and openvino then reports nothing.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino.Core()


def _kernels(compiled: "openvino.CompiledModel") -> list[str]:
    """Return which kernels compute the convolutions: they follow from processor and shape."""
    found = set()
    for node in compiled.get_runtime_model().get_ops():
        facts = node.get_rt_info()
        if "layerType" in facts and facts["layerType"].astype(str) == "Convolution":
            found.add(facts["primitiveType"].astype(str))
    return sorted(found)


def _runtime() -> str | None:
    try:
        return f"openvino {version('openvino')}"
    except PackageNotFoundError:
        return None


def _unusable(precision: str) -> str | None:
    if precision == FP32 or precision.upper() in _core().get_property(
        DEVICE, "OPTIMIZATION_CAPABILITIES"
    ):
        return None
    return f"has no {precision} on this processor (expected one with {INSTRUCTIONS[precision]})"


def _load(model: bytes, tile: Index, precision: str, threads: int) -> Runner:
    return Request(model, tile, precision, threads)


OPENVINO = Backend(
    "openvino", PROVIDER, tuple(HINTS), "pip install 'fibstream[openvino]'",
    _runtime, _unusable, _load,
    automatic=platform.machine() in X86,
    hides_nan=True,  # its Relu yields 0 of it
)  # fmt: skip
