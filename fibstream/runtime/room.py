"""How much room there is where the datasets lie, as metrics."""

import logging
import shutil
import time
from pathlib import Path

from fibstream.telemetry.metrics import STORE_FREE, STORE_SIZE, Telemetry

log = logging.getLogger(__name__)

LOOK_S = 5.0  # between two looks: a disk of 1 GB/s loses 5 GB meanwhile


class Room:
    """Looks at the disk of a root that is a folder; a bucket has no size."""

    def __init__(self, folder: Path | None, telemetry: Telemetry) -> None:
        self._folder = folder
        self._telemetry = telemetry
        self._due = 0.0

    def look(self) -> None:
        """Set the metrics, if that is due."""
        if self._folder is None or time.monotonic() < self._due:
            return
        self._due = time.monotonic() + LOOK_S
        try:
            found = shutil.disk_usage(self._folder)
        except OSError as error:  # the folder is away, which every call says
            log.debug("%s: %s", self._folder, error)
            return
        self._telemetry.set(STORE_SIZE, found.total)
        self._telemetry.set(STORE_FREE, found.free)
