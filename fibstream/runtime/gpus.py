"""How full and how busy the GPUs are that this process may use, as metrics."""

import contextlib
import logging
import time
from typing import Any

from fibstream.telemetry.metrics import GPU_BUSY, GPU_FREE, GPU_SIZE, Telemetry

log = logging.getLogger(__name__)

LOOK_S = 5.0  # between two looks; NVIDIA's driver takes use as a mean over at most a second


class Gpus:
    """Looks at NVIDIA's GPUs; without one, its driver or its library there are no such metrics."""

    def __init__(self, telemetry: Telemetry) -> None:
        self._telemetry = telemetry
        self._due = 0.0
        self._library: Any = None
        try:
            import pynvml

            pynvml.nvmlInit()
            self._library = pynvml
        except Exception as error:  # of a kind that only the library names
            log.debug("no GPUs: %s", error)

    def look(self) -> None:
        """Set the metrics, if that is due."""
        if self._library is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_S
        number = 0
        try:
            for number in range(self._library.nvmlDeviceGetCount()):
                self._tell(number)
        except self._library.NVMLError as error:  # the driver is gone: a server goes on without
            log.debug("GPU %d: %s", number, error)

    def _tell(self, number: int) -> None:
        handle, gpu = self._library.nvmlDeviceGetHandleByIndex(number), str(number)
        memory = self._library.nvmlDeviceGetMemoryInfo(handle)
        self._telemetry.set(GPU_SIZE, memory.total, gpu=gpu)
        self._telemetry.set(GPU_FREE, memory.free, gpu=gpu)
        with contextlib.suppress(self._library.NVMLError):  # a slice of a GPU tells no use
            busy = self._library.nvmlDeviceGetUtilizationRates(handle).gpu
            self._telemetry.set(GPU_BUSY, busy / 100, gpu=gpu)
