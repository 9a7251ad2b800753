"""Which NVIDIA GPU a machine has, asked of its driver."""

import ctypes
from collections.abc import Callable
from typing import Any

DRIVER = "libcuda.so.1"
MAJOR, MINOR = 75, 76  # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_*


def gpu(load: Callable[[str], Any] = ctypes.CDLL) -> str | None:
    """Return name and compute capability of the first GPU, such as ``NVIDIA H100 sm_90``.

    None where there is no driver, or no GPU that it shows. ``load`` opens a shared library.
    """
    try:
        cuda = load(DRIVER)
    except OSError:
        return None
    count, device = ctypes.c_int(0), ctypes.c_int(0)
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or not count.value:
        return None
    text = ctypes.create_string_buffer(256)
    if cuda.cuDeviceGet(ctypes.byref(device), 0) or cuda.cuDeviceGetName(text, 256, device):
        return None
    version = []
    for attribute in (MAJOR, MINOR):
        found = ctypes.c_int(0)
        if cuda.cuDeviceGetAttribute(ctypes.byref(found), attribute, device):
            return None
        version.append(found.value)
    return f"{text.value.decode(errors='replace')} sm_{version[0]}{version[1]}"
