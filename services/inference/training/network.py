"""A 3-D U-Net that regresses signed distances, and the same as it is exported.

Architecture after Heinrich et al. 2021 (CNectome ``unet_class.py``): two 3³ convolutions with ReLU
a level and side, max pooling, nearest-neighbour growth after a 1³ convolution, a linear head. With
a stem the finest level has blocks of voxels, of which the head makes voxels again: an eighth of the
work for 2, at twice the context, and no voxel of the input is lost.
Every crop is a constant, so that an output voxel depends on its own receptive field alone and
tiles meet without a seam.
"""

import copy
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from .config import NetworkConfig
from .shapes import Meeting

# Shares of the steps: up to the first, maps are normalised by the batch alone; to the second, the
# correction grows to its largest factor and shift; from the third on, by running statistics alone.
SETTLED, MOST = (0.1, 0.3, 0.75), (3.0, 5.0)


class Normal(nn.Module):
    """ReLU of a map whose channels are normalised first, (n, channels, z, y, x).

    In training by the mean and variance of the batch, corrected towards the running ones as far as
    ``most`` allows, else by the running ones, of which `fold` makes a part of the convolution
    before (Ioffe, *Batch Renormalization*, NIPS 2017). Batches are small: without the correction
    the network that is exported is another one than that which was trained.
    """

    MOMENTUM, LEAST = 0.02, 1e-5  # of running statistics, and of a variance

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.ones(width)), nn.Parameter(torch.zeros(width))
        self.most = (1.0, 0.0)  # of a factor, and of a shift in standard deviations
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("variance", torch.ones(width))

    def forward(self, value: Tensor) -> Tensor:
        """Return the map; training moves the running statistics."""
        weight, bias = self.weight, self.bias
        if self.training:
            factor, shift = self._correction(value)
            weight, bias = weight * factor, weight * shift + bias
        normal = nn.functional.batch_norm(
            value, self.mean, self.variance, weight, bias, self.training, self.MOMENTUM, self.LEAST
        )
        return nn.functional.relu(normal, inplace=True)

    @property
    def deviation(self) -> Tensor:
        """The running standard deviation of each channel."""
        return torch.sqrt(self.variance + self.LEAST)

    def _correction(self, value: Tensor) -> tuple[Tensor, Tensor]:
        """Return what leads from statistics of a batch to the running ones; no gradient."""
        factor, shift = self.most
        with torch.no_grad():
            variance, mean = torch.var_mean(value.float(), (0, 2, 3, 4), correction=0)
            ratio = torch.sqrt(variance + self.LEAST) / self.deviation
            away = (mean - self.mean) / self.deviation
            return ratio.clamp(1 / factor, factor), away.clamp(-shift, shift)

    def fold(self, by: nn.Conv3d) -> None:
        """Change a convolution so that it is followed by a ReLU alone."""
        assert by.bias is not None
        scale = self.weight / self.deviation
        by.weight.mul_(scale.view(-1, 1, 1, 1, 1))
        by.bias.copy_((by.bias - self.mean) * scale + self.bias)


def _convolutions(*widths: int, padding: int, norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        end = Normal(after) if norm else nn.ReLU(inplace=True)
        layers += [nn.Conv3d(before, after, 3, padding=padding), end]
    return nn.Sequential(*layers)


def _cropped(value: Tensor, cut: tuple[int, int]) -> Tensor:
    inner = slice(cut[0], -cut[1] if cut[1] else None)
    return value[..., inner, inner, inner]


def _pointwise(value: Tensor, by: nn.Conv3d) -> Tensor:
    """Apply a 1³ convolution as a product of matrices: the map keeps its order in memory."""
    return nn.functional.linear(value.movedim(1, -1), by.weight.flatten(1), by.bias).movedim(-1, 1)


def _convolved_grown(value: Tensor, weight: Tensor, factor: int) -> Tensor:
    """Return the 3³ convolution, zeros around, of a map grown by a factor; it is never grown.

    Taps that meet the same voxel of the small map are added first: of 27 for each voxel of the
    result ((factor + 2) / factor)³ are left, a transposed convolution.
    """
    tap, place = torch.arange(3), torch.arange(factor + 2)[:, None]
    met = ((place + tap >= 2) & (place + tap <= factor + 1)).to(weight)
    with torch.autocast(weight.device.type, enabled=False):  # sums of taps are rounded once
        kernel = torch.einsum("oizyx,az,by,cx->ioabc", weight, met, met, met)
    return nn.functional.conv_transpose3d(value, kernel, stride=factor, padding=1)


class UNet(nn.Module):
    """Map grey values to one channel a class.

    Input ``(n, 1, z, y, x)`` float in [-1, 1]; output ``(n, classes, z', y', x')``: as the input
    with padding ``same``, else smaller as `shapes` has it.
    """

    def __init__(self, config: NetworkConfig, classes: int) -> None:
        super().__init__()
        padding, count = int(config.padding == "same"), config.convolutions
        how: dict[str, Any] = {"padding": padding, "norm": config.norm == "batch"}
        self.factors, self.upsample, self.valid = config.factors, config.upsample, not padding
        self.meetings: tuple[Meeting, ...] = config.geometry.least().meetings
        self.down, self.up, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.straight, self.squashed = config.narrow == "linear", config.output == "tanh"
        before = config.widths[0] if config.stem > 1 else 1
        blocks = {"kernel_size": config.stem, "stride": config.stem}
        self.stem = nn.Conv3d(1, before, **blocks) if config.stem > 1 else None
        for level, width in enumerate(config.widths):
            number = config.lowest if level == len(config.factors) else count
            self.down.append(_convolutions(before, *[width] * number, **how))
            before = width
        for level in reversed(range(len(config.factors))):
            width = config.up[level]
            self.narrow.append(nn.Conv3d(before, width, 1))
            met = width + config.widths[level]
            self.up.append(_convolutions(met, *[width] * count, **how))
            before = width
        self.last = _convolutions(*[before] * (count + 1), **how) if config.upsample > 1 else None
        head = nn.ConvTranspose3d if self.stem else nn.Conv3d
        self.head = head(before, classes, **blocks)
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the squashed distances; see the class for shapes."""
        found = self.found(raw)
        return torch.tanh(found) if self.squashed else found

    def found(self, raw: Tensor) -> Tensor:
        """Return what the head finds: squashed distances, or what a tanh makes them of."""
        value = raw if self.stem is None else nn.functional.relu(self.stem(raw))
        beside = []
        for level, block in enumerate(self.down):
            if level:
                value = nn.functional.max_pool3d(value, self.factors[level - 1])
            value = block(value)
            beside.append(value)
        beside.pop()
        for level, narrow, block in zip(
            reversed(range(len(self.factors))), self.narrow, self.up, strict=True
        ):
            # Narrowing before growing costs an eighth of narrowing after it, and is the same map.
            value = _pointwise(value, narrow)
            value = value if self.straight else nn.functional.relu(value)
            value = self._met(beside.pop(), value, level, block[0])
            value = block[1:](value)
        if self.last is not None:
            first = self.last[0]
            grown = _cropped(_convolved_grown(value, first.weight, self.upsample), (1, 1))
            value = self.last[1:](grown + first.bias.view(-1, 1, 1, 1))
        return self.head(value) if self.stem else _pointwise(value, self.head)

    def _met(self, skip: Tensor, value: Tensor, level: int, by: nn.Conv3d) -> Tensor:
        """Return ``by`` of a map and, beside it, the grown one of the level below."""
        # The sum of two convolutions: nothing is copied into one map, nor its gradient out of it.
        own, below = by.weight.split([skip.shape[1], value.shape[1]], 1)
        grown = _convolved_grown(value, below, self.factors[level])
        if self.valid:
            skip = _cropped(skip, self.meetings[level].beside)
            before, after = self.meetings[level].grown
            grown = _cropped(grown, (before + 1, after + 1))
        return nn.functional.conv3d(skip, own, by.bias, padding=by.padding) + grown

    def settle(self, share: float) -> None:
        """Set how maps are normalised after a share of all steps, from 0 to 1."""
        self.train(share < SETTLED[2])
        grown = min(max((share - SETTLED[0]) / (SETTLED[1] - SETTLED[0]), 0.0), 1.0)
        for module in self.modules():
            if isinstance(module, Normal):
                module.most = (1 + grown * (MOST[0] - 1), grown * MOST[1])

    def as_valid(self) -> "UNet":
        """Return a copy that is the same with valid convolutions, and normalises nothing."""
        twin = copy.deepcopy(self)
        twin.valid = True
        for block in [each for each in twin.modules() if isinstance(each, nn.Sequential)]:
            for place, module in enumerate(block):
                if isinstance(module, Normal):
                    with torch.no_grad():
                        module.fold(block[place - 1])  # type: ignore[arg-type]
                    block[place] = nn.ReLU(inplace=True)
        for module in twin.modules():
            if isinstance(module, nn.Conv3d):
                module.padding = (0, 0, 0)
        return twin


class Deployed(nn.Module):
    """The network as it is exported: uint8 grey values in, uint8 signed tanh distance out.

    ``clip(round(128 t + 127), 0, 255)``; 127 is 0 nm (quantisation of Heinrich et al. 2021).
    Scaling and rounding are part of the graph, so that every runtime that executes it uses the
    same ones.
    """

    def __init__(self, net: UNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, raw: Tensor) -> Tensor:
        """Return the grey value of the distance, uint8, of raw uint8."""
        squashed = self.net(raw.to(torch.float32) * (2 / 255) - 1)
        return torch.clamp(torch.round(128 * squashed + 127), 0, 255).to(torch.uint8)
