"""ONNX Runtime: on the processor, the reference; on NVIDIA GPUs by CUDA or TensorRT."""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from types import MappingProxyType
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference.backend import FP32, Backend, Runner

from .nvidia import gpu

CPU_PROVIDER = "CPUExecutionProvider"
CUDA_PROVIDER = "CUDAExecutionProvider"
TENSORRT_PROVIDER = "TensorrtExecutionProvider"
# Both wheels install one and the same folder: with one over the other neither is whole.
GPU_HINT = (
    "pip uninstall onnxruntime, then pip install 'onnxruntime-gpu[cuda,cudnn]', which takes its "
    "place"
)
Options = Mapping[str, str]
# Convolutions take the kernel that cuDNN's rules name, never the fastest of a trial: a trial's
# winner changes from run to run, and the bits with it.
CUDA_OPTIONS: Mapping[str, Options] = {
    precision: {
        "device_id": "0",
        "use_tf32": "1" if precision == "tf32" else "0",
        "cudnn_conv_algo_search": "HEURISTIC",
        "cudnn_conv_use_max_workspace": "1",
        "arena_extend_strategy": "kSameAsRequested",  # the default doubles what it holds
        "prefer_nhwc": "1",
    }
    for precision in (FP32, "tf32")
}
# TensorRT builds by trials: two builds may differ in bits, which the digest tells. Its options are
# refused unless flags are written as words.
TENSORRT_OPTIONS: Mapping[str, Options] = {
    precision: {
        "device_id": "0",
        "trt_fp16_enable": str(precision == "fp16"),
        "trt_bf16_enable": str(precision == "bf16"),
    }
    for precision in (FP32, "fp16", "bf16")
}


class Session:
    """A session of one provider that runs every node of the network; see ``Runner``."""

    def __init__(
        self, model: bytes, provider: str, options: Options, facts: Mapping[str, str], threads: int
    ) -> None:
        self.facts = MappingProxyType(dict(facts))
        settings = session_options(threads, alone=provider != CPU_PROVIDER)
        # Else the processor takes over when loading or a call fails, and the cause is lost.
        self._session = onnxruntime.InferenceSession(
            model, settings, providers=[(provider, dict(options))], enable_fallback=0
        )
        used = self._session.get_providers()[0]
        if used != provider:  # the library was found and its own were not: it says so in a log
            raise WrongUse(f"{provider} could not be started here, and {used} would run instead")
        self._input = self._session.get_inputs()[0].name

    def __call__(self, tile: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the output of a tile."""
        found: NDArray[Any] = self._session.run(None, {self._input: tile})[0]
        return found


def session_options(threads: int, *, alone: bool = False) -> onnxruntime.SessionOptions:
    """Return options of a session; ``alone``: no node may run on the processor instead."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Workers share the cores: a thread without work must not spin on one.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Planning one block of memory for all tensors holds 335 MB instead of 237 for a tile of 112³
    # and saves 4 % of the time; no arena at all costs 13 % and saves nothing more at the peak.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # errors alone
    if alone:
        options.use_deterministic_compute = True
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    return options


def _runtime() -> str:
    return f"onnxruntime {onnxruntime.__version__}"


def _with(provider: str) -> str | None:
    """Return the runtime where it was built with a provider."""
    return _runtime() if provider in onnxruntime.get_available_providers() else None


def _no_gpu(_precision: str) -> str | None:
    return None if gpu() else "finds no NVIDIA GPU here"


def _load_cpu(model: bytes, _tile: Index, _precision: str, threads: int) -> Runner:
    return Session(model, CPU_PROVIDER, {}, {}, threads)


def _load_cuda(model: bytes, _tile: Index, precision: str, threads: int) -> Runner:
    _preload()
    return Session(model, CUDA_PROVIDER, CUDA_OPTIONS[precision], gpu_facts(), threads)


def _load_tensorrt(model: bytes, _tile: Index, precision: str, threads: int) -> Runner:
    _preload()
    return Session(model, TENSORRT_PROVIDER, TENSORRT_OPTIONS[precision], gpu_facts(), threads)


def _preload() -> None:
    """Load CUDA and cuDNN from their wheels, where they are installed as such."""
    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()


def gpu_facts() -> Mapping[str, str]:
    """Return what the bits of a GPU's results depend on besides the runtime: GPU and cuDNN."""
    facts = {"device": gpu() or "none"}
    for package in ("nvidia-cudnn-cu13", "nvidia-cudnn-cu12"):
        try:
            facts["cudnn"] = version(package)
            break
        except PackageNotFoundError:
            continue
    return facts


CPU = Backend(
    "onnxruntime", CPU_PROVIDER, (FP32,), "pip install 'fibstream[inference]'",
    _runtime, lambda _precision: None, _load_cpu,
)  # fmt: skip
CUDA = Backend(
    "cuda", CUDA_PROVIDER, tuple(CUDA_OPTIONS), GPU_HINT,
    lambda: _with(CUDA_PROVIDER), _no_gpu, _load_cuda, on_gpu=True,
)  # fmt: skip
TENSORRT = Backend(
    "tensorrt", TENSORRT_PROVIDER, tuple(TENSORRT_OPTIONS), f"{GPU_HINT}, and TensorRT",
    lambda: _with(TENSORRT_PROVIDER), _no_gpu, _load_tensorrt, automatic=False, on_gpu=True,
)  # fmt: skip
