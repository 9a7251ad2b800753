"""The designer turns a client's request into a dataset: ingest knows no networks or recipes.

The composition of all services does (``fibstream.app.design``), and it is found by its entry point:
no import leads from a service up to it.
"""

import threading
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from fibstream.core.errors import WrongState
from fibstream.runtime.root import Root
from fibstream.runtime.settings import Settings
from fibstream.store.gate import gate_of

from .datasets import DatasetDesign, DatasetRequest

GROUP = "fibstream.designer"  # entry points: a function of a request, a root, threads and a gate


class PluggedDesigner:
    """The installed designer, loaded with the first request: it brings the network runtime."""

    def __init__(self, root: Root, settings: Settings, sources: Sequence[str | Path] = ()) -> None:
        self._root = root
        self._gate = gate_of(sources)
        self._settings = settings
        self._alone = threading.Lock()  # a design loads networks, some hundred MB each

    def __call__(self, request: DatasetRequest) -> DatasetDesign:
        """Return the dataset that is requested, or one that is there with another pipeline.

        Raises WrongState when this installation cannot check networks, WrongUse when the request
        cannot be met.
        """
        try:
            (entry,) = entry_points(group=GROUP)
            design = entry.load()
        except (ValueError, ImportError) as error:
            raise WrongState(
                f"datasets cannot be designed here: {error}; expected an installation of "
                "fibstream[ingest] with its networks' runtime"
            ) from error
        request = request._replace(
            backend=request.backend or self._settings.backend,
            precision=request.precision or self._settings.precision,
            tile=request.tile or self._settings.tile,
            tile_memory_gb=self._settings.tile_memory_gb,
            inference=self._settings.inference,
        )
        with self._alone:
            designed: DatasetDesign = design(
                request, self._root, self._settings.threads, self._gate
            )
        return designed
