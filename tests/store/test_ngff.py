"""The dataset as others see it: valid OME-NGFF at any moment, and plain Zarr to every reader."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import zarr
from numpy.typing import NDArray
from ome_zarr_models import v05

from fibstream.core.dataset import Dataset
from fibstream.core.keys import canonical
from fibstream.core.pyramid import levels
from fibstream.core.stage import Output, OwnedArray
from fibstream.core.subject import CHUNKS, Lattice
from fibstream.store import ngff
from fibstream.store.local import LocalFiles
from fibstream.store.store import Blob, Store

from .blobs import noise, stamp

BASE = Dataset(
    name="x", shape=(None, 40, 27), chunk=(16, 32, 16), dtype="uint16", voxel_size_nm=(8, 4, 5),
    contrast=(0, 255),
)  # fmt: skip
EXTENT = (41, 40, 27)
ARRAYS = [
    ("raw", "uint16", True),
    ("predictions/mito", "uint8", True),
    ("fragments/mito", "uint64", False),
    ("labels/mito", "uint64", True),
]
OUTPUTS: dict[str, Output] = {
    name: Output(name, dtype, ("mode" if "labels" in name else "mean") if scaled else None)
    for name, dtype, scaled in ARRAYS
}
VOXELS = {
    "raw": noise(EXTENT, "uint16", filled=0.6),
    "predictions/mito": noise(EXTENT, "uint8"),
    "fragments/mito": noise(EXTENT, "uint64"),
    "labels/mito": noise(EXTENT, "uint64").repeat(2, 0)[: EXTENT[0]],
}


def describe(files: LocalFiles, dataset: Dataset) -> None:
    arrays = [OwnedArray(output) for output in OUTPUTS.values()]
    for path, document in ngff.documents(dataset, arrays).items():
        files.put(path, canonical(document))


def grow(root: Path, layers: int, *, sealed: bool) -> Dataset:
    """Store the chunks of the first ``layers`` of z and describe what has landed so far."""
    root.mkdir(exist_ok=True)
    files = LocalFiles(root)
    dataset = BASE.sealed(EXTENT[0] if sealed else layers * BASE.chunk[0])
    describe(files, dataset)
    whole = BASE.sealed(EXTENT[0]).grid
    store = Store(files, BASE.grid)
    for index in whole.indices():
        if index[0] < layers:
            for name, output in OUTPUTS.items():
                voxels = VOXELS[name][whole.box(index).slices()]
                for blob, data, _ in store.encode(output, voxels, stamp(subject=index)):
                    files.put(blob.path, data)
    return dataset


@pytest.fixture(scope="module", params=[(1, False), (2, False), (3, True)], ids=str)
def grown(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Dataset]:
    root: Path = tmp_path_factory.mktemp("growing") / "x.zarr"
    layers, sealed = request.param
    for landed in range(1, layers + 1):
        dataset = grow(root, landed, sealed=sealed and landed == layers)
    return root, dataset


def expected(name: str, dataset: Dataset, level: int) -> NDArray[Any]:
    """Return a level of all that was written, zeros where the extent is not yet reached."""
    shape = dataset.grid.extent
    volume = np.zeros(shape, VOXELS[name].dtype)
    known = min(shape[0], EXTENT[0])
    volume[:known] = VOXELS[name][:known]
    return levels(volume, OUTPUTS[name].pyramid or "mean", level + 1)[level]


def every_level() -> list[tuple[str, int]]:
    return [(name, level) for name, _, scaled in ARRAYS for level in range(2 if scaled else 1)]


def test_readers_find_the_voxels_that_were_written(grown: tuple[Path, Dataset]) -> None:
    root, dataset = grown
    assert dataset.levels == 2
    for name, level in every_level():
        wanted = expected(name, dataset, level)
        path = root / name / f"s{level}"
        by_zarr = zarr.open_array(path, mode="r")
        assert by_zarr.shape == wanted.shape
        assert np.array_equal(by_zarr[...], wanted)
        spec = {"driver": "zarr3", "kvstore": f"file://{path}/"}
        by_tensorstore = tensorstore.open(spec, open=True, read=True).result()
        assert by_tensorstore.domain.labels == ("z", "y", "x")
        assert np.array_equal(by_tensorstore.read().result(), wanted)


def test_every_group_is_valid_at_any_moment(grown: tuple[Path, Dataset]) -> None:
    root, _ = grown
    for name in ("raw", "predictions/mito", "fragments/mito"):
        image = v05.Image.from_zarr(zarr.open_group(root / name, mode="r"))
        assert image.attributes.ome.multiscales[0].axes[0].unit == "nanometer"
    label: Any = v05.ImageLabel.from_zarr(zarr.open_group(root / "labels/mito", mode="r"))
    assert label.attributes.ome.image_label.source.image == "../../raw"
    assert (root / "labels/mito" / "../../raw/zarr.json").resolve().is_file()
    labels = v05.Labels.from_zarr(zarr.open_group(root / "labels", mode="r"))
    assert list(labels.attributes.ome.labels) == ["mito"]


@pytest.mark.filterwarnings("ignore:Object at .fibstream is not:UserWarning")
def test_the_dataset_itself_is_an_image_with_labels(grown: tuple[Path, Dataset]) -> None:
    """Viewers of OME-NGFF that are given the dataset open raw in its place, and its labels."""
    root, dataset = grown
    image = v05.Image.from_zarr(zarr.open_group(root, mode="r"))
    (shown,) = image.attributes.ome.multiscales
    (own,) = v05.Image.from_zarr(zarr.open_group(root / "raw", mode="r")).attributes.ome.multiscales
    assert [level.path for level in shown.datasets] == [f"raw/{d.path}" for d in own.datasets]
    for one, other in zip(shown.datasets, own.datasets, strict=True):
        assert one.coordinateTransformations == other.coordinateTransformations
    assert shown.axes == own.axes and shown.name == dataset.name
    assert image.labels is not None and list(image.labels.label_paths) == ["mito"]


def test_only_the_owner_of_raw_describes_the_root() -> None:
    """Each service writes the documents of its arrays: two must not write different ones."""
    own = [OwnedArray(OUTPUTS["raw"])]
    others = [OwnedArray(output) for name, output in OUTPUTS.items() if name != "raw"]
    one, two = (ngff.documents(BASE.sealed(41), arrays) for arrays in (own, others))
    assert "zarr.json" in one and not one.keys() & two.keys()


@pytest.mark.filterwarnings("ignore:Object at .fibstream is not:UserWarning")
def test_every_folder_down_to_an_array_is_a_group(grown: tuple[Path, Dataset]) -> None:
    root, _ = grown
    found = dict(zarr.open_group(root, mode="r").members(max_depth=None))
    arrays = {name for name, node in found.items() if isinstance(node, zarr.Array)}
    assert arrays == {f"{name}/s{level}" for name, level in every_level()}
    assert found.keys() - arrays == {
        "raw", "predictions", "predictions/mito", "fragments", "fragments/mito", "labels",
        "labels/mito",
    }  # fmt: skip


def test_levels_say_where_their_voxels_are(grown: tuple[Path, Dataset]) -> None:
    root, _ = grown
    ome: Any = zarr.open_group(root / "raw", mode="r").attrs["ome"]
    found = [
        [t[t["type"]] for t in d["coordinateTransformations"]]
        for d in ome["multiscales"][0]["datasets"]
    ]
    assert found == [[[8, 4, 5], [0, 0, 0]], [[16, 8, 10], [4, 2, 2.5]]]


def test_a_chunk_that_has_not_landed_reads_as_zero(tmp_path: Path) -> None:
    grow(tmp_path, 1, sealed=False)
    describe(LocalFiles(tmp_path), BASE.sealed(32))
    found: Any = zarr.open_array(tmp_path / "labels/mito/s0", mode="r")
    assert not found[16:].any()
    assert np.array_equal(found[:16], VOXELS["labels/mito"][:16])


def test_a_write_by_another_program_drops_the_stamp(tmp_path: Path) -> None:
    """A partial write drops the stamp; the rest of the array stays as it was."""
    dataset = grow(tmp_path, 3, sealed=True)
    store = Store(LocalFiles(tmp_path), dataset.grid)
    touched, apart = (Blob("raw", i, "uint16") for i in ((0, 0, 0), (0, 0, 1)))
    assert store.intact(touched) is not None
    array: Any = zarr.open_array(tmp_path / "raw/s0", mode="r+")
    array[0, 0, 0] = array[0, 0, 0] + 1
    assert store.intact(touched) is None
    assert store.stamp(touched) is None
    assert store.intact(apart) is not None


def test_an_array_of_another_lattice_is_described_in_its_own_shards(tmp_path: Path) -> None:
    """Its shards are the cells of the lattice, not the chunks of the dataset."""
    dataset, lattice = BASE.sealed(EXTENT[0]), Lattice((32, 16, 32))
    output, files = Output("other/a", "uint8", "mean"), LocalFiles(tmp_path)
    store = Store(files, dataset.grid)
    voxels, cells = noise(EXTENT, "uint8"), lattice.grid(dataset.grid)
    for cell in cells.indices():
        part = voxels[cells.box(cell).slices()]
        made = store.encode(output, part, stamp("other/a", cell), subjects=lattice)
        for blob, data, _ in made:
            files.put(blob.path, data)
    for path, document in ngff.documents(dataset, [OwnedArray(output, lattice)]).items():
        files.put(path, canonical(document))
    group: Any = zarr.open_group(tmp_path / "other/a", mode="r")
    assert np.array_equal(group["s0"][:], voxels)
    assert np.array_equal(group["s1"][:], levels(voxels, "mean", 2)[1])


def test_coarser_levels_of_a_lattice_are_described_in_their_own_shards(tmp_path: Path) -> None:
    """The chunks hold levels 0 and 1 of labels; wider cells hold levels 2 and 3 of them."""
    dataset, wide = BASE.sealed(EXTENT[0]), Lattice((64, 64, 64))
    fine = Output("labels/a", "uint64", "mode")
    coarse = Output("labels/a", "uint64", "mode", first=2)
    voxels, files = VOXELS["labels/mito"], LocalFiles(tmp_path)
    store = Store(files, dataset.grid)
    for output, lattice in ((fine, CHUNKS), (coarse, wide)):
        cells = lattice.grid(dataset.grid)
        for cell in cells.indices():
            part = voxels[cells.box(cell).slices()]
            for blob, data, _ in store.encode(output, part, stamp(subject=cell), subjects=lattice):
                files.put(blob.path, data)
    arrays = [OwnedArray(coarse, wide), OwnedArray(fine)]
    for path, document in ngff.documents(dataset, arrays).items():
        files.put(path, canonical(document))
    group: Any = zarr.open_group(tmp_path / "labels/a", mode="r")
    listed = [each["path"] for each in group.attrs["ome"]["multiscales"][0]["datasets"]]
    assert listed == ["s0", "s1", "s2", "s3"]
    assert "image-label" in group.attrs["ome"]
    for level, wanted in enumerate(levels(voxels, "mode", 4)):
        assert np.array_equal(group[f"s{level}"][:], wanted), level


def test_ids_are_labels_whichever_stage_writes_their_pyramid() -> None:
    outputs = Output("labels/a", "uint64"), Output("labels/a", "uint64", "mode", first=1)
    written = [OwnedArray(output) for output in outputs]
    for arrays in (written, written[::-1]):
        found = ngff.documents(BASE.sealed(EXTENT[0]), arrays)
        assert "image-label" in found["labels/a/zarr.json"]["attributes"]["ome"]


WIDE = Lattice((64, 64, 64))
FULL = OwnedArray(Output("a", "uint8", "mean"))


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ([FULL, FULL], "array a: level 0 is written by two stages"),
        ([FULL, OwnedArray(Output("a", "uint8", "mean", 1), WIDE)], "level 1 is written by two"),
        ([FULL, OwnedArray(Output("a", "uint8", "mean", 3), WIDE)], "no stage .* writes level 2"),
        ([OwnedArray(Output("a", "uint8", "mean", 2), WIDE)], "no stage .* writes level 0"),
        ([FULL, OwnedArray(Output("a", "uint16", "mean", 2), WIDE)], "is uint8, and .* uint16"),
    ],
)
def test_levels_of_one_array_are_written_once_and_without_gaps(
    arrays: list[OwnedArray], reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        ngff.documents(BASE.sealed(EXTENT[0]), arrays)
