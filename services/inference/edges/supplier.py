"""The engine of a dataset's network, made from the file that the dataset keeps."""

import tempfile
from contextlib import closing
from pathlib import Path

from fibstream.core.dataset import Model
from fibstream.core.errors import Poison
from fibstream.core.ports import Files
from fibstream.runtime.settings import load
from fibstream.services.inference.port import Engine, ModelSpec


class EngineSupplier:
    """Makes the engine once; refuses one with another profile than the dataset was created with."""

    def __init__(self, model: Model, files: Files) -> None:
        self._model = model
        self._files = files
        self._engine: Engine | None = None

    def __call__(self) -> Engine:
        """Return the engine; raise WrongUse when its profile on this machine is another one."""
        if self._engine is None:
            self._engine = self._make()
        return self._engine

    def _make(self) -> Engine:
        from .engine import engine_of  # workers load the runtime, planners do not

        handle = self._files.open(self._model.path)
        if handle is None:
            raise Poison(f"the dataset has no file {self._model.path}")
        with closing(handle), tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{self._model.name}.onnx"
            path.write_bytes(handle.read(0, handle.size))
            spec = ModelSpec.model_validate(dict(self._model.spec))
            return engine_of(path, self._model.profile, load()[0].threads, spec.meaning)
