"""Recipes: what they say, what they refuse, and what their nanometres are in voxels."""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from fibstream.core.echo import listed
from fibstream.core.errors import WrongUse
from fibstream.core.grid import Halo
from fibstream.services.refine.recipe import Recipe, recipes, resolve
from fibstream.services.refine.recipes.generic import GenericSettings, object_rule
from fibstream.services.refine.rule import MinRule, threshold_level, voxel_limits

from .whole import rule_of


def test_the_recipes() -> None:
    assert resolve("generic", {}) == GenericSettings()
    mito = resolve("mito", {"fill_holes": "all"})
    assert isinstance(mito, GenericSettings)
    assert (mito.smooth_nm, mito.connectivity, mito.min_volume_nm3) == (12, 6, 1e6)
    assert mito.fill_holes == "all"
    assert [role.default for role in recipes()["mito"].inputs] == ["mito"]
    assert [role.default for role in recipes()["generic"].inputs] == [None]


@pytest.mark.parametrize(
    ("name", "overrides", "reason"),
    [
        ("mitoo", {}, f"no recipe 'mitoo': expected one of {listed(recipes())}"),
        ("mito", {"smoth_nm": 1}, "no setting 'smoth_nm': one of smooth_nm, threshold_nm"),
        ("mito", {"connectivity": 8}, "connectivity is 8: expected one of 6, 18, 26"),
        ("mito", {"fill_holes": True}, "fill_holes is True: expected one of none, one, all"),
        ("mito", {"smooth_nm": -1}, "smooth_nm is -1: expected a number of nm from 0 to 1000"),
        (
            "mito",
            {"threshold_nm": math.nan},
            "threshold_nm is nan: expected a number of nm from -3200 to 3200",
        ),
        ("mito", {"min_rule": "ceiling"}, "min_rule is 'ceiling': expected one of below, ceil"),
        (
            "mito",
            {"max_volume_nm3": -1},
            "max_volume_nm3 is -1: expected a number of nm3 from 1e-06 to",
        ),
        ("mito", {"max_volume_nm3": 10.0}, "max_volume_nm3 is less than min_volume_nm3"),
    ],
)
def test_wrong_use_is_one_clear_line(name: str, overrides: dict[str, Any], reason: str) -> None:
    with pytest.raises(WrongUse) as caught:
        resolve(name, overrides)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("rule", "volume", "least"),
    [
        ("below", 0, 1),
        ("below", 640, 10),
        ("below", 641, 11),
        ("below", 639.9, 10),
        ("ceil", 0, 1),
        ("ceil", 640, 11),
        ("ceil", 641, 12),
    ],
)
def test_the_least_volume_is_exact(rule: MinRule, volume: float, least: int) -> None:
    assert voxel_limits(volume, None, rule, (4, 4, 4)) == (least, math.inf)


def test_volumes_are_read_as_decimals() -> None:
    """In binary 3 * 0.1 * 0.1 * 0.1 is not 0.003: an object of 3 voxels would go."""
    assert voxel_limits(0.003, 0.007, "below", (0.1, 0.1, 0.1)) == (3, 7)


def test_the_threshold_is_a_distance() -> None:
    assert threshold_level(0, 50) == threshold_level(0, 20) == 127 * 128
    assert threshold_level(50, 50) == math.ceil((128 * math.tanh(1) + 127) * 128)
    assert threshold_level(20, 40) == threshold_level(25, 50) < threshold_level(20, 20)
    assert threshold_level(-50, 50) < 127 * 128


def test_the_halo_is_the_kernel_and_one_voxel() -> None:
    assert rule_of().halo == Halo((0, 0, 0), (1, 1, 1))
    assert rule_of(smooth_nm=12).halo == Halo((6, 12, 12), (7, 13, 13))


PLUGIN = """\
from fibstream.services.refine.recipe import Recipe, RecipeSettings

RECIPE = Recipe({name!r}, RecipeSettings(), (), lambda dataset, organelle: [], None)
"""


@pytest.fixture
def install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Mapping[str, Recipe]]]:
    """Install a package that adds a recipe by an entry point; return all recipes."""

    def make(name: str) -> Mapping[str, Recipe]:
        (tmp_path / "plugged.py").write_text(PLUGIN.format(name=name))
        folder = tmp_path / "plugged-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1\n")
        (folder / "entry_points.txt").write_text("[fibstream.recipes]\nx = plugged:RECIPE\n")
        monkeypatch.syspath_prepend(tmp_path)
        recipes.cache_clear()
        return recipes()

    yield make
    recipes.cache_clear()
    sys.modules.pop("plugged", None)


def test_a_package_may_add_a_recipe(install: Callable[[str], Mapping[str, Recipe]]) -> None:
    before = set(recipes())
    assert list(install("mito.mine")) == sorted({*before, "mito.mine"})


def test_two_recipes_of_one_name_are_refused(
    install: Callable[[str], Mapping[str, Recipe]],
) -> None:
    with pytest.raises(WrongUse, match=r"two have one name: .* mito, mito, "):
        install("mito")


@pytest.mark.parametrize(
    ("settings", "reason"),
    [
        ({"smooth_nm": 257}, "smooth_nm 257: expected at most 256, 32 of the smallest edge"),
        ({"smooth_nm": 1000}, "smooth_nm 1000: expected at most 256"),
        ({"threshold_nm": 156}, "threshold_nm 156: expected -128 to 155; a prediction of squash"),
        ({"threshold_nm": -3200}, "threshold_nm -3200: expected -128 to 155"),
    ],
)
def test_what_no_byte_holds_and_no_kernel_smooths_is_refused(
    settings: dict[str, float], reason: str
) -> None:
    with pytest.raises(WrongUse) as caught:
        object_rule(GenericSettings.model_validate(settings), (20, 8, 10))
    assert reason in str(caught.value)


def test_the_last_lengths_that_are_allowed_divide_bytes() -> None:
    levels = [object_rule(GenericSettings(threshold_nm=d), (8, 8, 8)).level for d in (-128, 155)]
    assert 0 < levels[0] <= 128 and 254 * 128 < levels[1] <= 255 * 128
    assert object_rule(GenericSettings(smooth_nm=256), (20, 8, 10)).sigma[1] == 32
