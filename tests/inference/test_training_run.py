"""Training in small: a loss that falls, resuming to the same bits, export, and what goes wrong."""

import json
import subprocess
import sys
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
import yaml

from fibstream.cli.training import export_network
from fibstream.core.errors import FibstreamError, WrongUse
from fibstream.core.grid import Box, Grid
from fibstream.core.stage import Patch
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.tiling import halo_of, predict
from fibstream.services.inference.training.config import NetworkConfig, TrainingConfig
from fibstream.services.inference.training.crops import load, seen
from fibstream.services.inference.training.export import export, load_network, weights_of
from fibstream.services.inference.training.losses import FEW, entropy, overlap, weighted
from fibstream.services.inference.training.network import Deployed, UNet
from fibstream.services.inference.training.optimisers import Muon
from fibstream.services.inference.training.sampler import Batch, Sampler
from fibstream.services.inference.training.trainer import LAST, Trainer, run

from ..support.command import inside
from .trained import bodies, configured, words, write_data

MILD = {"elastic": 0, "contrast": [0.8, 1.2], "brightness": [-0.1, 0.1], "gamma": [0.8, 1.25],
        "noise": 0.02, "blur": 0.3, "jitter": 0.3}  # fmt: skip


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "cell.npz")


def trained(config: TrainingConfig, folder: Path, until: int | None = None) -> Trainer:
    """Train into a folder, or go on there; stop as if killed after step ``until``."""
    crops = load(config)
    trainer = Trainer(config, seen(crops, config))
    if (folder / LAST).exists():
        trainer.resume(folder / LAST)

    def stop(step: int, loss: float) -> None:
        if step == until:
            raise KeyboardInterrupt

    try:
        run(trainer, Sampler(config, crops), folder, stop)
    except KeyboardInterrupt:
        assert until is not None
    return trainer


@pytest.fixture(scope="module")
def checkpoint(cell, tmp_path_factory) -> Path:
    """Train for sixty steps; its last checkpoint."""
    folder = tmp_path_factory.mktemp("run")
    config = configured(cell, steps=60, save_every=60, learning_rate=0.01, augment=MILD)
    trainer = trained(config, folder)
    first, last = trainer.curve[0][1], trainer.curve[-1][1]
    assert last < first / 2, trainer.curve
    return folder / LAST


def test_the_loss_is_the_mean_of_each_class_where_it_has_weight() -> None:
    rng = np.random.default_rng(1)
    found, target, weight = (rng.random((2, 3, 4, 5, 6)).astype(np.float32) for _ in range(3))
    weight[rng.random(weight.shape) < 0.5] = 0
    weight[:, 1] = 0  # no valid voxel: adds nothing
    slow = 0.0
    for c in range(3):
        at = np.argwhere(weight[:, c] > 0)
        errors = [weight[n, c, *p] * (found[n, c, *p] - target[n, c, *p]) ** 2 for n, *p in at]
        slow += sum(errors) / max(len(errors), 1)
    got = weighted(*(torch.from_numpy(a) for a in (found, target, weight)))
    assert float(got) == pytest.approx(slow, rel=1e-5)


def test_the_entropy_is_least_at_the_target_and_teaches_what_is_surely_wrong() -> None:
    target, weight = torch.tensor([-0.9, 0.2, 0.7]), torch.tensor([1.0, 0.5, 0.0])
    wanted, weights = (part.view(1, 1, 1, 1, 3) for part in (target, weight))
    for value in (torch.atanh(target), torch.full((3,), -20.0)):
        found = value.clone().requires_grad_()
        entropy(found.view(1, 1, 1, 1, 3), wanted, weights).backward()
        # Of the cross entropy of (1 + t) / 2 at the logit 2 a the slope is tanh(a) - t.
        slope = (torch.tanh(value) - target) * weight / 2  # two voxels have weight
        assert found.grad is not None and torch.allclose(found.grad, slope, atol=1e-6)


@pytest.mark.parametrize("sharpen", [1.0, 5.0])
def test_what_is_surely_inside_has_the_overlap_that_it_shares(sharpen) -> None:
    rng = np.random.default_rng(4)
    inside, valid = rng.random((2, 2, 3, 12, 13, 14)) < 0.4  # (n, classes, z, y, x) each
    inside[:, 2] = False
    valid[:, 1] = False  # of no voxel it is known: adds nothing
    found = rng.random(inside.shape) < 0.4
    given = (torch.from_numpy(np.where(part, 20.0, -20.0)) for part in (found, inside))
    weight = torch.from_numpy(valid * rng.uniform(0.1, 9, valid.shape))  # how large, plays no part
    wanted = 0.0
    for c in range(3):
        one, other = (part[:, c] & valid[:, c] for part in (found, inside))
        wanted += 1 - (2 * (one & other).sum() + FEW) / (one.sum() + other.sum() + FEW)
    value, target = given
    assert float(overlap(value, target.sign(), weight, sharpen)) == pytest.approx(wanted, rel=1e-6)
    half = torch.zeros(1, 1, 1, 1, 2, dtype=torch.float64)  # on the surface: half inside
    side = torch.tensor([1.0, -1.0]).view(half.shape)
    share = 1 - (2 * 0.5 + FEW) / (1 + 1 + FEW)
    assert float(overlap(half, side, half + 1, sharpen)) == pytest.approx(share, rel=1e-6)
    shifted = float(overlap(half + 0.1, side, half + 1, sharpen))
    there = 1 / (1 + np.exp(-0.2 * sharpen))
    assert shifted == pytest.approx(1 - (2 * there + FEW) / (2 * there + 1 + FEW), rel=1e-6)


def test_a_training_lowers_the_loss_as_sharp_as_it_is_told(cell) -> None:
    network = {"widths": [16, 16], "factors": [2], "convolutions": 1, "output": "tanh"}
    losses = {}
    for sharpen, dice in ((1.0, 0), (5.0, 0), (5.0, 3.0)):
        config = configured(cell, network=network, sharpen=sharpen, dice=dice)
        batch = Sampler(config, load(config)).batch(0)
        trainer = Trainer(config, seen(load(config), config))
        with torch.no_grad():
            found = trainer.net.train().found(torch.from_numpy(batch.raw))
        target, weight = (torch.from_numpy(each) for each in (batch.target, batch.weight))
        losses[sharpen, dice] = trainer.train(batch)
        given = found, target, weight, sharpen
        wanted = float(entropy(*given)) + dice * float(overlap(*given))
        assert losses[sharpen, dice] == pytest.approx(wanted)
    assert losses[5.0, 3.0] - 0.5 > losses[5.0, 0] > 1.5 * losses[1.0, 0]


def test_a_sharpened_entropy_has_its_least_value_at_the_same_distance() -> None:
    distance = torch.tensor([-2.5, -0.4, 0.0, 0.1, 1.2])
    wanted, weights = torch.tanh(distance).view(1, 1, 1, 1, 5), torch.ones(1, 1, 1, 1, 5)
    slopes = {}
    for sharpen in (1.0, 5.0):
        for off in (0.0, 0.1):
            found = (distance + off).requires_grad_()
            entropy(found.view(1, 1, 1, 1, 5), wanted, weights, sharpen).backward()
            slopes[sharpen, off] = found.grad
        assert slopes[sharpen, 0.0].abs().max() < 1e-6
        assert (slopes[sharpen, 0.1] > 0).all()
    # Of tanh(5 a) - tanh(5 d) five times, besides: most at the surface, next to nothing far away.
    more = (slopes[5.0, 0.1] - slopes[1.0, 0.1]) / slopes[1.0, 0.1]
    assert more[2] > 20 and more[0] < 1e-3
    full = entropy(distance.view(1, 1, 1, 1, 5), torch.full((1, 1, 1, 1, 5), -1.0), weights, 20.0)
    assert torch.isfinite(full)


def sure(cell: Path, **changes: Any) -> tuple[Trainer, Sampler]:
    """Return a training whose network ends with a tanh and says -1 everywhere, with slope 1e-10."""
    network = {"widths": [16, 16], "factors": [2], "convolutions": 1, "output": "tanh"}
    config = configured(cell, network=network, augment=MILD, **changes)
    crops = load(config)
    trainer = Trainer(config, seen(crops, config))
    with torch.no_grad():
        trainer.net.head.bias.fill_(-12.0)
    return trainer, Sampler(config, crops)


def test_a_network_that_is_sure_of_the_outside_recovers(cell) -> None:
    trainer, sampler = sure(cell, steps=50, learning_rate=0.05)
    losses = [trainer.train(sampler.batch(step)) for step in range(50)]
    assert losses[-1] < losses[0] / 3, losses


def test_export_tells_of_a_class_that_is_nowhere_inside(cell, tmp_path, caplog) -> None:
    trainer, _ = sure(cell)
    trainer.mean["head.bias"].fill_(-12.0)
    trainer.save(tmp_path / LAST)
    with caplog.at_level("WARNING"):
        export_network(tmp_path / LAST, tmp_path / "net.onnx")
    assert "mito: inside nowhere in the sample" in caplog.text
    trainer.mean["head.bias"].fill_(1.0)
    trainer.save(tmp_path / LAST)
    caplog.clear()
    export_network(tmp_path / LAST, tmp_path / "net.onnx")
    assert "inside nowhere" not in caplog.text


@pytest.mark.parametrize(
    ("precision", "how"), [("bf16", "adam"), ("fp32", "adam"), ("fp32", "muon")]
)
def test_a_resumed_run_ends_with_the_same_bits(cell, tmp_path, precision, how) -> None:
    config = configured(cell, steps=8, save_every=3, precision=precision, optimiser=how)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = trained(config, tmp_path / "whole")
    assert trained(config, tmp_path / "parts", until=5).step == 5
    parts = trained(config, tmp_path / "parts")  # from step 3 on
    assert whole.step == parts.step == 8 and whole.curve == parts.curve
    for name, value in whole.net.state_dict().items():
        assert torch.equal(value, parts.net.state_dict()[name]), name
        assert torch.equal(whole.mean[name], parts.mean[name]), name
    for each, again in zip(whole.optimisers, parts.optimisers, strict=True):
        one, other = (o.state_dict()["state"] for o in (each, again))
        key = "momentum" if isinstance(each, Muon) else "exp_avg_sq"
        assert one and all(torch.equal(one[k][key], other[k][key]) for k in one)
    assert not torch.equal(whole.net.head.weight, whole.mean["head.weight"])


def test_another_configuration_does_not_go_on(cell, tmp_path) -> None:
    config = configured(cell, steps=3)
    trained(config, tmp_path)
    before = (tmp_path / LAST).read_bytes()
    for change in ({"learning_rate": 0.1}, {"seed": 9}, {"steps": 5}, {"patch": 18}):
        with pytest.raises(WrongUse, match=f"another {next(iter(change))}; expected the same"):
            trained(configured(cell, **{"steps": 3, **change}), tmp_path)
    assert (tmp_path / LAST).read_bytes() == before


@pytest.mark.parametrize(
    ("first", "then"),
    [({"schedule": "constant"},) * 2, ({}, {"cycles": 2})],
    ids=["constant", "cycles"],
)
def test_what_goes_on_longer_is_one_long_training(cell, tmp_path, first, then) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = trained(configured(cell, steps=6, **then), tmp_path / "a")
    trained(configured(cell, steps=3, **first), tmp_path / "b")
    longer = trained(configured(cell, steps=6, **then), tmp_path / "b")
    assert torch.equal(whole.net.head.weight, longer.net.head.weight)
    assert whole.step == longer.step == 6
    with pytest.raises(WrongUse, match="another steps; expected the same"):  # it cannot go back
        trained(configured(cell, steps=3, **first), tmp_path / "b")


def test_a_share_of_other_steps_is_another_training(cell, tmp_path) -> None:
    trained(configured(cell, steps=3, balance=0.5), tmp_path)
    with pytest.raises(WrongUse, match="another steps; expected the same"):
        trained(configured(cell, steps=6, cycles=2, balance=0.5), tmp_path)


def test_a_loss_that_is_not_finite_ends_it_and_keeps_the_checkpoint(cell, tmp_path) -> None:
    config = configured(cell, steps=6, save_every=2, keep_every=2)

    class Broken(Sampler):
        def batch(self, step: int) -> Batch:
            found = super().batch(step)
            return (
                found
                if step < 4
                else Batch(found.raw * np.float32(np.nan), found.target, found.weight)
            )

    crops = load(config)
    with pytest.raises(FibstreamError, match="step 5: the loss is nan") as caught:
        run(Trainer(config, seen(crops, config)), Broken(config, crops), tmp_path, lambda *_: None)
    assert "\n" not in str(caught.value)
    assert {p.name for p in tmp_path.iterdir()} == {LAST, "step-00000002.pt", "step-00000004.pt"}
    kept = load_network(tmp_path / LAST)[1].state_dict()
    assert all(torch.isfinite(value).all() for value in kept.values())
    again = trained(config, tmp_path)
    assert again.step == 6


def test_same_and_valid_convolutions_agree_in_the_middle() -> None:
    """What is trained with zeros around is exported as valid: the same voxels, tile by tile."""
    torch.manual_seed(1)
    more, stem = {"output": "tanh"}, {"stem": 2}
    for factors, count, others in (
        ((2,), 1, {}), ((2, 2), 1, {}), ((3,), 2, {}), ((2,), 1, more), ((2,), 2, stem),
        ((2,), 1, {"stem": 3}),
    ):  # fmt: skip
        widths = (16,) * (len(factors) + 1)
        words = {"widths": widths, "factors": factors, "convolutions": count, **others}
        config = NetworkConfig.model_validate(words)
        geometry = config.geometry
        net, stride = UNet(config, 2).eval(), geometry.stride
        torch.nn.init.normal_(net.head.weight, std=0.3)
        size = -(-3 * geometry.least().edge // stride) * stride
        raw = torch.rand(1, 1, size, size, size)
        # Both pool the same voxels: zeros around pool from the start, valid ones further inside.
        steps = [geometry.stem * prod(factors[:level]) for level in range(len(factors))]
        edge, start = geometry.least().edge, -count * sum(steps) % stride + stride
        tile = raw[..., start : start + edge, start : start + edge, start : start + edge]
        with torch.no_grad():
            whole, valid = net(raw), net.as_valid()(tile)
        at = start + geometry.halo
        far = at + valid.shape[-1]
        assert far + geometry.halo < size and at >= geometry.halo
        middle = whole[..., at:far, at:far, at:far]
        assert torch.allclose(middle, valid, atol=1e-5), factors


def test_an_exported_network_is_the_trained_one_and_streams_exactly(checkpoint, tmp_path) -> None:
    out = tmp_path / "bodies.onnx"
    card = export(checkpoint, out)
    model = onnx.load(out)
    assert model.opset_import[0].version == 18
    assert not [n for n in model.graph.node if n.op_type in ("Shape", "Gather")]  # constant crops
    kept = json.loads(next(p.value for p in model.metadata_props if p.key == "fibstream"))
    assert kept == json.loads(json.dumps(card)) and kept["meaning"] == "distance"
    assert kept["grey"]["edges"]["mito"] < kept["grey"]["mean"]  # bodies are dark
    told = kept["training"]
    assert (told["balance"], told["sharpen"], told["dice"]) == (1.0, 1.0, 0.0)
    assert told["optimiser"] == "adam"
    assert told["licence"] == "CC0" and told["citation"] == "none" and told["step"] == 60
    assert told["data"][0]["contrast"] == [0, 255] and told["data"][0]["inverted"] is False

    engine = CpuEngine(out)
    raw, mask = bodies()
    _, net, *_ = load_network(checkpoint)
    box = Box((0, 0, 0), raw.shape)
    whole = predict(Patch(raw, box), box, engine)
    for chunk in ((7, 36, 11), (13, 17, 40)):
        grid = Grid(raw.shape, chunk)
        for index in grid.indices():
            block, core = grid.block(index, halo_of(engine.spec)), grid.box(index)
            found = predict(Patch(raw[block.slices()], block), core, engine)
            assert np.array_equal(found, whole[:, *core.slices()])
    halo, edge = engine.spec.halo[0], engine.spec.tile[0]
    padded = np.pad(raw, [(halo, 2 * edge)] * 3, mode="reflect")[:edge, :edge, :edge]
    with torch.no_grad():
        ours = Deployed(net)(torch.from_numpy(padded[None, None])).numpy()[0]
    near = (slice(None), *[slice(min(edge - 2 * halo, *raw.shape))] * 3)  # the volume's first tile
    assert np.abs(ours[near].astype(int) - whole[near]).max() <= 1
    inside_ = whole[0] >= 127
    dice = 2 * (inside_ & mask).sum() / (inside_.sum() + mask.sum())
    assert dice > 0.8, dice


def test_training_begins_with_another_networks_weights(cell, checkpoint, tmp_path) -> None:
    exported = tmp_path / "bodies.onnx"
    export(checkpoint, exported)
    crop = {"labels": f"{cell}#fine", "record": "all"}
    data = [{"raw": f"{cell}#raw", "crops": [crop]}]
    config = configured(cell, classes=["er", "mito"], data=data)
    one, other = (Trainer(config, seen(load(config), config)) for _ in "ab")
    own = one.net.head.weight[0].clone()
    assert (
        one.begin_with(weights_of(checkpoint)) == ["er"] == other.begin_with(weights_of(exported))
    )
    for name, value in one.net.state_dict().items():
        assert torch.equal(value, other.net.state_dict()[name]), name
    assert torch.equal(one.net.head.weight[0], own)
    kept = load_network(checkpoint)[1].head.weight[0]
    assert torch.equal(one.net.head.weight[1], kept)
    alike = configured(cell, augment=MILD)
    fine = Trainer(alike, seen(load(config), config))
    fine.begin_with(weights_of(exported))
    sampler = Sampler(fine.config, load(fine.config))
    begins = fine.train(sampler.batch(0))
    fresh = Trainer(alike, seen(load(config), config)).train(sampler.batch(0))
    assert begins < fresh * 0.8
    wide = configured(cell, network={"widths": [16, 32], "factors": [2], "convolutions": 1})
    with pytest.raises(WrongUse, match=r"is of widths \[16, 16\], factors \[2\], convol"):
        Trainer(wide, seen(load(wide), wide)).begin_with(weights_of(exported))


def test_the_commands_train_go_on_describe_and_export(cell, tmp_path) -> None:
    path, out = tmp_path / "net.yaml", tmp_path / "net"
    path.write_text(yaml.safe_dump(words(cell, steps=41, patch=8, batch=1)))
    answer = inside("--log-level", "info", "train", path)
    assert answer.code == 0, answer.err
    assert answer.out.strip() == str(out / LAST)
    assert "step 41 of 41" in answer.err and "0 s left" in answer.err
    assert {p.name for p in out.iterdir()} == {".lock", LAST, "curve.csv", "curve.png"}
    assert [line.split(",")[0] for line in (out / "curve.csv").read_text().split()] == [
        "step", "20", "40"]  # fmt: skip
    assert inside("train", path).code == 0  # nothing is left to do
    network = tmp_path / "net.onnx"
    answer = inside("export", out, "--out", network)
    assert answer.code == 0 and "mito at 10 nm" in answer.out, answer.err
    again = inside("train", path, "--from", network)
    assert again.code == 2 and "is there already" in again.err
    other = inside("train", path, "--out", tmp_path / "other", "--from", network)
    assert other.code == 0 and "instead of" not in other.err, other.err
    path.write_text(yaml.safe_dump(words(cell, steps=41, patch=8, batch=1, scale_nm=40)))
    longer = inside("train", path, "--out", tmp_path / "longer", "--from", network)
    assert longer.code == 0 and f"--from {network}: scale_nm 40 instead of 50" in longer.err
    fine = {"raw": f"{cell}#raw", "crops": [{"labels": f"{cell}#fine", "record": "all"}]}
    path.write_text(yaml.safe_dump(words(cell, classes="few/mito", data=[fine])))
    shown = inside("train", path, "--describe", "--out", tmp_path / "shown")
    assert shown.code == 0, shown.err
    names = {Path(line).name for line in shown.out.split()}
    assert names == {"classes.csv", "classes.png", "plate.png"}
    assert len((tmp_path / "shown" / "classes.csv").read_text().splitlines()) == 1 + 37 + 3


@pytest.mark.parametrize(
    ("convolutions", "factors", "upsample", "patch"),
    [(1, [2], 2, 22), (2, [2], 3, 20), (2, [3, 2], 2, 20)],
)
def test_a_network_finer_than_its_input_is_exported_and_streams_exactly(
    cell, tmp_path, convolutions, factors, upsample, patch
) -> None:
    network = {"widths": [16] * (len(factors) + 1), "factors": factors, "padding": "valid",
               "convolutions": convolutions, "upsample": upsample}  # fmt: skip
    config = configured(cell, simulated_nm=10 * upsample, patch=patch, network=network, steps=1,
                        batch=1)  # fmt: skip
    trained(config, tmp_path)
    card = export(tmp_path / LAST, tmp_path / "net.onnx")
    assert card["voxel_size_nm"] == [10 * upsample] * 3
    assert card["output_voxel_size_nm"] == [10] * 3
    engine = CpuEngine(tmp_path / "net.onnx")
    spec, rng = engine.spec, np.random.default_rng(1)
    assert spec.finer == (upsample,) * 3
    # Torch, with its own arithmetic of shapes: what it yields lies in the middle of its input.
    net = load_network(tmp_path / LAST)[1]
    tile = rng.integers(0, 256, spec.tile, np.uint8)
    with torch.no_grad():
        ours = Deployed(net)(torch.from_numpy(tile[None, None])).numpy()[0].astype(int)
    theirs = engine.infer(tile)
    cut = (ours.shape[1] - theirs.shape[1]) // 2
    assert 0 <= cut < upsample and (spec.tile[0] * upsample - ours.shape[1]) % 2 == 0
    inner = slice(cut, cut + theirs.shape[1])
    assert np.abs(ours[:, inner, inner, inner] - theirs).max() <= 1
    raw = rng.integers(0, 256, (9, 31, 14), np.uint8)
    box = Box((0, 0, 0), raw.shape)
    whole = predict(Patch(raw, box), box, engine)
    grid = Grid(raw.shape, (4, 13, 5))
    for index in grid.indices():
        block, core = grid.block(index, halo_of(spec)), grid.box(index)
        found = predict(Patch(raw[block.slices()], block), core, engine)
        z, y, x = (slice(s.start * upsample, s.stop * upsample) for s in core.slices())
        assert np.array_equal(found, whole[:, z, y, x])


STEM = {"widths": [16, 16], "factors": [2], "convolutions": 1, "stem": 2}


@pytest.mark.parametrize("slope", [0, 0.1])
def test_a_network_with_a_stem_is_exported_and_streams_exactly(cell, tmp_path, slope) -> None:
    net = {**STEM, "slope": slope}
    config = configured(cell, network=net, patch=16, steps=4, batch=1, learning_rate=0.05)
    trained(config, tmp_path)
    card = export(tmp_path / LAST, tmp_path / "net.onnx")
    assert (card["halo"], card["stride"], card["phase"]) == ([8] * 3, [4] * 3, [0] * 3)
    kinds = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert {"Relu", "LeakyRelu"} & kinds == ({"LeakyRelu"} if slope else {"Relu"})
    engine = CpuEngine(tmp_path / "net.onnx")
    raw = np.random.default_rng(1).integers(0, 256, (13, 31, 18), np.uint8)
    box = Box((0, 0, 0), raw.shape)
    whole = predict(Patch(raw, box), box, engine)
    assert len(np.unique(whole)) > 8  # it says something
    grid = Grid(raw.shape, (4, 13, 5))
    for index in grid.indices():
        block, core = grid.block(index, halo_of(engine.spec)), grid.box(index)
        found = predict(Patch(raw[block.slices()], block), core, engine)
        assert np.array_equal(found, whole[:, *core.slices()])


def test_a_network_with_a_stem_hands_the_head_of_each_class_on(cell, tmp_path) -> None:
    config = configured(cell, network=STEM, patch=16, steps=1, batch=1)
    trained(config, tmp_path)
    export(tmp_path / LAST, tmp_path / "net.onnx")
    crop = {"labels": f"{cell}#fine", "record": "all"}
    data = [{"raw": f"{cell}#raw", "crops": [crop]}]
    more = configured(cell, network=STEM, patch=16, classes=["er", "mito"], data=data)
    for given in (tmp_path / LAST, tmp_path / "net.onnx"):
        trainer = Trainer(more, seen(load(more), more))
        own = trainer.net.head.weight[:, 0].clone()
        assert trainer.begin_with(weights_of(given)) == ["er"]
        kept = load_network(tmp_path / LAST)[1].head
        assert torch.equal(trainer.net.head.weight[:, 1], kept.weight[:, 0])
        assert torch.equal(trainer.net.head.bias[1], kept.bias[0])
        assert torch.equal(trainer.net.head.weight[:, 0], own)
    plain = configured(cell, network={**STEM, "stem": 1}, patch=16)
    with pytest.raises(WrongUse, match="stem 2; expected of widths"):
        Trainer(plain, seen(load(plain), plain)).begin_with(weights_of(tmp_path / LAST))


def test_a_valid_network_trains(cell, tmp_path) -> None:
    network = {"widths": [16, 16], "factors": [2], "convolutions": 1, "padding": "valid"}
    config = configured(cell, network=network, patch=14, steps=2, batch=1)
    assert trained(config, tmp_path).step == 2
    assert export(tmp_path / LAST, tmp_path / "net.onnx")["halo"] == [4, 4, 4]


FAULTS = """
import resource
from fibstream.services.inference.training.memory import kept_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    bytearray(b"1") * (1 << 26)  # 64 MiB: 16,384 pages
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

with kept_memory() as kept:
    faults()
    meanwhile = faults()
print(int(kept), meanwhile, faults())
"""


def test_memory_of_maps_is_kept_while_training_goes_on_and_no_longer() -> None:
    """In a process of its own: the rule is one of the whole process."""
    done = subprocess.run(
        [sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True
    )
    kept, meanwhile, afterwards = map(int, done.stdout.split())
    if not kept:
        pytest.skip("the C library is not glibc")
    assert meanwhile < 2000 and afterwards > 10_000
