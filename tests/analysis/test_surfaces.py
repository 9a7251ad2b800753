"""Area, shape and topology of bodies that are known, and of noise against scikit-image."""

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from skimage.measure import euler_number, regionprops

from fibstream.core.grid import Box
from fibstream.core.stage import Patch
from fibstream.services.analysis.axes import principal
from fibstream.services.analysis.measure import measure
from fibstream.services.analysis.measures.area import cube_root
from fibstream.services.analysis.table import finish
from fibstream.services.analysis.totals import merge

Row = dict[str, Any]
Size = tuple[float, float, float]


def rows_of(
    labels: NDArray[Any], size: Size = (1, 1, 1), raw: NDArray[Any] | None = None
) -> list[Row]:
    box = Box((0, 0, 0), labels.shape)
    total = merge([measure(Patch(labels, box), box, raw)])
    rows: list[Row] = finish(total, size, raw=raw is not None).to_pylist()
    return rows


def ellipsoid(radii: Size, centre: Size, size: Size) -> NDArray[np.uint8]:
    """Return a body by the centres of its voxels, in nm; ``centre`` lies in the middle voxel."""
    reach = [int(r / s) + 3 for r, s in zip(radii, size, strict=True)]
    axes = np.ogrid[tuple(slice(-n, n + 1) for n in reach)]
    far = sum(
        ((axis * s - c) / r) ** 2 for axis, s, c, r in zip(axes, size, centre, radii, strict=True)
    )
    return (np.asarray(far) <= 1).astype(np.uint8)


@pytest.mark.parametrize("size", [(1.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 1.0, 2.0)])
@pytest.mark.parametrize("radius", [10.0, 14.3, 20.0])
def test_the_area_of_balls_is_right_to_a_hundredth(size: Size, radius: float) -> None:
    """Wherever their centres lie in a voxel; radii in voxels of the longest edge."""
    chance = np.random.default_rng(int(radius * 10))
    nm = radius * max(size)
    for centre in chance.uniform(-0.5, 0.5, (25, 3)) * size:
        (row,) = rows_of(ellipsoid((nm, nm, nm), tuple(centre), size), size)
        assert row["crofton_area_nm2"] == pytest.approx(4 * math.pi * nm**2, rel=0.01)
        assert row["area_nm2"] == pytest.approx(6 * math.pi * nm**2, rel=0.04)
        assert row["sphericity"] == pytest.approx(1, abs=0.012)


def test_the_shape_of_an_ellipsoid() -> None:
    """Half axes 18, 12 and 30 nm along z, y and x in voxels of 3, 1.5 and 2 nm."""
    (row,) = rows_of(ellipsoid((18, 12, 30), (0.3, 0.2, -0.7), (3, 1.5, 2)), (3, 1.5, 2))
    lengths = [row[f"axis_{which}_nm"] for which in ("major", "middle", "minor")]
    assert lengths == pytest.approx([60, 36, 24], rel=0.01)
    assert [row[f"major_axis_{a}"] for a in "zyx"] == pytest.approx([0, 0, 1], abs=0.01)
    assert row["radius_of_gyration_nm"] == pytest.approx(
        math.sqrt((18**2 + 12**2 + 30**2) / 5), rel=0.01
    )


def ring(squares: int) -> NDArray[np.uint8]:
    """Return a plate with so many holes in a row."""
    plate = np.ones((1, 3, 2 * squares + 1), np.uint8)
    plate[0, 1, 1::2] = 0
    return np.pad(plate, 1)


@pytest.mark.parametrize("tunnels", [0, 1, 2, 5])
def test_the_genus_counts_tunnels(tunnels: int) -> None:
    (row,) = rows_of(ring(tunnels))
    assert (row["genus"], row["euler_6"], row["euler_26"]) == (tunnels, 1 - tunnels, 1 - tunnels)


def test_a_cavity_adds_one_to_the_euler_number() -> None:
    shell = np.ones((3, 3, 3), np.uint8)
    shell[1, 1, 1] = 0
    (row,) = rows_of(np.pad(shell, 1))
    assert (row["genus"], row["euler_6"], row["euler_26"]) == (-1, 2, 2)


def test_one_voxel() -> None:
    labels = np.zeros((3, 3, 3), np.uint64)
    labels[1, 1, 1] = 2**63
    (row,) = rows_of(labels, (4, 4, 4), np.full(labels.shape, 77, np.uint8))
    assert (row["id"], row["volume_nm3"], row["area_nm2"]) == (2**63, 64, 96)
    assert (row["euler_6"], row["euler_26"], row["genus"]) == (1, 1, 0)
    assert row["radius_of_gyration_nm"] == row["axis_major_nm"] == row["raw_std"] == 0
    assert {row[name] for name in row if name.startswith("raw_p")} == {77}
    assert (row["raw_mean"], row["raw_min"], row["raw_max"]) == (77, 77, 77)


@pytest.mark.parametrize("seed", range(8))
def test_noise_measures_as_scikit_image_says(seed: int) -> None:
    """Where definitions are alike: objects that touch each other and the border, any voxel."""
    chance = np.random.default_rng(seed)
    shape = tuple(chance.integers(1, 14, 3).tolist())
    labels = chance.integers(0, 4, shape).astype(np.int64)
    raw = chance.integers(0, 2**16, shape).astype(np.uint16)
    size = tuple(chance.uniform(0.5, 9, 3).round(2).tolist())
    found = {row["id"]: row for row in rows_of(labels, size, raw)}
    regions = regionprops(labels, raw, spacing=size)
    assert found.keys() == {region.label for region in regions} != set()
    for region in regions:
        row, values = found[region.label], raw[labels == region.label]
        where = region.coords * np.array(size)
        covariance = np.cov(where.T, bias=True) if len(where) > 1 else np.zeros((3, 3))
        lengths = np.sqrt(20 * np.maximum(np.linalg.eigvalsh(covariance)[::-1], 0))
        tensor = np.trace(covariance) * np.eye(3) - covariance
        assert row["voxels"] == len(region.coords)
        assert row["volume_nm3"] == pytest.approx(region.area)
        assert [row[f"centroid_{a}_nm"] for a in "zyx"] == pytest.approx(region.centroid)
        assert region.inertia_tensor == pytest.approx(tensor, abs=1e-9)
        names = ("zz", "yy", "xx", "zy", "zx", "yx")
        entries = [covariance["zyx".index(n[0]), "zyx".index(n[1])] for n in names]
        assert [row[f"covariance_{n}_nm2"] for n in names] == pytest.approx(entries, abs=1e-9)
        axes = [row[f"axis_{which}_nm"] for which in ("major", "middle", "minor")]
        assert axes == pytest.approx(lengths, abs=1e-5)
        vector = np.array([row[f"major_axis_{a}"] for a in "zyx"])
        assert covariance @ vector == pytest.approx(axes[0] ** 2 / 20 * vector, abs=1e-6)
        assert vector[np.abs(vector).argmax()] > 0
        mask = np.pad(labels == region.label, 1)
        assert [row["euler_6"], row["euler_26"]] == [euler_number(mask, 1), euler_number(mask, 3)]
        assert row["raw_mean"] == pytest.approx(region.intensity_mean)
        assert row["raw_std"] == pytest.approx(region.intensity_std)
        assert row["raw_min"] == region.intensity_min and row["raw_max"] == region.intensity_max
        for p in (5, 25, 50, 75, 95):
            assert row[f"raw_p{p}"] == np.quantile(values, p / 100, method="inverted_cdf")


def test_principal_axes_are_exact_where_matrices_are_diagonal_or_singular() -> None:
    one = np.array(
        [[1.0, 4, 2, 0, 0, 0], [0, 0, 0, 0, 0, 0], [3, 3, 0, 3, 0, 0], [1, 1, 1, 0, 0, 1e-300]]
    )
    values, axes = principal(one)
    assert values.tolist() == [[4, 2, 1], [0, 0, 0], [6, 0, 0], [1, 1, 1]]
    assert axes[0].tolist() == [0, 1, 0]
    assert axes[2] == pytest.approx([math.sqrt(0.5), math.sqrt(0.5), 0])


@pytest.mark.parametrize("n", [0, 1, 7, 8, 26, 27, 28, 10**48 - 1, 10**48, 3 * 2**159 + 5])
def test_cube_roots_are_of_whole_numbers(n: int) -> None:
    root = cube_root(n)
    assert root**3 <= n < (root + 1) ** 3
