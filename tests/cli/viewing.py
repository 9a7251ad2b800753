"""A small dataset with two objects for the viewer, and the requests of a browser."""

import http.client
import json
from collections.abc import Collection, Iterable
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from numpy.typing import NDArray

from fibstream.app.colours import Colouring
from fibstream.app.reference import table_of
from fibstream.core.dataset import RECORD, Dataset, Model, Organelle, Prediction
from fibstream.core.grid import Index
from fibstream.core.ids import gid
from fibstream.core.keys import canonical
from fibstream.core.stage import Output, OwnedArray
from fibstream.services.analysis.table import to_parquet
from fibstream.services.inference.edges.model import MODELS, read_model
from fibstream.store import ngff
from fibstream.store.local import LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store

from ..support.patience import PATIENCE_S
from ..support.scene import blobs

SHAPE, CHUNK, VOXEL_NM = (32, 48, 64), (16, 16, 16), (20.0, 10.0, 8.0)
BOXES = (((6, 4, 6), (20, 20, 40)), ((22, 10, 40), (30, 44, 60)))  # objects; the first is larger
DATASET = Dataset(
    name="cell", shape=SHAPE, chunk=CHUNK, dtype="uint8", voxel_size_nm=VOXEL_NM,
    contrast=(20, 220),
    predictions=(Prediction(name="mito"),),
    organelles=(Organelle(name="mito", recipe="mito", inputs={"prediction": "mito"}, settings={}),),
)  # fmt: skip


def predicted() -> Dataset:
    """Return a dataset of blobs that the network which is shipped predicts."""
    spec = read_model(MODELS / "mito.onnx")
    model = Model(name="mito", classes=spec.classes, sha256=spec.sha256,
                  spec=spec.model_dump(mode="json"), profile={})  # fmt: skip
    return Dataset(
        name="predicted", shape=blobs().shape, chunk=(16, 16, 16), dtype="uint8",
        voxel_size_nm=spec.voxel_size_nm, contrast=(0, 255), models=(model,),
    )  # fmt: skip


OUTPUTS = (
    Output("raw", "uint8", "mean"),
    Output("predictions/mito", "uint8", "mean"),
    Output("labels/mito", "uint64", "mode"),
)


def volumes() -> dict[str, NDArray[Any]]:
    """Return raw, prediction and labels: raw has a step along each axis, another for each."""
    z, y, x = np.indices(SHAPE)
    raw = (60 + 40 * (x >= 24) + 30 * (y >= 20) + 60 * (z >= 12)).astype(np.uint8)
    labels = np.zeros(SHAPE, np.uint64)
    for start, stop in BOXES:
        place = tuple(slice(a, b) for a, b in zip(start, stop, strict=True))
        labels[place] = 1 + gid(start)
    return {"raw": raw, "predictions/mito": np.where(labels > 0, 255, 0).astype(np.uint8),
            "labels/mito": labels}  # fmt: skip


VOLUMES = volumes()
FIRST, SECOND = (1 + gid(start) for start, _ in BOXES)
COLOURS = Colouring(
    np.array([FIRST, SECOND], np.uint64), np.array([start for start, _ in BOXES]),
    np.array([stop for _, stop in BOXES]) - 1, VOXEL_NM,
)  # fmt: skip


def land(root: Path, indices: Iterable[Index], names: list[str] | None = None) -> None:
    """Write the chunks of some arrays into a dataset."""
    files = LocalFiles(root)
    store = Store(files, DATASET.grid)
    for output in OUTPUTS:
        for index in indices:
            voxels = VOLUMES[output.name][DATASET.grid.box(index).slices()]
            if names is None or output.name in names:
                for item, data, _ in store.encode(output, voxels, Stamp("s", index, "key", "")):
                    files.put(item.path, data)


def tabulate(root: Path) -> None:
    """Write the table of the labels."""
    table = table_of(VOLUMES["labels/mito"], VOLUMES["raw"], VOXEL_NM)
    LocalFiles(root).put("tables/mito.parquet", to_parquet(table, {}))


def make(
    root: Path, *, z: Collection[int] = range(2), table: bool = True, dataset: Dataset = DATASET
) -> Path:
    """Make a dataset of which the chunks of some z have landed."""
    root.mkdir(parents=True)
    files = LocalFiles(root)
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))
    for path, document in ngff.documents(DATASET, [OwnedArray(o) for o in OUTPUTS]).items():
        files.put(path, canonical(document))
    land(root, [i for i in DATASET.grid.indices() if i[0] in z])
    if table:
        tabulate(root)
    return root


def named(group: str, rows: int) -> str:
    """Return an address of surfaces."""
    return f"{group} {rows}"


class Browser:
    """The requests of a browser; ``TOKEN`` in a path stands for that of the viewer."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname and parts.port
        self.host, self.port = parts.hostname, parts.port
        self.token = parts.path.split("/")[2]

    def __call__(
        self, path: str, method: str = "GET", body: str | bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Return the status, headers and body of an answer; names of headers in lower case."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)) as link:
            link.request(method, path.replace("TOKEN", self.token), body, headers)
            answer = link.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def event(self, query: str = "c=one&gc=&gs=", **headers: str) -> dict[str, Any]:
        """Return the first state on the stream of events."""
        with closing(http.client.HTTPConnection(self.host, self.port, timeout=PATIENCE_S)) as link:
            link.request("GET", f"/events/{self.token}?{query}", headers=headers)
            answer = link.getresponse()
            assert answer.getheader("Content-Type") == "text/event-stream"
            while not (line := answer.readline()).startswith(b"data: "):
                assert line, "the stream has ended"
            event: dict[str, Any] = json.loads(line.removeprefix(b"data: "))
            return event
