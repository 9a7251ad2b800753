"""Groups of N5, as OpenOrganelle publishes them and in a bucket."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from fibstream.core.errors import WrongUse
from fibstream.store.remote import open_files

from ..support.s3 import BUCKET, environment, moto
from .layouts import (
    NM,
    PIXELS,
    SIZE,
    VOLUME,
    XYZ,
    assert_holds,
    n5_array,
    n5_group,
    n5_transform,
    opened,
)

SCALES = [[1, 1, 1], [2, 2, 2]]


def open_organelle(root: Path, volume: NDArray[Any] = VOLUME, *, bare: Sequence[str] = ()) -> Path:
    """A dataset as OpenOrganelle publishes it; ``bare`` are groups without a file."""
    n5_group(root, {"n5": "2.0.0"})
    for place in ("em/fibsem-uint16", "labels/mito_pred", "labels/mito_seg", "lm/er_palm"):
        bytes_ = (volume % 251).astype(np.uint8)
        kind = {"em": volume, "lm": volume}.get(place[:2], bytes_)
        kind = kind.astype(np.uint64) if place.endswith("seg") else kind
        levels = []
        for number, data in enumerate((kind, kind[::2, ::2, ::2])):
            size = [edge * 2**number for edge in SIZE]
            stated = n5_transform(scale=size, order="C")
            pixels = {"pixelResolution": {"dimensions": size[::-1], "unit": "nm"}}
            attributes = pixels | {"transform": stated}
            n5_array(root / place / f"s{number}", data, {"type": "gzip"}, attributes=attributes)
            levels.append({"path": f"s{number}", "transform": stated})
        group = {
            "axes": ["x", "y", "z"], "units": NM, "scales": SCALES, **PIXELS,
            "multiscales": [{"name": "", "datasets": levels}],
        }  # fmt: skip
        n5_group(root / place, group)
        if place.partition("/")[0] not in bare:
            n5_group(root / place.partition("/")[0], {})
    return root


@pytest.mark.parametrize("bare", [(), ("em", "labels", "lm")])
def test_a_dataset_of_open_organelle(
    bare: Sequence[str], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = open_organelle(tmp_path / "jrc.n5", bare=bare)
    bytes_ = (VOLUME % 251).astype(np.uint8)
    raw = opened(root, kind="raw")
    assert raw.name == f"{root}#em/fibsem-uint16/s0"
    assert_holds(raw)
    prediction = opened(root, kind="prediction")
    assert prediction.name == f"{root}#labels/mito_pred/s0"
    assert_holds(prediction, bytes_)
    labels = opened(root, kind="labels")
    assert labels.name == f"{root}#labels/mito_seg/s0"
    assert_holds(labels, bytes_.astype(np.uint64))
    doubled = tuple(2 * edge for edge in SIZE)
    assert_holds(opened(f"{root}/em/fibsem-uint16/s1"), VOLUME[::2, ::2, ::2], doubled)
    assert_holds(opened(f"{root}#em"))
    assert not caplog.records
    with pytest.raises(WrongUse, match=r"more than one array; give one of .*#em/fibsem-uint16, .*"):
        opened(root)


def test_a_root_without_a_file_is_a_group_too(tmp_path: Path) -> None:
    root = open_organelle(tmp_path / "jrc.n5", bare=("em",))
    (root / "attributes.json").unlink()
    assert_holds(opened(root, kind="raw"))


def test_the_root_may_name_the_levels(tmp_path: Path) -> None:
    path = n5_array(tmp_path / "v.n5" / "a" / "b" / "s0")
    levels = [{"path": "/a/b/s0", "transform": n5_transform()}]
    n5_group(tmp_path / "v.n5", {"n5": "2.0.0", "multiscales": [{"datasets": levels}]})
    assert_holds(opened(tmp_path / "v.n5"))
    assert_holds(opened(path))


@pytest.mark.parametrize(
    "group",
    [
        PIXELS | {"scales": SCALES},
        PIXELS | {"downsamplingFactors": SCALES},
        {"resolution": XYZ, "scales": SCALES, "axes": ["x", "y", "z"], "units": NM},
    ],
)
def test_a_group_states_the_size_of_all_its_levels(group: dict[str, Any], tmp_path: Path) -> None:
    n5_array(tmp_path / "em" / "s0")
    n5_array(tmp_path / "em" / "s1", VOLUME[::2, ::2, ::2])
    n5_group(tmp_path / "em", group)
    assert_holds(opened(tmp_path / "em"))
    doubled = tuple(2 * edge for edge in SIZE)
    assert_holds(opened(tmp_path / "em" / "s1"), VOLUME[::2, ::2, ::2], doubled)


@pytest.mark.parametrize("word", ["pixelResolution", "resolution"])
def test_factors_are_x_first_as_sizes_are(word: str, tmp_path: Path) -> None:
    sizes = {"dimensions": [5, 4, 2], "unit": "nm"}
    group = {word: sizes, "downsamplingFactors": [[1, 1, 1], [1, 1, 4]]}
    n5_array(tmp_path / "em" / "s1")
    n5_group(tmp_path / "em", group)
    assert_holds(opened(tmp_path / "em" / "s1"))


def test_a_level_of_unknown_factors_has_no_size(tmp_path: Path) -> None:
    n5_array(tmp_path / "em" / "s0")
    n5_array(tmp_path / "em" / "s1")
    n5_group(tmp_path / "em", PIXELS)
    with pytest.raises(WrongUse, match="no voxel size"):
        opened(tmp_path / "em" / "s1")


@pytest.mark.parametrize("kind", ["gzip", "lz4"])
def test_a_dataset_in_a_bucket(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    n5_array(tmp_path / "em" / "s0", compression={"type": kind}, attributes={"units": "nm"})
    n5_group(tmp_path / "em", {"multiscales": [{"datasets": [{"path": "s0"}]}]} | PIXELS)
    with moto() as server:
        server.bucket(BUCKET)
        for name, value in environment(server.endpoint).items():
            monkeypatch.setenv(name, value)
        files = open_files(f"s3://{BUCKET}/v.n5")
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            files.put(str(path.relative_to(tmp_path)), path.read_bytes())
        assert_holds(opened(f"s3://{BUCKET}/v.n5/em"))
        assert_holds(opened(f"s3://{BUCKET}/v.n5#em/s0"))
