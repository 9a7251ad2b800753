"""The volume that totals relate to: what was imaged or the cell mask, voxel by voxel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fibstream.app.cells.reference import of_prediction, reference_of
from fibstream.app.kept import Kept
from fibstream.app.reference import absent_of
from fibstream.core.dataset import Dataset, Organelle, Prediction
from fibstream.core.errors import Damaged, WrongState, WrongUse
from fibstream.core.keys import canonical
from fibstream.core.stage import MASK, Output, OwnedArray
from fibstream.store import ngff
from fibstream.store.local import LocalFiles
from fibstream.store.shard import Stamp
from fibstream.store.store import Store

SHAPE, CHUNK, VOXEL = (20, 24, 28), (9, 11, 16), (0.1, 0.2, 0.3)
GONE = (1, 0, 1)  # a chunk that was declared absent


def dataset(cells: tuple[str, ...] = (), **more: Any) -> Dataset:
    names = ("mito", *cells)
    return Dataset(
        name="cell", shape=SHAPE, chunk=CHUNK, dtype="uint8", voxel_size_nm=VOXEL,
        contrast=(0, 255), predictions=tuple(Prediction(name=name) for name in names),
        organelles=tuple(
            Organelle(name=f"o-{n}", recipe="masked", settings={},
                      inputs={"prediction": "mito", "cell": name})
            for n, name in enumerate(cells)
        ), **more,
    )  # fmt: skip


def kept(folder: Path, made: Dataset, arrays: dict[str, np.ndarray], gone: Any = None) -> Kept:
    """Write arrays of bytes; of the chunk ``gone`` all is absent, and 0 in the arrays."""
    files = LocalFiles(folder)
    store = Store(files, made.grid)
    outputs = [Output(name, "uint8", None) for name in arrays]
    for path, document in ngff.documents(made, [OwnedArray(o) for o in outputs]).items():
        files.put(path, canonical(document))
    for output in outputs:
        for index in made.grid.indices():
            part = arrays[output.name][made.grid.box(index).slices()]
            if index == gone:
                part[...] = 0
            stamp = Stamp("s", index, "key", "")
            for item, data, _ in store.encode(output, part, stamp, absent=index == gone):
                files.put(item.path, data)
    return Kept(store)


def padded(rng: np.random.Generator) -> np.ndarray:
    """Return grey values without equal neighbours, but for padding at two corners."""
    raw = rng.integers(1, 255, SHAPE).astype(np.uint8)
    raw[:, :9, :10] = raw[-3:, 10:, 12:] = 255
    return raw


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("how", [{}, {"absent_value": 255.0}, {"absent_mask": True}])
def test_what_was_imaged_is_counted_as_voxels_are(tmp_path: Path, seed: int, how: Any) -> None:
    rng = np.random.default_rng(seed)
    made, raw = dataset(**how), padded(rng)
    mask = rng.integers(0, 2, SHAPE).astype(np.uint8)
    store = kept(tmp_path, made, {"raw": raw, MASK: mask}, GONE if seed else None)
    present = np.ones(SHAPE, bool)
    if seed:
        present[made.grid.box(GONE).slices()] = False
        raw[~present] = 255  # absent chunks count as padding
    imaged = present & ~absent_of(raw, made, mask if "absent_mask" in how else None)
    found = reference_of(made, store)
    assert found.name == "imaged volume"
    assert found.volume_nm3 == int(imaged.sum()) * 6 / 1000  # 0.1 x 0.2 x 0.3, rounded once
    assert 0 < imaged.sum() < imaged.size or not (how or seed)


def test_the_cell_is_where_its_mask_is_from_the_surface_on(tmp_path: Path) -> None:
    made = dataset(("inside",))
    cell = np.random.default_rng(1).integers(120, 135, SHAPE).astype(np.uint8)
    store = kept(tmp_path, made, {"raw": padded(np.random.default_rng(2)),
                                  "predictions/inside": cell}, GONE)  # fmt: skip
    found = reference_of(made, store)
    assert found == ("cell mask inside", int((cell >= 127).sum()) * 6 / 1000)
    assert of_prediction(made, "inside", store) == ("prediction inside", found.volume_nm3)


def test_two_cells_are_no_cell(tmp_path: Path) -> None:
    made = dataset(("inside", "other"))
    with pytest.raises(WrongUse, match=r"cells inside, other; say .* --within NAME"):
        reference_of(made, kept(tmp_path, made, {}))


def test_a_chunk_that_is_not_there_or_damaged_is_named(tmp_path: Path) -> None:
    made = dataset(absent_value=255.0)
    kept(tmp_path, made, {"raw": padded(np.random.default_rng(3))})
    path = tmp_path / "raw/s0/c/0/1/0"
    data = bytearray(path.read_bytes())
    data[len(data) // 4] ^= 255
    path.write_bytes(data)
    with pytest.raises(Damaged, match="raw: a chunk is damaged"):
        reference_of(made, Kept(Store(LocalFiles(tmp_path), made.grid)))
    path.unlink()
    with pytest.raises(WrongState, match="raw: chunk 0,1,0 is not there"):
        reference_of(made, Kept(Store(LocalFiles(tmp_path), made.grid)))
