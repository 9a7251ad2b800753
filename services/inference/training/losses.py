"""What training lowers: how far a network is from the target, where voxels have weight.

All tensors are ``(n, classes, z, y, x)``; targets are tanh(distance / scale), from -1 to 1.
"""

import torch
from torch import nn

NEAR_ONE = 1 - 2**-20  # a target whose inverse is finite
FEW = 500.0  # voxels that agree in any case: a few wrong ones cost little where nothing is


def weighted(found: torch.Tensor, target: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Return the loss: for each class the weighted mean of squared errors where weights are not 0.

    The sum over classes; one without a valid voxel adds nothing (the paper's loss, TensorFlow's
    ``mean_squared_error``).
    """
    return _meant(weight * (found - target) ** 2, weight)


def entropy(
    found: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, sharpen: float = 1.0
) -> torch.Tensor:
    """Return the loss of a network that ends with tanh, from what the tanh is taken of.

    The cross entropy of (1 + tanh) / 2, summed and weighted as by `weighted`. It is least at the
    mean of the target too, and its gradient does not vanish where a network is surely wrong: by
    squared errors a whole network came to say -1 everywhere, and stayed so (record 0011).

    With ``sharpen`` above 1 that at a squash length so many times shorter is added. The distance
    is the same, so the network is; but half a voxel beside the surface costs more.
    """
    each = _entropy(2 * found, target)
    if sharpen > 1:
        distance = torch.atanh(target.clamp(-NEAR_ONE, NEAR_ONE))
        each = each + _entropy(2 * sharpen * found, torch.tanh(sharpen * distance))
    return _meant(weight * each, weight)


def overlap(
    found: torch.Tensor, target: torch.Tensor, weight: torch.Tensor, sharpen: float = 1.0
) -> torch.Tensor:
    """Return 1 - Dice of what is inside, summed over classes (Milletari et al., 3DV 2016).

    ``found`` is as for `entropy`. A voxel is inside by (1 + tanh(sharpen found)) / 2; only voxels
    that have weight count, all of them the same. A rare class counts as much as any other, which
    it does not in a mean over voxels.
    """
    axes, valid = (0, 2, 3, 4), weight > 0
    inside = (target > 0) & valid
    there = torch.sigmoid(2 * sharpen * found) * valid
    shared = 2 * (there * inside).sum(axes) + FEW
    return (1 - shared / (there.sum(axes) + inside.sum(axes) + FEW)).sum()


def _entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    soft = (1 + target) / 2
    return nn.functional.binary_cross_entropy_with_logits(logits, soft, reduction="none")


def _meant(each: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    axes = (0, 2, 3, 4)
    return (each.sum(axes) / (weight > 0).sum(axes).clamp(min=1)).sum()
