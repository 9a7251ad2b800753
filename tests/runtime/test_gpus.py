"""GPUs as metrics: what NVIDIA's library says of each, and nothing where there is none."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest
from prometheus_client import generate_latest

from fibstream.runtime import gpus
from fibstream.runtime.gpus import Gpus
from fibstream.telemetry.prometheus import Prometheus


class NVMLError(Exception):
    """What the library raises."""


def library(*, driver: bool = True) -> Any:
    """Return NVML of two GPUs; the second is a slice, whose use nobody knows."""

    def init() -> None:
        if not driver:
            raise NVMLError("Driver Not Loaded")

    def use(number: int) -> Any:
        if number:
            raise NVMLError("Not Supported")
        return SimpleNamespace(gpu=37, memory=90)

    def count() -> int:
        if made.gone:
            raise NVMLError("GPU is lost")
        return 2

    made = SimpleNamespace(NVMLError=NVMLError, nvmlInit=init, free=30, gone=False)
    made.nvmlDeviceGetCount = count
    made.nvmlDeviceGetHandleByIndex = lambda number: number
    made.nvmlDeviceGetMemoryInfo = lambda n: SimpleNamespace(total=80 + n, free=made.free, used=50)
    made.nvmlDeviceGetUtilizationRates = use
    return made


def told(telemetry: Prometheus) -> dict[str, float]:
    lines = generate_latest(telemetry.registry).decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if line.startswith("fibstream_gpu"))
    return {name: float(value) for name, value in pairs}


def named(metric: str, gpu: int) -> str:
    return f'fibstream_gpu_{metric}{{gpu="{gpu}",service="inference"}}'


def test_memory_and_use_of_each_gpu_are_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    nvml, telemetry, now = library(), Prometheus("inference"), [100.0]
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    looking = Gpus(telemetry)
    looking.look()
    expected = {
        named("memory_size_bytes", 0): 80, named("memory_free_bytes", 0): 30,
        named("busy_ratio", 0): 0.37,
        named("memory_size_bytes", 1): 81, named("memory_free_bytes", 1): 30,
    }  # fmt: skip
    assert told(telemetry) == expected
    nvml.free, nvml.gone = 20, True
    now[0] += gpus.LOOK_S
    looking.look()
    assert told(telemetry) == expected  # the driver is gone, and the server goes on
    nvml.gone = False
    looking.look()
    assert told(telemetry) == expected  # not yet due
    now[0] += gpus.LOOK_S
    looking.look()
    assert told(telemetry)[named("memory_free_bytes", 0)] == 20


@pytest.mark.parametrize("nvml", [None, library(driver=False)])
def test_without_a_gpu_there_is_no_metric(nvml, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    telemetry = Prometheus("inference")
    Gpus(telemetry).look()
    assert told(telemetry) == {}
