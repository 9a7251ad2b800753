"""Zarr v3 and OME-NGFF 0.5 metadata of a dataset, as JSON documents. Pure.

Every folder is a group, every multiscale group lists its levels with scale and translation in
nanometres, axes (z, y, x), and all of it is valid while the volume grows.
"""

from collections.abc import Sequence
from typing import Any

from fibstream.core.dataset import Dataset
from fibstream.core.grid import Index
from fibstream.core.pyramid import level_box, level_count
from fibstream.core.stage import RAW, Output, OwnedArray

from .shard import ZSTD_LEVEL, Layout

Document = dict[str, Any]


def array(shape: Index, layout: Layout) -> Document:
    """Return the ``zarr.json`` of an array of ``shape`` (z, y, x) in shards of ``layout``."""
    inner: list[Document] = [
        {"name": "bytes", "configuration": {"endian": "little"}},
        {"name": "zstd", "configuration": {"level": ZSTD_LEVEL, "checksum": False}},
        {"name": "crc32c"},
    ]
    if layout.dtype in ("uint8", "int8"):
        inner[0] = {"name": "bytes"}
    sharding = {
        "chunk_shape": list(layout.inner),
        "codecs": inner,
        "index_codecs": [
            {"name": "bytes", "configuration": {"endian": "little"}},
            {"name": "crc32c"},
        ],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": layout.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": list(layout.chunk)}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["z", "y", "x"],
        "attributes": {},
    }


def group(attributes: Document | None = None) -> Document:
    """Return the ``zarr.json`` of one group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes or {}}


def multiscale(name: str, dataset: Dataset, levels: int) -> Document:
    """Return the OME attributes of a group with ``levels`` levels."""
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    scales = []
    for level in range(levels):
        scale = [size * 2**level for size in dataset.voxel_size_nm]
        # A coarse voxel's centre lies between those it stands for (OpenOrganelle's convention).
        shift = [size * (2**level - 1) / 2 for size in dataset.voxel_size_nm]
        transforms = [
            {"type": "scale", "scale": scale},
            {"type": "translation", "translation": shift},
        ]
        scales.append({"path": f"s{level}", "coordinateTransformations": transforms})
    return {"version": "0.5", "multiscales": [{"name": name, "axes": axes, "datasets": scales}]}


def root(dataset: Dataset) -> Document:
    """Return the ``zarr.json`` of the dataset itself: an image, whose levels are those of raw.

    So a viewer that is given the dataset shows raw, with ``labels`` as labels of that image.
    """
    ome = multiscale(dataset.name, dataset, dataset.levels)
    for level in ome["multiscales"][0]["datasets"]:
        level["path"] = f"{RAW}/{level['path']}"
    return group({"ome": ome})


def documents(dataset: Dataset, arrays: Sequence[OwnedArray]) -> dict[str, Document]:
    """Return every metadata document of ``arrays``.

    Keys are paths of ``zarr.json`` files, parents before children. The extent in z is that of
    ``dataset.shape``; for an open volume the caller sets it to what has landed. That of the root is
    among them where raw is: several services describe one dataset, and the owner of raw its root.
    """
    found: dict[str, Document] = {}
    if any(output.name == RAW for output, _ in arrays):
        found["zarr.json"] = root(dataset)
    for output, lattice in arrays:
        path, edges = output.name, lattice.edges or dataset.chunk
        parts = path.split("/")
        for depth in range(1, len(parts)):
            found.setdefault("/".join(parts[:depth]) + "/zarr.json", group())
        levels = level_count(edges) if output.pyramid else 1
        found[f"{path}/zarr.json"] = group(_attributes(output, dataset, levels))
        box = dataset.grid.volume
        for level in range(levels):
            z, y, x = (edge >> level for edge in edges)
            layout = Layout((z, y, x), output.dtype)
            found[f"{path}/s{level}/zarr.json"] = array(level_box(box, level).shape, layout)
    names = (output.name for output, _ in arrays)
    labels = sorted(name.partition("/")[2] for name in names if name.startswith("labels/"))
    if labels:
        found["labels/zarr.json"] = group({"ome": {"version": "0.5", "labels": labels}})
    return found


def _attributes(output: Output, dataset: Dataset, levels: int) -> Document:
    ome = multiscale(output.name.rpartition("/")[2], dataset, levels)
    if output.pyramid == "mode":  # ids, of which no mean may be taken
        ome["image-label"] = {"source": {"image": "../" * (output.name.count("/") + 1) + "raw"}}
    attributes: Document = {"ome": ome}
    for prediction in dataset.predictions:
        if prediction.path == output.name:
            attributes["squash_nm"] = prediction.squash_nm
    return attributes
