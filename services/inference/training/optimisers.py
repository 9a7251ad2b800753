"""How weights follow from gradients: Adam, or Muon for the convolutions within a network.

Muon: K. Jordan et al., *Muon: An optimizer for hidden layers in neural networks*, 2024. The length
of its steps: J. Liu et al., arXiv:2502.16982, equation 4.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from .config import TrainingConfig
from .network import UNet

# Of a polynomial of odd powers that takes singular values from 0 to 1 near to 1 (Jordan et al.).
FIRST, THIRD, FIFTH, TIMES = 3.4445, -4.7750, 2.0315, 5
ADAM = 0.2  # the root mean square of a step, in learning rates: as with Adam, so rates carry over


def orthogonal(matrix: Tensor) -> Tensor:
    """Return a matrix ``(rows, columns)`` with its singular values made 0.7 to 1.2, or left at 0.

    By five steps of a Newton-Schulz iteration, in products of the shorter side alone.
    """
    turned = len(matrix) > matrix.shape[1]
    value = matrix.T if turned else matrix
    # First by a power of two, which rounds nothing: what momentum a layer has left that no gradient
    # reaches may be so small that its squares are 0.
    exponent = torch.frexp(value.abs().max()).exponent.clamp(min=-126)
    value = torch.ldexp(value, -exponent)
    value = value / value.norm().clamp(min=torch.finfo(value.dtype).tiny)
    for _ in range(TIMES):
        square = value @ value.T
        value = FIRST * value + (THIRD * square + FIFTH * square @ square) @ value
    return value.T if turned else value


class Muon(torch.optim.Optimizer):
    """Steps of weights ``(out, in, ..)`` along their momentum (Nesterov's), made orthogonal."""

    def __init__(self, weights: Iterable[nn.Parameter], rate: float, momentum: float) -> None:
        super().__init__(weights, {"lr": rate, "momentum": momentum})

    def step(self) -> None:  # type: ignore[override]  # no closure: losses are computed once
        """Take one step; weights without a gradient stay."""
        with torch.no_grad():
            for group in self.param_groups:
                for weight in group["params"]:
                    if weight.grad is not None:
                        self._move(weight, weight.grad, group["lr"], group["momentum"])

    def _move(self, weight: Tensor, gradient: Tensor, rate: float, momentum: float) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        along = state["momentum"].lerp_(gradient, 1 - momentum)
        ahead = gradient.lerp(along, momentum).flatten(1)
        length = ADAM * max(ahead.shape) ** 0.5
        weight.add_(orthogonal(ahead).reshape(weight.shape), alpha=-rate * length)


def optimisers(net: UNet, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Return what takes the steps of a network; each parameter is in one of them."""
    rate, betas = config.learning_rate, config.betas
    if config.optimiser == "adam":
        return [torch.optim.Adam(net.parameters(), rate, betas=betas)]
    within = [part for part in (net.down, net.up, net.narrow, net.last) if part is not None]
    inner = [p for part in within for p in part.parameters() if p.ndim > 1]
    known = {id(weight) for weight in inner}
    others = [p for p in net.parameters() if id(p) not in known]
    return [Muon(inner, rate, betas[0]), torch.optim.Adam(others, rate, betas=betas)]
