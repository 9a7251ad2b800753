"""Volumes that a client names and the server reads: through the gate, a few at a time."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut
from fibstream.core.errors import LimitExceeded, WrongUse
from fibstream.core.grid import Index
from fibstream.core.stage import MASK, RAW, Input
from fibstream.store.gate import gate_of
from fibstream.volumes.masks import imaged
from fibstream.volumes.sources import Source, open_volume
from fibstream.volumes.zarr_n5.selection import Kind

from .sources import check_dataset_place, open_raw, shape_text
from .stored import check_length, length_of

MAX_READS = 4  # at a time: each may hold a gigabyte of decoded strips, and they share a disk
WAIT_S = 30.0  # for another read to end


class AnnouncedVolumes:
    """Reads chunks of the volumes below ``roots``: folders, and prefixes of buckets."""

    def __init__(self, roots: Sequence[str | Path], reads: int = MAX_READS) -> None:
        self._gate = gate_of(roots)
        self._reads = threading.BoundedSemaphore(reads)

    def read(self, source: str, dataset: Dataset, array: Input, index: Index) -> NDArray[Any]:
        """Return the voxels (z, y, x) of a chunk, from a volume with the dataset's whole extent.

        Raises WrongUse for an address or a volume that is not the dataset's, LimitExceeded while
        others are read.
        """
        with self._turn(), closing(self._open(source, dataset, array)) as volume:
            box, masked = dataset.grid.box(index), array.stage == MASK
            wrong = not masked and str(volume.dtype) != array.dtype
            if wrong or volume.shape[1:] != dataset.shape[1:] \
                    or volume.shape[0] < box.stop[0]:  # fmt: skip
                factors = dataset.downsample if array.stage == RAW else (1, 1, 1)
                raise WrongUse(
                    f"source {cut(source)}: {volume.dtype} {shape_text(volume.shape, factors)}; "
                    f"the dataset is {array.dtype} {dataset.shape}"
                )
            voxels = volume.read(box)
            return imaged(voxels, source) if masked else voxels

    def _open(self, source: str, dataset: Dataset, array: Input) -> Source:
        """Open raw, a mask, or a prediction that nothing has to be made of."""
        if array.stage == RAW:
            ended = dataset.shape[0] is not None
            return open_raw(source, dataset, gate=self._gate, ended=ended)
        kind: Kind = "labels" if array.stage == MASK else "prediction"
        name = array.stage.partition("/")[2]
        prediction = None if array.stage == MASK else dataset.prediction(name)
        if prediction is not None and prediction.made_of:
            raise WrongUse(
                f"prediction {name}: a client converts {prediction.made_of}, and not the server: "
                "land it by fibstream land --labels"
            )
        size = dataset.voxel_size_nm
        volume = open_volume(source, kind=kind, voxel_size_nm=size, gate=self._gate)
        try:
            check_dataset_place(volume, dataset)
            if prediction is not None:
                check_length(name, prediction.length_nm, source, length_of(volume))
        except WrongUse:
            volume.close()
            raise
        return volume

    @contextmanager
    def _turn(self) -> Iterator[None]:
        if not self._reads.acquire(timeout=WAIT_S):
            raise LimitExceeded("other volumes are being read: announce it again later")
        try:
            yield
        finally:
            self._reads.release()
