"""Muon: steps of equal length in every direction, along the momentum of the gradients."""

import pytest
import torch
from torch import nn

from fibstream.services.inference.training.config import NetworkConfig
from fibstream.services.inference.training.network import UNet
from fibstream.services.inference.training.optimisers import Muon, optimisers, orthogonal

from .trained import configured


@pytest.mark.parametrize("shape", [(16, 432), (64, 64), (96, 20), (1, 27)])
def test_directions_stay_and_lengths_become_equal(shape) -> None:
    torch.manual_seed(sum(shape))
    one, _, other = torch.linalg.svd(torch.randn(*shape), full_matrices=False)
    lengths = 3 * torch.logspace(0, -1.5, min(shape))
    kept = one.T @ orthogonal(one @ torch.diag(lengths) @ other) @ other.T
    found = torch.diagonal(kept)
    assert ((found > 0.6) & (found < 1.25)).all(), found
    assert (kept - torch.diag(found)).abs().max() < 1e-3


@pytest.mark.parametrize("power", [-120, -60, 0, 60])
def test_how_large_a_matrix_is_changes_no_bit(power: int) -> None:
    torch.manual_seed(2)
    matrix = torch.randn(16, 27)
    assert torch.equal(orthogonal(matrix * 2.0**power), orthogonal(matrix))


def test_what_is_hardly_a_number_stays_one() -> None:
    assert orthogonal(torch.full((4, 9), 1e-44)).abs().max() < 1


def test_nothing_has_no_direction() -> None:
    assert not orthogonal(torch.zeros(16, 27)).any()


def test_steps_follow_the_momentum_ahead() -> None:
    torch.manual_seed(5)
    weight = nn.Parameter(torch.randn(16, 8, 3, 3, 3))
    idle = nn.Parameter(torch.ones(2, 2))
    muon, momentum = Muon([weight, idle], 0.5, 0.9), torch.zeros(16, 216)
    for rate in (0.5, 0.25):
        gradient, before = torch.randn_like(weight), weight.detach().clone()
        weight.grad, muon.param_groups[0]["lr"] = gradient, rate
        muon.step()
        momentum = 0.9 * momentum + 0.1 * gradient.flatten(1)
        along = orthogonal(0.1 * gradient.flatten(1) + 0.9 * momentum)
        wanted = before.flatten(1) - rate * 0.2 * 216**0.5 * along
        assert torch.allclose(weight.detach().flatten(1), wanted, atol=1e-5)
        length = float((weight.detach() - before).square().mean().sqrt())
        assert length == pytest.approx(0.2 * rate, rel=0.25)  # as long as a step of Adam
    assert (idle == 1).all()


@pytest.mark.parametrize("more", [{}, {"stem": 2}, {"upsample": 2, "padding": "valid"}])
def test_each_weight_has_one_optimiser_and_those_at_the_ends_have_adam(tmp_path, more) -> None:
    network = {"widths": (16, 32), "factors": (2,), "convolutions": 1, **more}
    net = UNet(NetworkConfig.model_validate(network), 2)
    names = {id(value): name for name, value in net.named_parameters()}
    config = configured(tmp_path, optimiser="muon", betas=[0.8, 0.9])
    muon, adam = optimisers(net, config)
    inner, others = (
        {names[id(p)] for group in each.param_groups for p in group["params"]}
        for each in (muon, adam)
    )
    assert inner | others == set(names.values()) and not inner & others
    ends = ("head.", "stem.") if net.stem else ("head.",)
    wanted = {n for n in names.values() if n.endswith(".weight") and not n.startswith(ends)}
    assert inner == wanted and "down.1.0.weight" in inner
    assert (muon.defaults["momentum"], adam.defaults["betas"]) == (0.8, (0.8, 0.9))
    (only,) = optimisers(net, configured(tmp_path))
    assert len(only.param_groups[0]["params"]) == len(names) and type(only) is torch.optim.Adam
