"""Batches: what is annotated and nothing else, from files and phantoms, the same for a seed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage

from fibstream.core.errors import WrongUse
from fibstream.phantom.spec import LOOKS
from fibstream.services.inference.training import sampler
from fibstream.services.inference.training.augment import (
    Augmentation,
    Deformation,
    shifted,
    turn,
    vary,
)  # fmt: skip
from fibstream.services.inference.training.crops import (
    Crop,
    described,
    load,
    memory,
    phantom_spec,
)  # fmt: skip
from fibstream.services.inference.training.data import PhantomConfig
from fibstream.services.inference.training.sampler import Sampler, reflect
from fibstream.services.inference.training.targets import balance, signed_distance

from .trained import SHAPE, bodies, configured, fine_labels, write_data

PLAIN = {"mirror": False, "elastic": 0, "contrast": [1, 1], "brightness": [0, 0], "gamma": [1, 1],
         "noise": 0, "blur": 0, "jitter": 0, "drift": 0}  # fmt: skip
PHANTOM = {"phantom": [30, 40, 40], "seed": 5, "every": 3, "organelles": ["mito"]}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "cell.npz")


def test_a_batch_is_cut_from_raw_and_truth_at_one_place(data) -> None:
    """Without augmentation each patch is found again in the volume, with its target."""
    config = configured(data, augment=PLAIN, patch=16, batch=3)
    raw, mask = bodies()
    whole = np.tanh(signed_distance(mask, (10.0,) * 3, 138.0) / 50)
    edge = np.minimum.reduce([np.minimum(i, n - 1 - i) for i, n in
                              zip(np.indices(SHAPE), SHAPE, strict=True)])  # fmt: skip
    sure = np.abs(np.arctanh(whole.astype(float)) * 50) <= edge * 10 + 5 + 1e-3
    for step in range(4):
        batch = Sampler(config, load(config)).batch(step)
        assert batch.raw.shape == batch.target.shape == batch.weight.shape == (3, 1, 16, 16, 16)
        valid, targets = [], []
        for item in range(3):
            grey = np.rint((batch.raw[item, 0] + 1) * 127.5).astype(np.uint8)
            (at,) = [
                c for c in np.ndindex(*(n - 15 for n in SHAPE))
                if raw[c] == grey[0, 0, 0]
                and np.array_equal(raw[tuple(slice(a, a + 16) for a in c)], grey)
            ]  # fmt: skip
            cut = tuple(slice(a, a + 16) for a in at)
            assert np.allclose(batch.target[item, 0], whole[cut], atol=1e-5)
            valid.append(sure[cut])
            targets.append(whole[cut])
        wanted = balance(np.stack(targets)[:, None], np.stack(valid)[:, None], ("mito",))
        assert np.allclose(batch.weight, wanted, atol=1e-4)


def test_the_seed_and_the_step_alone_decide_a_batch(data) -> None:
    config = configured(data, data=[*configured_data(data), PHANTOM])
    one, other = (Sampler(config, load(config)) for _ in "ab")
    other.batch(1)
    other.batch(7)
    for step in (0, 2, 7):
        a, b = one.batch(step), other.batch(step)
        for name in ("raw", "target", "weight"):
            assert np.array_equal(getattr(a, name), getattr(b, name))
    assert not np.array_equal(one.batch(0).raw, one.batch(1).raw)
    moved = configured(data, data=[*configured_data(data), PHANTOM], seed=4)
    assert not np.array_equal(one.batch(0).raw, Sampler(moved, load(moved)).batch(0).raw)


def configured_data(data: Path, **crop) -> list[dict]:
    crop = crop or {"masks": {"mito": f"{data}#mito"}}
    return [{"raw": f"{data}#raw", "crops": [crop]}]


def test_what_is_not_annotated_has_no_weight(data) -> None:
    classes = ["mito", "mito_DNA", "er"]
    record = {"present_annotated": [3, 4, 35], "absent_annotated": [5]}
    fine = {"labels": f"{data}#fine", "record": record}
    config = configured(data, classes=classes, data=[*configured_data(data, **fine), PHANTOM])
    (crop,) = load(config)
    assert set(crop.truths) == {"mito", "mito_DNA"} and crop.present == {"mito"}
    files = configured(data, classes=classes[:2], data=configured_data(data, **fine))
    batch = Sampler(files, load(files)).batch(0)
    assert batch.weight[:, 0].any()
    assert (batch.target[:, 1][batch.weight[:, 1] > 0] < 0).all()  # known to be absent
    for step in range(3):
        batch = Sampler(config, load(config)).batch(step)
        known = batch.weight > 0
        assert np.isfinite(batch.target).all() and known.any()
    with pytest.raises(WrongUse, match="class er: no crop trains it"):
        load(configured(data, classes=classes, data=configured_data(data, **fine)))


def test_a_crop_smaller_than_a_patch_has_context_and_no_weight_around(data) -> None:
    crop = {"masks": {"mito": f"{data}#mito"}, "z": [8, 14]}
    config = configured(data, data=configured_data(data, **crop), augment=PLAIN, least_valid=0.01)
    (found,) = load(config)
    assert found.shape == (6, 36, 40) and found.raw.shape == SHAPE and found.begin[0] == 8
    weight = Sampler(config, [found]).batch(0).weight
    assert 0 < (weight[0, 0].any(axis=(1, 2))).sum() <= 6
    narrow = configured(data, data=configured_data(data, **crop), least_valid=0.9)
    with pytest.raises(WrongUse, match="of 50 places none has 90% of a patch"):
        Sampler(narrow, [found]).batch(0)


def test_slices_are_those_of_the_labels_also_where_labels_begin_before_or_in_raw(
    data, tmp_path
) -> None:
    mask = bodies()[1]
    np.savez(tmp_path / "early.npz", mito=np.pad(mask, ((2, 0), (0, 0), (0, 0))).astype(np.uint8),
             late=mask[4:].astype(np.uint8), voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    (plain,) = load(configured(data, data=configured_data(
        data, masks={"mito": f"{data}#mito"}, z=[8, 14])))  # fmt: skip
    for name, begins, z in (("early", -20, [10, 16]), ("late", 40, [4, 10])):
        crop = {"masks": {"mito": f"{tmp_path}/early.npz#{'mito' if name == 'early' else name}"},
                "begins_nm": [begins, 0, 0], "z": z}  # fmt: skip
        (found,) = load(configured(data, data=configured_data(data, **crop)))
        assert found.begin == plain.begin and found.shape == plain.shape, name
        assert np.array_equal(found.truths["mito"].labels, plain.truths["mito"].labels), name
    outside = {**crop, "begins_nm": [-20, 0, 0], "z": [0, 5]}
    with pytest.raises(WrongUse, match="z 0,5: expected slices within 2,26, beside raw"):
        load(configured(data, data=configured_data(data, **outside)))


def test_a_mask_of_truth_values_may_be_inside_everywhere(data, tmp_path) -> None:
    np.savez(tmp_path / "full.npz", full=np.ones(SHAPE, bool), voxel_size_nm_zyx=[10.0] * 3)
    crop = {"masks": {"mito": f"{tmp_path}/full.npz#full"}}
    (found,) = load(configured(data, data=configured_data(data, **crop)))
    assert (found.truths["mito"].labels == 2).all()


def test_a_class_drawn_apart_needs_a_record_that_has_it(data) -> None:
    apart = {"labels": f"{data}#fine", "separate": {"ribosomes": f"{data}#mito"}}
    crop = {**apart, "record": {"present_annotated": [3, 4, 34, 35]}}
    (found,) = load(configured(data, classes=["ribosomes"], data=configured_data(data, **crop)))
    assert found.present == {"ribosomes"}
    crop = {**apart, "record": {"present_annotated": [3, 4, 35]}}
    with pytest.raises(WrongUse, match="separate ribosomes: the record has it not as annotated"):
        load(configured(data, classes=["ribosomes"], data=configured_data(data, **crop)))


def test_without_balance_every_annotated_voxel_weighs_one(data) -> None:
    crop = {"masks": {"mito": f"{data}#mito"}, "z": [8, 14]}
    even, odd = (
        configured(data, data=configured_data(data, **crop), balance=balance, least_valid=0.01)
        for balance in (0, 1)
    )
    one, other = (Sampler(c, load(c)).batch(0).weight for c in (even, odd))
    assert np.array_equal(one, (other > 0).astype(np.float32)) and one.dtype == np.float32
    assert one.any() and not np.array_equal(one, other)


def test_classes_are_balanced_in_the_first_share_of_the_steps(data) -> None:
    crop = {"masks": {"mito": f"{data}#mito"}, "z": [8, 14]}

    def weights(balance: float, step: int) -> np.ndarray:
        more = {"balance": balance, "steps": 10, "least_valid": 0.01}
        config = configured(data, data=configured_data(data, **crop), **more)
        return Sampler(config, load(config)).batch(step).weight

    for step in (0, 5):
        assert np.array_equal(weights(0.6, step), weights(1, step))
    for step in (6, 9):
        assert np.array_equal(weights(0.6, step), weights(0, step))


def test_labels_of_half_the_voxel_size(data, tmp_path) -> None:
    _, mask = bodies()
    fine = np.repeat(np.repeat(np.repeat(mask, 2, 0), 2, 1), 2, 2)
    np.savez(tmp_path / "fine.npz", mito=fine.astype(np.uint8), voxel_size_nm_zyx=[5.0] * 3)
    crop = {"masks": {"mito": f"{tmp_path}/fine.npz#mito"}}
    config = configured(data, data=configured_data(data, **crop), augment=PLAIN)
    (found,) = load(config)
    assert found.factor == 2 and found.shape == SHAPE
    halves, wholes = Sampler(config, [found]).batch(0), Sampler(
        configured(data, augment=PLAIN), load(configured(data))).batch(0)  # fmt: skip
    assert np.array_equal(halves.raw, wholes.raw)
    both = (halves.weight > 0) & (wholes.weight > 0)
    assert np.abs(halves.target - wholes.target)[both].max() < 0.17  # at most 7.5 nm nearer
    assert np.corrcoef(halves.target[both], wholes.target[both])[0, 1] > 0.99
    away = {**crop, "begins_nm": [0, 0, 5]}
    with pytest.raises(WrongUse, match="does not begin and end with voxels of"):
        load(configured(data, data=configured_data(data, **away)))


def test_simulated_coarse_raw_keeps_its_place(data) -> None:
    config = configured(
        data, simulated_nm=20, patch=22, augment=PLAIN, batch=1,
        network={"widths": [16, 16], "factors": [2], "convolutions": 1, "padding": "valid",
                 "upsample": 2},
    )  # fmt: skip
    found = Sampler(config, load(config)).batch(0)
    edge = config.input_edge
    assert found.raw.shape[-1] == edge and found.target.shape[-1] == 22
    halo = (edge * 2 - 22) // 4  # voxels of the input around the output
    raw = found.raw[0, 0, halo : halo + 11, halo : halo + 11, halo : halo + 11]
    coarse = found.target[0, 0].reshape(11, 2, 11, 2, 11, 2).mean((1, 3, 5))
    dark = raw < (70 + 170) / 255 - 1
    sure = np.abs(coarse) > 0.15
    assert 0.1 < dark.mean() < 0.9 and (dark == (coarse > 0))[sure].mean() > 0.95
    assert (dark[:-1] == (coarse > 0)[1:])[sure[1:]].mean() < 0.95  # one voxel further


def test_elastic_patches_keep_raw_and_truth_together(data) -> None:
    augment = {**PLAIN, "elastic": 1.0, "elastic_sigma": 3.0}
    config = configured(data, augment=augment, patch=16, batch=1, least_valid=0.01)
    sampler = Sampler(config, load(config))
    agree = []
    for step in range(8):
        batch = sampler.batch(step)
        known = batch.weight > 0
        dark = batch.raw[known] < (70 + 170) / 255 - 1
        if 0.05 < (batch.target[known] > 0).mean() < 0.95:
            agree.append(np.mean(dark == (batch.target[known] > 0)))
    assert len(agree) > 2 and np.mean(agree) > 0.95


def test_a_deformation_without_deviation_is_a_rotation() -> None:
    at = Deformation(np.random.default_rng(1), 40, 0.0).places(np.array([-3.0, -4, -5]), 1.0, 11)
    lattice = np.indices((11,) * 3).reshape(3, -1) + np.array([[-3], [-4], [-5]])
    assert np.allclose(np.linalg.norm(at.reshape(3, -1), axis=0),
                       np.linalg.norm(lattice, axis=0), atol=1e-4)  # fmt: skip
    assert not np.allclose(at.reshape(3, -1), lattice, atol=0.1)


def test_no_augmentation_inverts_unless_it_is_asked_for() -> None:
    """Without noise and blur grey values keep their order, whatever is drawn."""
    ramp = np.linspace(0.02, 0.98, 4 * 5 * 6, dtype=np.float32).reshape(4, 5, 6)
    quiet = Augmentation(noise=0, blur=0, jitter=0, drift=0)
    for seed in range(60):
        found = vary(ramp, np.random.default_rng(seed), quiet).ravel()
        assert (np.diff(found) >= 0).all() and 0 <= found.min() <= found.max() <= 1
        assert found.dtype == np.float32
    other = vary(ramp, np.random.default_rng(0), quiet.model_copy(update={"inversion": 1.0}))
    assert (np.diff(other.ravel()) <= 0).all()
    assert Augmentation().inversion == 0


def test_slices_are_shifted_each_by_itself() -> None:
    raw = ndimage.gaussian_filter(np.random.default_rng(0).random((3, 20, 20)), 1.5)
    moved = shifted(raw.astype(np.float32), np.array([[0, 0], [1, -2], [0, 0]]))
    assert np.allclose(moved[[0, 2]], raw[[0, 2]], atol=1e-6)
    assert np.allclose(moved[1, 1:, :-2], raw[1, :-1, 2:], atol=1e-6)


def test_turning_twice_back_is_nothing() -> None:
    a = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    assert turn(a, (2, 0, 1), (1, 1, 1)).shape == (2, 5, 3, 4)
    assert np.array_equal(turn(a, (0, 1, 2), (1, -1, 1)), a[:, :, ::-1])
    assert np.array_equal(turn(turn(a, (1, 0, 2), (-1, 1, 1)), (1, 0, 2), (1, -1, 1)), a)


def test_reflection_is_numpys() -> None:
    for size in (1, 2, 5):
        around = np.pad(np.arange(size), 7, mode="reflect") if size > 1 else np.zeros(15, int)
        assert np.array_equal(reflect(np.arange(-7, size + 7), size), around)


def test_priorities_choose_crops_that_have_the_class(data) -> None:
    fine = {"labels": f"{data}#fine", "record": "all"}
    empty = {**fine, "z": [0, 3]}  # no body reaches there
    crops = [{"raw": f"{data}#raw", "crops": [fine, empty]}]
    config = configured(data, classes=["mito"], data=crops, priority={"mito": 1.0}, patch=4,
                        least_valid=0.001, augment=PLAIN)  # fmt: skip
    found = load(config)
    assert [c.present for c in found] == [{"mito"}, frozenset()]
    assert found[0].weight / found[1].weight == pytest.approx(10)
    sampler = Sampler(config, found)
    rng = np.random.default_rng(0)
    assert all(sampler._crop(rng, 0) == (found[0], "mito") for _ in range(20))


@pytest.mark.parametrize("finer", [1, 2])
def test_a_patch_of_a_priority_has_the_class_wherever_it_lies(tmp_path, finer) -> None:
    """Two voxels of a class, one of them in a corner: nearly no patch would have any."""
    shape = tuple(finer * edge for edge in SHAPE)
    fine = np.full(shape, 35, np.uint8)
    for place in ((SHAPE[0] - 1, 0, SHAPE[2] - 1), (15, 20, 12)):
        fine[tuple(slice(finer * at, finer * (at + 1)) for at in place)] = 10
    grey = np.random.default_rng(7).integers(0, 256, SHAPE, np.uint8)
    np.savez(tmp_path / "raw.npz", raw=grey, voxel_size_nm_zyx=[10.0] * 3)
    np.savez(tmp_path / "fine.npz", fine=fine, voxel_size_nm_zyx=[10.0 / finer] * 3)
    crop = {"labels": f"{tmp_path}/fine.npz#fine", "record": "all"}
    config = configured(
        tmp_path / "raw.npz", classes=["ecs", "MVB"], patch=8, priority={"MVB": 1.0}, augment=PLAIN,
        data=[{"raw": f"{tmp_path}/raw.npz#raw", "crops": [crop]}], least_valid=0.001, batch=1,
    )  # fmt: skip
    sampler = Sampler(config, load(config))
    found = {tuple(np.argwhere(sampler.batch(step).target[0, 1] > 0)[0]) for step in range(30)}
    assert len(found) > 12  # and anywhere in the patch


def test_few_voxels_are_kept_to_draw_patches_around(data, monkeypatch) -> None:
    monkeypatch.setattr("fibstream.services.inference.training.crops.MOST_PLACES", 50)
    config = configured(data)
    (crop,) = load(config)
    some, mask = crop.voxels_of("mito"), bodies()[1]
    assert 25 < len(some) <= 50 and mask[tuple(some.T)].all()
    assert (np.ptp(some, axis=0) > np.array(SHAPE) // 3).all()  # from end to end


@pytest.mark.parametrize("surface", ["between", "voxel"])
@pytest.mark.parametrize("finer", [1, 2])
def test_targets_of_a_whole_crop_are_those_of_each_patch(
    tmp_path, monkeypatch, surface, finer
) -> None:
    rng = np.random.default_rng(7)
    shape = tuple(finer * edge for edge in SHAPE)
    blobs = ndimage.gaussian_filter(rng.random(shape), 2.5 * finer)
    fine = np.digitize(blobs, np.quantile(blobs, [0.15, 0.6, 0.8])).astype(np.uint8)
    fine[fine == 1] = 35  # cytosol; 0 is not annotated
    np.savez(tmp_path / "raw.npz", raw=rng.integers(0, 256, SHAPE, np.uint8),
             voxel_size_nm_zyx=[10.0] * 3)  # fmt: skip
    np.savez(tmp_path / "fine.npz", fine=fine, voxel_size_nm_zyx=[10.0 / finer] * 3)
    crop = {"labels": f"{tmp_path}/fine.npz#fine", "record": "all"}
    config = configured(
        tmp_path, classes=["plasma_membrane", "ecs", "mito_membrane"], surface=surface, patch=8,
        data=[{"raw": f"{tmp_path}/raw.npz#raw", "crops": [crop]}], scale_nm=20,
        augment={"elastic": 0.3},
    )  # fmt: skip
    whole, apart = Sampler(config, load(config)), Sampler(config, load(config))
    held = 0
    for step in range(12):
        one = whole.batch(step)
        with monkeypatch.context() as none:
            none.setattr(sampler, "WHOLE", 0)
            other = apart.batch(step)
        for name in ("raw", "target", "weight"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), (name, step)
        held += int(((one.weight > 0) & (np.abs(one.target) < 0.9)).sum())
    assert held > 1000  # voxels near surfaces
    assert [kept is not None for kept in whole._whole.values()] == [True] and not apart._whole


def test_targets_are_kept_of_the_phantoms_of_a_step_alone(data) -> None:
    config = configured(data, classes="few/mito", data=[PHANTOM], augment=PLAIN, patch=8, batch=1)
    drawn = Sampler(config, [])
    names = set()
    for step in range(9):  # three phantoms, of three steps each
        drawn.batch(step)
        (crop,) = drawn._whole
        names.add(crop.name)
    assert len(names) == 3


def test_however_many_phantoms_a_step_has_each_is_made_once(data, monkeypatch) -> None:
    entries = [{**PHANTOM, "seed": seed} for seed in range(10)]
    config = configured(data, classes="few/mito", data=entries, augment=PLAIN, patch=8, batch=1)
    (one,) = described(configured(data, classes="few/mito", data=[PHANTOM]))
    asked: list[tuple[int, int]] = []

    def made(entry: PhantomConfig, number: int, *_: object) -> Crop:
        asked.append((entry.seed, number))
        return replace(one, name=f"{entry.seed} {number}")

    monkeypatch.setattr(sampler, "made", made)
    drawn = Sampler(config, [])
    for step in range(6):  # twice ten phantoms, of three steps each
        drawn.batch(step)
    assert sorted(asked) == sorted((seed, number) for seed in range(10) for number in (0, 1))


def test_equal_phantoms_are_made_once_and_count_each(data) -> None:
    config = configured(data, classes="few/mito", data=[PHANTOM, PHANTOM], augment=PLAIN)
    one, other = Sampler(config, [])._crops_at(0)
    assert one is other


def test_each_phantom_of_random_looks_has_its_own_and_the_same_again(data) -> None:
    config = configured(data, classes="few/mito", data=[{**PHANTOM, "look": "random", "count": 4}])
    (entry,) = config.phantoms
    looks = [phantom_spec(entry, number, 8.0).look for number in range(8)]
    assert looks[:4] == looks[4:] and len(set(looks)) == 4
    assert not set(looks) & set(LOOKS.values())
    plain = configured(data, classes="few/mito", data=[PHANTOM]).phantoms[0]
    one, other = (phantom_spec(each, 2, 8.0) for each in (plain, entry))
    assert one.seed == other.seed  # the same cell


def test_phantoms_change_while_training_goes_on(data) -> None:
    config = configured(data, classes="few/mito", data=[PHANTOM], augment=PLAIN, batch=1)
    sampler = Sampler(config, load(config))
    assert memory(load(config)) == 0
    batches = [sampler.batch(step) for step in (0, 1, 2, 3)]
    assert all(b.weight[:, 0].any() for b in batches)
    (first,) = described(config)
    assert first.counts is not None and first.counts.annotated == 30 * 40 * 40
    assert first.labels is not None and (first.labels > 0).all()


def test_a_mask_for_one_class_overrides_the_record(data, tmp_path) -> None:
    known = np.zeros(SHAPE, np.uint8)
    known[:20] = 1
    np.savez(tmp_path / "known.npz", er=known, voxel_size_nm_zyx=[10.0] * 3)
    crop = {"labels": f"{data}#fine", "record": {"present_annotated": [3, 4, 5]},
            "annotated": {"er": f"{tmp_path}/known.npz#er"}}  # fmt: skip
    config = configured(data, classes=["mito", "er"], data=configured_data(data, **crop))
    (found,) = load(config)
    assert np.array_equal(found.truths["er"].labels > 0, known > 0)
    _, mask = bodies()
    assert found.labels is not None and np.array_equal(found.labels, fine_labels(mask))
