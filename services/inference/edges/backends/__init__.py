"""All backends: one file each, and one entry here, the fastest first."""

from .onnx_runtime import CPU, CUDA, TENSORRT
from .open_vino import OPENVINO

REFERENCE = CPU
BACKENDS = (TENSORRT, CUDA, OPENVINO, CPU)
