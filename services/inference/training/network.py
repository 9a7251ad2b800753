"""A 3-D U-Net that regresses signed distances, and the same as it is exported.

Architecture after Heinrich et al. 2021 (CNectome ``unet_class.py``): two 3³ convolutions with ReLU
a level and side, max pooling, nearest-neighbour growth after a 1³ convolution, a linear head. With
a slope below nothing no channel can die (Maas et al., ICML workshop 2013). With a stem the finest
level has blocks of voxels, of which the head makes voxels again: an eighth of the work for 2, at
twice the context, and no voxel of the input is lost.
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


def _rectifier(slope: float, *, inplace: bool) -> nn.Module:
    return nn.LeakyReLU(slope, inplace) if slope else nn.ReLU(inplace)


def _convolutions(*widths: int, padding: int, slope: float) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers.append(nn.Conv3d(before, after, 3, padding=padding))
        layers.append(_rectifier(slope, inplace=True))
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
        how: dict[str, Any] = {"padding": padding, "slope": config.slope}
        self.rectified = _rectifier(config.slope, inplace=False)
        self.factors, self.upsample, self.valid = config.factors, config.upsample, not padding
        self.meetings: tuple[Meeting, ...] = config.geometry.least().meetings
        self.down, self.up, self.narrow = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        self.squashed = config.output == "tanh"
        before = config.widths[0] if config.stem > 1 else 1
        blocks = {"kernel_size": config.stem, "stride": config.stem}
        self.stem = nn.Conv3d(1, before, **blocks) if config.stem > 1 else None
        for width in config.widths:
            self.down.append(_convolutions(before, *[width] * count, **how))
            before = width
        for level in reversed(range(len(config.factors))):
            width = config.up[level]
            self.narrow.append(nn.Conv3d(before, width, 1))
            met = width + config.widths[level]
            self.up.append(_convolutions(met, *[width] * count, **how))
            before = width
        last = [before] * (count + 1)
        self.last = _convolutions(*last, **how) if config.upsample > 1 else None
        head = nn.ConvTranspose3d if self.stem else nn.Conv3d
        self.head = head(before, classes, **blocks)
        self._initialise(config.slope)

    def _initialise(self, slope: float) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d | nn.ConvTranspose3d):
                nn.init.kaiming_normal_(module.weight, slope)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.02)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the squashed distances; see the class for shapes."""
        found = self.found(raw)
        return torch.tanh(found) if self.squashed else found

    def found(self, raw: Tensor) -> Tensor:
        """Return what the head finds: squashed distances, or what a tanh makes them of."""
        value = raw if self.stem is None else self.rectified(self.stem(raw))
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
            value = self.rectified(_pointwise(value, narrow))
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

    def as_valid(self) -> "UNet":
        """Return a copy that is the same with valid convolutions."""
        twin = copy.deepcopy(self)
        twin.valid = True
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
