"""One step of training: its rate, the bound of its gradient, and the mean of the weights."""

from pathlib import Path

import numpy as np
import pytest
import torch

from fibstream.core.errors import WrongUse
from fibstream.services.inference.training.crops import load, seen
from fibstream.services.inference.training.sampler import Batch, Sampler
from fibstream.services.inference.training.trainer import Trainer

from .trained import configured, write_data


@pytest.fixture(scope="module")
def cell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data") / "cell.npz")


def made(cell: Path, **changes) -> Trainer:
    config = configured(cell, **changes)
    return Trainer(config, seen(load(config), config))


def test_the_rate_rises_for_a_hundred_steps_and_a_cosine_takes_it_down(cell: Path) -> None:
    trainer = made(cell, schedule="constant", learning_rate=0.004)
    found = []
    for trainer.step in (0, 49, 99, 5000):
        found.append(trainer.rate())
    assert found == pytest.approx([0.00004, 0.002, 0.004, 0.004])
    trainer = made(cell, steps=1000, learning_rate=0.004)
    for trainer.step, share in ((500, 0.5), (999, 0.0)):
        assert trainer.rate() == pytest.approx(0.004 * share, abs=1e-7)


def test_a_cosine_begins_again_with_each_cycle(cell: Path) -> None:
    once, thrice = made(cell, steps=500), made(cell, steps=1500, cycles=3)
    for once.step in (0, 100, 250, 499):
        thrice.step = once.step
        assert thrice.rate() == once.rate()
    for once.step in (100, 250, 499):  # it is warm then
        for thrice.step in (500 + once.step, 1000 + once.step):
            assert thrice.rate() == once.rate()
    thrice.step = 1000
    assert thrice.rate() == thrice.config.learning_rate
    for wrong, why in (
        ({"steps": 500}, "a multiple of cycles, 3"),
        ({"schedule": "constant"}, "schedule cosine"),
    ):
        with pytest.raises(WrongUse, match=why):
            made(cell, **{"steps": 900, "cycles": 3, **wrong})


def test_no_gradient_is_longer_than_one(cell: Path) -> None:
    trainer = made(cell)
    batch = Sampler(trainer.config, load(trainer.config)).batch(0)
    trainer.train(Batch(batch.raw, batch.target, batch.weight * np.float32(1e4)))
    first = [state["exp_avg"] for state in trainer.optimisers[0].state.values()]
    length = torch.stack([part.norm() for part in first]).norm() / (1 - trainer.config.betas[0])
    assert float(length) == pytest.approx(1, rel=1e-3)


def test_the_mean_begins_with_few_steps(cell: Path) -> None:
    trainer = made(cell, mean=0.5)
    sampler = Sampler(trainer.config, load(trainer.config))
    wanted = {name: value.clone() for name, value in trainer.net.state_dict().items()}
    for step, share in enumerate((0.0, 1 / 11, 2 / 12)):
        trainer.train(sampler.batch(step))
        now = {name: value.clone() for name, value in trainer.net.state_dict().items()}
        wanted = {name: share * wanted[name] + (1 - share) * now[name] for name in now}
    for name, value in trainer.mean.items():
        assert torch.allclose(value, wanted[name], atol=1e-6), name
    trainer.step = 1000
    trainer.train(sampler.batch(3))
    for name, value in trainer.net.state_dict().items():
        assert torch.allclose(trainer.mean[name], (wanted[name] + value) / 2, atol=1e-6), name
