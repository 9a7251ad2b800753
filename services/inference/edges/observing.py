"""What values a network's convolutions read while it predicts: the measure of a calibration."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from fibstream.core.errors import WrongUse
from fibstream.core.grid import Index
from fibstream.services.inference.backend import FP32
from fibstream.services.inference.port import ModelSpec
from fibstream.services.inference.quantised import read, voxelwise

from .backends import REFERENCE
from .engine import refused
from .int8 import check_roundable
from .model import read_network

GREYS = 256


class Observer:
    """An ``Engine`` that predicts nothing, and remembers the values that convolutions read.

    It runs the reference. What is made of single grey values gets the range of all of them. Tiles
    of one grey value, such as padding, are left out.

    Parameters
    ----------
    path
        The network's file.
    threads
        Threads of one inference; no range depends on them.

    Raises
    ------
    WrongUse
        The file is no network, or one that cannot be computed in int8.
    """

    def __init__(self, path: Path, threads: int) -> None:
        self.spec: ModelSpec
        self.spec, self.model = read_network(path)
        self.profile: Mapping[str, str] = {}
        self.tiles = 0
        graph = check_roundable(path, self.model)
        self._names = read(graph)
        content = _extremes(self.model, self._names).SerializeToString()
        with refused(path):
            self._run = REFERENCE.load(content, self.spec.tile, FP32, threads)
            found = self._seen(_all_greys(self.spec.tile))
        fixed = np.array([[name in voxelwise(graph)] for name in self._names])
        self._ends = np.where(fixed, found, [[np.inf, -np.inf]])
        self._digest = hashlib.sha256()

    def infer(self, tile: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Take a tile, and return a prediction of zeros."""
        if tile.min() < tile.max():
            found = self._seen(tile)
            low = np.minimum(self._ends[:, 0], found[:, 0])
            high = np.maximum(self._ends[:, 1], found[:, 1])
            self._ends = np.stack([low, high], 1)
            self._digest.update(tile.tobytes())
            self.tiles += 1
        return np.zeros((len(self.spec.classes), *self.spec.predicted), np.uint8)

    @property
    def sha256(self) -> str:
        """The digest of all tiles, one after the other."""
        return self._digest.hexdigest()

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """The lowest and the highest value of each tensor that a convolution reads."""
        return {
            name: (float(low), float(high))
            for name, (low, high) in zip(self._names, self._ends, strict=True)
        }

    def _seen(self, tile: NDArray[np.uint8]) -> NDArray[np.float64]:
        """Return the ends of each tensor on a tile, (tensors, 2); raise WrongUse for no numbers."""
        found: NDArray[np.float64] = self._run(tile[None, None]).reshape(-1, 2).astype(np.float64)
        if not np.isfinite(found).all():
            name = self._names[int(np.argmin(np.isfinite(found).all(1)))]
            raise WrongUse(f"model {self.spec.name}: {name} has values that are not finite")
        return found


def _all_greys(tile: Index) -> NDArray[np.uint8]:
    return np.resize(np.arange(GREYS, dtype=np.uint8), tile)


def _extremes(model: onnx.ModelProto, names: list[str]) -> onnx.ModelProto:
    """Return a network that yields the least and the largest value of each tensor, in turn."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    ends = []
    for name in names:
        for kind in ("ReduceMin", "ReduceMax"):
            ends.append(f"{name}/{kind}")
            made.graph.node.append(helper.make_node(kind, [name], [ends[-1]], keepdims=1))
    made.graph.node.append(helper.make_node("Concat", ends, ["fibstream/ends"], axis=0))
    del made.graph.output[:]
    made.graph.output.append(onnx.ValueInfoProto(name="fibstream/ends"))
    return made
