"""Which backend a dataset gets, what its profile tells, and what a machine without it says."""

import ctypes
import logging
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from fibstream.core.errors import Poison, WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference import backend as rules
from fibstream.services.inference.backend import Backend, Runner, Wanted, candidates, recorded
from fibstream.services.inference.edges.backends import BACKENDS, REFERENCE
from fibstream.services.inference.edges.backends.nvidia import gpu
from fibstream.services.inference.edges.backends.onnx_runtime import (
    CUDA,
    TENSORRT,
    TENSORRT_OPTIONS,
    Session,
)
from fibstream.services.inference.edges.backends.open_vino import OPENVINO
from fibstream.services.inference.edges.engine import (
    CpuEngine,
    Network,
    NetworkEngine,
    engine_of,
    make_engine,
)
from fibstream.services.inference.selfcheck import smooth_block

from ..support.patience import PATIENCE_S
from .net import EDGE, Graph, unet, write_net


def missing(_precision: str) -> str | None:
    return "finds no such thing here"


def usable(_precision: str) -> str | None:
    return None


def one(
    name: str, *precisions: str, version: str | None = "1", automatic: bool = True,
    unusable: Callable[[str], str | None] = usable,
) -> Backend:  # fmt: skip
    return Backend(
        name, name.upper(), precisions or ("fp32",), f"install {name}", lambda: version, unusable,
        REFERENCE.load, automatic=automatic,
    )  # fmt: skip


REFERENCED = one("slow")


def names(wanted: Wanted, *backends: Backend) -> list[tuple[str, str]]:
    return [(b.name, p) for b, p in candidates(wanted, (*backends, REFERENCED))]


def test_auto_tries_what_is_usable_in_order_and_ends_with_the_reference() -> None:
    fast, gone = one("fast", "fp32", "bf16"), one("gone", version=None)
    barred, named = one("barred", unusable=missing), one("named", automatic=False)
    assert names(Wanted(), gone, barred, named, fast) == [("fast", "fp32"), ("slow", "fp32")]


def test_auto_is_never_less_exact_than_fp32() -> None:
    assert names(Wanted(), one("rough", "bf16")) == [("slow", "fp32")]
    assert names(Wanted(precision="bf16"), one("rough", "bf16")) == [("rough", "bf16")]


def test_a_named_backend_is_the_only_one() -> None:
    fast = one("fast", "bf16", "fp32")
    assert names(Wanted("fast"), fast) == [("fast", "bf16")]
    assert names(Wanted("fast", "fp32"), fast) == [("fast", "fp32")]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (Wanted("gone"), "backend gone is not installed: install gone"),
        (Wanted("barred"), "backend barred finds no such thing here"),
        (Wanted("fst"), "backend 'fst': expected one of auto, fast, gone, barred, slow"),
        (Wanted("fast", "int8"), "precision 'int8': expected one of backend fast: auto, fp32"),
        (Wanted(precision="int9"), "precision 'int9': expected one: auto, fp32, int8"),
        (
            Wanted(precision="int8"),
            "precision int8: no backend computes with it here: gone is not installed: install gone",
        ),
    ],
)
def test_what_cannot_be_had_is_told_in_one_line(wanted: Wanted, message: str) -> None:
    gone = one("gone", "fp32", "int8", version=None)
    with pytest.raises(WrongUse) as caught:
        names(wanted, one("fast"), gone, one("barred", unusable=missing))
    assert str(caught.value) == message


def test_every_backend_is_told_apart_by_its_name_and_by_what_a_profile_records() -> None:
    assert len({b.name for b in BACKENDS}) == len({b.provider for b in BACKENDS}) == len(BACKENDS)
    assert BACKENDS[-1] is REFERENCE
    for each in BACKENDS:
        profile = {"provider": each.provider, "precision": each.precisions[-1]}
        assert recorded(profile, BACKENDS) == (each, each.precisions[-1])
    with pytest.raises(WrongUse, match="knows no backend 'Abacus'"):
        recorded({"provider": "Abacus"}, BACKENDS)
    with pytest.raises(WrongUse, match="precision 'int4': expected one of backend onnxruntime"):
        recorded({"provider": REFERENCE.provider, "precision": "int4"}, BACKENDS)


def test_auto_takes_no_backend_that_chooses_by_trials() -> None:
    there = [replace(each, runtime=lambda: "1", unusable=usable) for each in BACKENDS]
    found = [name for name, _ in names(Wanted(), *there)[:-1]]
    on_x86 = ["openvino"] if OPENVINO.automatic else []
    assert found == ["cuda", *on_x86, "onnxruntime"]


def overflowing(graph: Graph) -> str:
    """Infinities wherever a tile is not black; infinity less infinity is NaN."""
    value = graph.add("Cast", "raw", to=TensorProto.FLOAT)
    for channels in (1, 2, 2):
        weight = np.full((2, channels, 3, 3, 3), 1e25, np.float32)
        weight[1] *= -1
        value = graph.add("Conv", value, graph.constant(weight, np.float32))
    cut = graph.add("Relu", graph.crop(value, 1))
    return graph.add("Tanh", cut)


def test_a_network_that_overflows_is_refused_by_what_hides_a_nan(tmp_path: Path) -> None:
    path = write_net(tmp_path / "wild.onnx", body=overflowing)
    with pytest.raises(WrongUse, match="not finite"):
        make_engine(path, 1, Wanted("onnxruntime"))
    with pytest.raises(
        WrongUse,
        match=r"wild.onnx: not proven to be free of infinities and NaN, which backend openvino may "
        r"turn into grey values: Conv n\d+: values may reach .*; use backend onnxruntime$",
    ):
        make_engine(path, 1, Wanted("openvino"))


def test_openvino_does_turn_nan_into_grey_values(tmp_path: Path) -> None:
    """Why the proof is asked for: without it the network that fails above yields a prediction."""
    path = write_net(tmp_path / "wild.onnx", body=overflowing)
    trusted = replace(OPENVINO, hides_nan=False)
    noise = smooth_block((EDGE,) * 3)
    found = Network(path, trusted, "fp32").infer(noise)
    assert found.dtype == np.uint8  # and no Poison
    with pytest.raises(Poison, match="not finite"):
        Network(path, REFERENCE, "fp32").infer(noise)


def rarely(graph: Graph) -> str:
    """The first network by a factor of 1 that no rule knows: the square root of what is 1."""
    one = graph.add("Sqrt", graph.constant(1.0, np.float32))
    return graph.add("Mul", unet(graph), one)


def test_auto_takes_what_is_proven_and_passes_else_the_reference(
    tmp_path: Path, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    if OPENVINO.automatic:
        profile = make_engine(path, 1, Wanted()).profile
        assert profile["provider"] == OPENVINO.provider
        assert float(profile["flips"]) == 0 and int(profile["levels"]) <= 1
    unproven = write_net(tmp_path / "unproven.onnx", body=rarely)
    with caplog.at_level(logging.WARNING):
        assert make_engine(unproven, 1, Wanted()).profile["provider"] == REFERENCE.provider
    if OPENVINO.automatic:
        assert "Sqrt" in caplog.text and "trying onnxruntime" in caplog.text


class Off:
    """The reference's values, moved by so much."""

    def __init__(self, by: float) -> None:
        self._by = by

    def __call__(self, model: bytes, tile: Index, precision: str, threads: int) -> Runner:
        run = REFERENCE.load(model, tile, precision, threads)
        by = self._by

        class Moved:
            facts: Mapping[str, str] = {}

            def __call__(self, tile: Any) -> Any:
                return run(tile) + np.float32(by)

        return Moved()


@pytest.mark.parametrize("by", [0.3, 1.0, 2.0])  # of a grey level before it is rounded to one
def test_a_processors_backend_that_moves_the_surface_is_taken_by_name_alone(
    path: Path, by: float, caplog: pytest.LogCaptureFixture
) -> None:
    off = Backend("off", "Off", ("fp32",), "", lambda: "1", usable, Off(by), on_gpu=False)
    write_net(path, head=None)  # a float output, from -1 to 1
    moved = replace(off, load=Off(by / 128))
    with caplog.at_level(logging.WARNING):
        engine = make_engine(path, 1, Wanted(), (moved, REFERENCE))
    assert engine.profile["provider"] == REFERENCE.provider
    assert "in fp32" in caplog.text and "allowed: 0 % and 1" in caplog.text


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return write_net(tmp_path / "cells.onnx")


def test_openvino_in_fp32_agrees_with_the_reference(path: Path) -> None:
    engine = make_engine(path, 1, Wanted("openvino"))
    assert engine.profile["precision"] == "fp32"
    assert float(engine.profile["flips"]) == 0
    assert set(engine.profile) > {"runtime", "provider", "tile", "digest", "smooth_digest"}
    assert "f32" in engine.profile["kernels"] and "bf16" not in engine.profile["kernels"]
    flips, levels = rules.deviation(engine.smooth, CpuEngine(path).smooth)
    assert flips == 0 and levels <= 1


def test_threads_change_no_bit_of_openvino(path: Path) -> None:
    one, two = (NetworkEngine(path, OPENVINO, "fp32", threads) for threads in (1, 2))
    assert one.profile == two.profile
    assert np.array_equal(one.smooth, two.smooth)


def test_an_output_stays_as_it_was_when_the_next_tile_is_computed(path: Path) -> None:
    engine = NetworkEngine(path, OPENVINO, "fp32")
    first = engine.infer(smooth_block(engine.spec.tile))
    kept = first.copy()
    engine.infer(np.zeros(engine.spec.tile, np.uint8))
    assert np.array_equal(first, kept)


SIGNALLED = """
import faulthandler, signal, sys
from pathlib import Path
from fibstream.services.inference.edges.backends.open_vino import OPENVINO
from fibstream.services.inference.edges.engine import NetworkEngine
faulthandler.enable()
engines = [NetworkEngine(Path(sys.argv[1]), OPENVINO, "fp32") for _ in range(2)]
OPENVINO.why_not("bf16")
for _ in range(2):
    del engines[0]
signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_process_that_let_engines_go_ends_as_it_is_told(path: Path) -> None:
    """A worker handles SIGTERM on the stack for signals, which openvino replaces."""
    found = subprocess.run([sys.executable, "-c", SIGNALLED, path], check=False, timeout=PATIENCE_S)
    assert found.returncode == 7


def test_openvino_reports_no_import_to_its_makers(path: Path) -> None:
    make_engine(path, 1, Wanted("openvino"))
    assert sys.modules.get("openvino_telemetry") is None


def test_bfloat16_tells_its_deviation_and_keeps_to_its_kernels(path: Path) -> None:
    if OPENVINO.why_not("bf16"):
        with pytest.raises(WrongUse, match="has no bf16 on this processor"):
            make_engine(path, 1, Wanted("openvino", "bf16"))
        return
    try:
        profile = make_engine(path, 1, Wanted("openvino", "bf16")).profile
    except WrongUse as error:  # random weights: their outputs crowd about the surface
        assert "in bf16" in str(error) and "use precision fp32" in str(error)
    else:
        assert profile["precision"] == "bf16"
        assert 0 <= float(profile["flips"]) <= rules.MAX_FLIPS


def test_a_deviation_beyond_the_limit_is_refused() -> None:
    exact = np.full((1, 10, 10, 10), 127, np.uint8)
    found = exact.copy()
    found[0, 0, 0, :5] = 128
    assert rules.deviation(found, exact) == (0.005, 1)
    assert rules.judged("cells", "bf16", 0.005, 1) == {"flips": "0.005000", "levels": "1"}
    with pytest.raises(WrongUse, match=r"model cells: in bf16 0.6 % of the check's voxels"):
        rules.judged("cells", "bf16", 0.006, 1)
    with pytest.raises(WrongUse, match=r"in fp32 1.4e-05 % .*; allowed: 0 % and 1; use"):
        rules.judged("cells", "fp32", 1 / 7_077_888, 1, exact=True)
    with pytest.raises(WrongUse, match="off by 33 grey levels"):
        rules.judged("cells", "bf16", 0, 33)
    assert rules.deviation(np.array([0], np.uint8), np.array([255], np.uint8)) == (1.0, 255)


def test_the_smooth_block_has_lumps_and_noise() -> None:
    block = smooth_block((48, 70, 33))
    assert block.shape == (48, 70, 33) and block.dtype == np.uint8
    assert block.std() > 30 and (block == 0).any() and (block == 255).any()
    step = np.abs(np.diff(block.astype(int), axis=0))
    assert 5 < step.mean() < 30  # fine noise on lumps, no noise alone: that has 85
    assert np.array_equal(block, smooth_block((48, 70, 33)))


def test_a_dataset_gets_the_engine_it_was_created_with(path: Path) -> None:
    for wanted in (Wanted("openvino"), Wanted("onnxruntime")):
        made = make_engine(path, 1, wanted)
        again = engine_of(path, made.profile, 2)
        assert again.profile == made.profile
        assert np.array_equal(again.smooth, made.smooth)


@pytest.mark.parametrize(
    "changes",
    [
        {"digest": "0" * 64},
        {"smooth_digest": "0" * 64},
        {"runtime": "onnxruntime 1.0"},
        {"tile": "?"},
        {"device": "NVIDIA H100 sm_90"},
        {"kernels": "jit_avx2"},
    ],
)
def test_another_profile_is_refused(path: Path, changes: Mapping[str, str]) -> None:
    profile = {**CpuEngine(path).profile, **changes}
    with pytest.raises(WrongUse, match="this machine does not reproduce model cells: ") as caught:
        engine_of(path, profile, 1)
    (key,) = changes
    assert f"{key} " in str(caught.value) and changes[key] in str(caught.value)


def test_how_far_a_dataset_deviates_is_told_once_and_not_measured_again(path: Path) -> None:
    profile = {**CpuEngine(path).profile, "flips": "0.000001", "levels": "1"}
    assert engine_of(path, profile, 1).profile == profile


def test_a_record_of_an_earlier_version_has_no_smooth_digest(path: Path) -> None:
    profile = {k: v for k, v in CpuEngine(path).profile.items() if k != "smooth_digest"}
    assert engine_of(path, profile, 1).profile["provider"] == REFERENCE.provider


def test_a_dataset_of_a_gpu_is_refused_without_one(path: Path) -> None:
    if CUDA.why_not("fp32") is None:
        pytest.skip("this machine has a GPU")
    profile = {**CpuEngine(path).profile, "provider": CUDA.provider}
    with pytest.raises(WrongUse, match="model cells: its dataset is computed by backend cuda, whi"):
        engine_of(path, profile, 1)


@pytest.mark.parametrize("backend", [CUDA, TENSORRT])
def test_a_gpu_that_is_asked_for_and_missing_is_an_error(path: Path, backend: Backend) -> None:
    if backend.why_not("fp32") is None:
        pytest.skip("this machine has a GPU")
    with pytest.raises(WrongUse, match=rf"backend {backend.name} (is not installed|finds no NV)"):
        make_engine(path, 1, Wanted(backend.name))


def fails(_model: bytes, _tile: Index, _precision: str, _threads: int) -> Runner:
    """The runtime is there, and its libraries are not."""
    raise RuntimeError("libcudnn.so.9: cannot open shared object file")


def broken(name: str, *, on_gpu: bool) -> Backend:
    return Backend(name, name, ("fp32",), "", lambda: "1", usable, fails, on_gpu=on_gpu)


def test_a_gpu_that_fails_is_never_replaced_silently(path: Path) -> None:
    backends = (broken("cuda", on_gpu=True), REFERENCE)
    with pytest.raises(WrongUse, match=r"libcudnn.*; --backend onnxruntime does not use the GPU"):
        make_engine(path, 1, Wanted(), backends)


def test_a_processors_backend_that_fails_gives_way_with_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    backends = (broken("quick", on_gpu=False), REFERENCE)
    with caplog.at_level(logging.WARNING):
        engine = make_engine(path, 1, Wanted(), backends)
    assert engine.profile["provider"] == REFERENCE.provider
    assert "backend quick: " in caplog.text and "trying onnxruntime" in caplog.text


def test_a_provider_runs_every_node_or_none(path: Path) -> None:
    """Azure's provider runs no convolution: the processor would do all of it."""
    content = path.read_bytes()
    with pytest.raises(Exception, match=r"(?i)fallback"):
        Session(content, "AzureExecutionProvider", {}, {}, 1)


def test_flags_of_tensorrt_are_words() -> None:
    """ONNX Runtime refuses "1" and "0" for them, and with them every session."""
    flags = {p: {k for k, v in o.items() if v == "True"} for p, o in TENSORRT_OPTIONS.items()}
    assert flags == {"fp32": set(), "fp16": {"trt_fp16_enable"}, "bf16": {"trt_bf16_enable"}}
    words = {v for o in TENSORRT_OPTIONS.values() for k, v in o.items() if k.endswith("_enable")}
    assert words == {"True", "False"}


class Driver:
    """What of NVIDIA's driver is called, with one GPU or none."""

    def __init__(self, devices: int, error: int = 0) -> None:
        self.devices, self.error = devices, error

    def cuInit(self, _flags: int) -> int:  # noqa: N802
        return self.error

    def cuDeviceGetCount(self, count: Any) -> int:  # noqa: N802
        count._obj.value = self.devices
        return 0

    def cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def cuDeviceGetName(self, text: Any, size: int, _device: ctypes.c_int) -> int:  # noqa: N802
        text.value = b"NVIDIA H100"[: size - 1]
        return 0

    def cuDeviceGetAttribute(self, found: Any, attribute: int, _device: Any) -> int:  # noqa: N802
        found._obj.value = {75: 9, 76: 0}[attribute]
        return 0


def test_the_driver_names_the_gpu() -> None:
    assert gpu(lambda _: Driver(1)) == "NVIDIA H100 sm_90"
    assert gpu(lambda _: Driver(0)) is None
    assert gpu(lambda _: Driver(1, error=100)) is None
    assert gpu(lambda _: ctypes.CDLL("lib-that-is-not-there.so")) is None
