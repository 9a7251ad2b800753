"""A small valid 3-D U-Net that regresses the signed distance to an organelle's boundary.

Three levels, pooled by 2; every convolution is valid and every crop is a constant, so that an
output voxel depends on its own receptive field alone and tiles meet without a seam
(architecture after Heinrich et al. 2021, Methods "Network architecture", much smaller).
"""

from itertools import pairwise

import torch
from torch import Tensor, nn

HALO = 24  # voxels lost on each side: 2 + 2*2 + 3*4 + 2*2 + 2
STRIDE = 4  # total pooling factor: the lattice on which tiles must start


def _convolutions(*widths: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [nn.Conv3d(before, after, 3), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class DistanceNet(nn.Module):
    """Map raw grey values to a signed distance in units of the target's scale.

    Input ``(n, 1, z, y, x)`` float in [-1, 1], every edge a multiple of 4 and at least 52; output
    ``(n, 1, z-48, y-48, x-48)``: the distance divided by the scale, positive inside, unbounded.
    """

    def __init__(self, widths: tuple[int, int, int]) -> None:
        super().__init__()
        fine, middle, coarse = widths
        self.down0 = _convolutions(1, fine, fine)
        self.down1 = _convolutions(fine, middle, middle)
        self.bottom = _convolutions(middle, coarse, coarse, coarse)
        self.narrow1 = nn.Conv3d(coarse, middle, 1)
        self.up1 = _convolutions(2 * middle, middle, middle)
        self.narrow0 = nn.Conv3d(middle, fine, 1)
        self.up0 = _convolutions(2 * fine, fine, fine)
        self.head = nn.Conv3d(fine, 1, 1)
        self.pool = nn.MaxPool3d(2)
        self.grow = nn.Upsample(scale_factor=2, mode="nearest")
        self._initialise()

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
        nn.init.normal_(self.head.weight, std=0.05)

    def forward(self, raw: Tensor) -> Tensor:
        """Return the distance; see the class for shapes."""
        fine = self.down0(raw)
        middle = self.down1(self.pool(fine))
        coarse = self.bottom(self.pool(middle))
        # Narrowing before growing costs an eighth of narrowing after it, and is the same map.
        up = torch.cat([middle[..., 6:-6, 6:-6, 6:-6], self.grow(self.narrow1(coarse))], 1)
        up = self.grow(self.narrow0(self.up1(up)))
        up = torch.cat([fine[..., 20:-20, 20:-20, 20:-20], up], 1)
        distance: Tensor = self.head(self.up0(up))
        return distance


class Deployed(nn.Module):
    """The network as it is exported: uint8 grey values in, uint8 signed tanh distance out.

    ``clip(round(128 t + 127), 0, 255)`` with ``t = tanh(distance / scale)``; 127 is 0 nm
    (quantisation of Heinrich et al. 2021). Scaling and rounding are part of the graph, so that
    every runtime that executes it uses the same ones.
    """

    def __init__(self, net: DistanceNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, raw: Tensor) -> Tensor:
        """Return the grey value of the distance, uint8, of raw uint8."""
        distance = self.net(raw.to(torch.float32) * (2 / 255) - 1)
        grey = torch.round(128 * torch.tanh(distance) + 127)
        return torch.clamp(grey, 0, 255).to(torch.uint8)
