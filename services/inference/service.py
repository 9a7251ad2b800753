"""inference: predict every class of every network, one chunk at a time."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fibstream.dataset import Dataset, Model
from fibstream.errors import Poison, WrongUse
from fibstream.loops import Service
from fibstream.planner import RAW
from fibstream.ports import Files
from fibstream.settings import load
from fibstream.stage import Arrays, Block, Compute, Input, Output, Patch, Stage
from fibstream.telemetry import MODEL_INFO, Telemetry

from .grey import contrast
from .port import Engine, ModelSpec
from .tiling import halo_of, predict


def stages(dataset: Dataset, files: Files) -> Sequence[Stage]:
    """Return one stage for each network; it writes all of the network's classes."""
    return [stage(dataset, model, Supplier(model, files)) for model in dataset.models]


def stage(dataset: Dataset, model: Model, engine: Callable[[], Engine]) -> Stage:
    """Return the stage of one network; ``engine`` is asked for when the first block comes."""
    spec = ModelSpec.model_validate(dict(model.spec))
    parameters = {
        "model": model.sha256,
        "profile": dict(model.profile),
        "contrast": list(dataset.contrast),
        "invert": dataset.invert,
    }
    return Stage(
        f"prediction/{model.name}", 1,
        (Input(RAW, RAW, dataset.dtype, halo_of(spec)),),
        tuple(Output(f"predictions/{name}", "uint8", "mean") for name in model.classes),
        parameters,
        _compute(dataset, model, engine),
    )  # fmt: skip


def _compute(dataset: Dataset, model: Model, supply: Callable[[], Engine]) -> Compute:
    def compute(block: Block) -> Mapping[str, NDArray[Any] | Arrays]:
        raw = block.patches[RAW]
        low, high = dataset.contrast
        grey = contrast(raw.array, low, high, invert=dataset.invert)
        found = predict(Patch(grey, raw.box, raw.absent), block.core, supply())
        return {f"predictions/{name}": found[i] for i, name in enumerate(model.classes)}

    return compute


class Supplier:
    """Makes the engine once, and refuses the dataset when it is not the one it was created with."""

    def __init__(self, model: Model, files: Files) -> None:
        self._model = model
        self._files = files
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        """Return the engine."""
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def _make(self) -> Engine:
        from .engine import CpuEngine  # the runtime is loaded by those who compute, not by planners

        handle = self._files.open(self._model.path)
        if handle is None:
            raise Poison(f"the dataset has no file {self._model.path}")
        with closing(handle), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self._model.name}.onnx"
            path.write_bytes(handle.read(0, handle.size))
            engine = CpuEngine(path, load()[0].threads)
        differs = [k for k, v in self._model.profile.items() if engine.profile.get(k) != v]
        if differs:
            found = ", ".join(
                f"{k} {engine.profile.get(k)} instead of {self._model.profile[k]}" for k in differs
            )
            raise WrongUse(f"this machine does not reproduce model {self._model.name}: {found}")
        return engine


def describe(dataset: Dataset, telemetry: Telemetry) -> None:
    """Say which networks a dataset is predicted with."""
    for model in dataset.models:
        runtime, precision = (model.profile.get(k, "") for k in ("runtime", "precision"))
        telemetry.set(
            MODEL_INFO, 1,
            model=model.name, sha256=model.sha256, runtime=runtime, precision=precision,
        )  # fmt: skip


def arrays(dataset: Dataset) -> list[tuple[str, str, bool]]:
    """Return the arrays that inference owns."""
    return [(f"predictions/{c}", "uint8", True) for m in dataset.models for c in m.classes]


SERVICE = Service("inference", stages, arrays=arrays, describe=describe)
