"""Zarr v3 and OME-NGFF 0.5 metadata of a dataset, as JSON documents. Pure.

Every folder is a group, every multiscale group lists its levels with scale and translation in
nanometres, axes (z, y, x), and all of it is valid while the volume grows.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fibstream.core.arrays import ZSTD_LEVEL
from fibstream.core.dataset import Dataset
from fibstream.core.grid import Index
from fibstream.core.pyramid import level_box
from fibstream.core.stage import RAW, Output, OwnedArray

from .shard import Layout

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
        shift = [
            offset + size * (2**level - 1) / 2
            for offset, size in zip(dataset.offset_nm, dataset.voxel_size_nm, strict=True)
        ]
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
    """Return every metadata document of ``arrays``; several may be levels of one array.

    Keys are paths of ``zarr.json`` files, parents before children. The extent in z is that of
    ``dataset.shape``; for an open volume the caller sets it to what has landed. That of the root is
    among them where raw is: several services describe one dataset, and the owner of raw its root.
    Raises ValueError where a level of an array is written by two, or by none while a coarser is.
    """
    found: dict[str, Document] = {}
    if any(array.output.name == RAW for array in arrays):
        found["zarr.json"] = root(dataset)
    for path, (output, shards) in _levels(arrays, dataset.chunk).items():
        parts = path.split("/")
        for depth in range(1, len(parts)):
            found.setdefault("/".join(parts[:depth]) + "/zarr.json", group())
        found[f"{path}/zarr.json"] = group(_attributes(output, dataset, len(shards)))
        for level, edges in enumerate(shards):
            z, y, x = (edge >> level for edge in edges)
            shape = level_box(dataset.grid.volume, level).shape
            found[f"{path}/s{level}/zarr.json"] = array(shape, Layout((z, y, x), output.dtype))
    names = {output.name for output, _ in arrays}
    labels = sorted(name.partition("/")[2] for name in names if name.startswith("labels/"))
    if labels:
        found["labels/zarr.json"] = group({"ome": {"version": "0.5", "labels": labels}})
    return found


def _levels(arrays: Sequence[OwnedArray], chunk: Index) -> dict[str, tuple[Output, list[Index]]]:
    """Return each array by name, and of each level the edges of its cells in full voxels."""
    edges: dict[str, dict[int, Index]] = {}
    outputs: dict[str, Output] = {}
    for output, lattice in arrays:
        name, cell = output.name, lattice.edges or chunk
        other = outputs.setdefault(name, output)
        if output.dtype != other.dtype:
            raise ValueError(f"array {name}: is {other.dtype}, and in another level {output.dtype}")
        outputs[name] = replace(other, pyramid=other.pyramid or output.pyramid)
        known = edges.setdefault(name, {})
        for level in output.levels(cell):
            if level in known:
                raise ValueError(f"array {name}: level {level} is written by two stages")
            known[level] = cell
    for name, known in edges.items():
        if gaps := set(range(max(known, default=0))) - known.keys():
            raise ValueError(f"array {name}: no stage of its service writes level {min(gaps)}")
    return {name: (outputs[name], [edges[name][n] for n in sorted(edges[name])]) for name in edges}


def _attributes(output: Output, dataset: Dataset, levels: int) -> Document:
    ome = multiscale(output.name.rpartition("/")[2], dataset, levels)
    if output.pyramid == "mode":  # ids, of which no mean may be taken
        ome["image-label"] = {"source": {"image": "../" * (output.name.count("/") + 1) + "raw"}}
    attributes: Document = {"ome": ome}
    for prediction in dataset.predictions:
        if prediction.path == output.name:
            if prediction.is_distance:
                attributes["squash_nm"] = prediction.squash_nm
            else:
                attributes["meaning"] = "probability"
    return attributes
