"""The network as it is computed, against the same layers one by one."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from fibstream.services.inference.training.config import NetworkConfig
from fibstream.services.inference.training.network import UNet


def rectified(value: Tensor, slope: float) -> Tensor:
    return torch.where(value > 0, value, slope * value)


def slowly(net: Any, raw: Tensor, slope: float) -> Tensor:
    """Grow, crop and concatenate maps, and convolve what that yields, as the graph does."""

    def grown(value: Tensor, factor: int) -> Tensor:
        for axis in (2, 3, 4):
            value = value.repeat_interleave(factor, axis)
        return value

    def cropped(value: Tensor, cut: tuple[int, int]) -> Tensor:
        ends = [slice(cut[0], n - cut[1]) for n in value.shape[2:]]
        return value[:, :, ends[0], ends[1], ends[2]] if net.valid else value

    if net.stem is not None:
        size = net.stem.stride[0]
        z, y, x = (n // size for n in raw.shape[2:])
        parts = raw.reshape(len(raw), z, size, y, size, x, size)
        weight = net.stem.weight[:, 0]
        raw = torch.einsum("nzaybxc,oabc->nozyx", parts, weight) + net.stem.bias.view(-1, 1, 1, 1)
        raw = rectified(raw, slope)
    maps = [net.down[0](raw)]
    for block, factor in zip(net.down[1:], net.factors, strict=True):
        maps.append(block(nn.functional.max_pool3d(maps[-1], factor)))
    value = maps[-1]
    for step, level in enumerate(reversed(range(len(net.factors)))):
        below = grown(rectified(net.narrow[step](value), slope), net.factors[level])
        meeting = net.meetings[level]
        both = cropped(maps[level], meeting.beside), cropped(below, meeting.grown)
        value = net.up[step](torch.cat(both, 1))
    if net.last is not None:
        value = net.last(grown(value, net.upsample))
    if net.stem is None:
        return net.head(value)
    # A block of the result is made of one voxel of the finest level.
    parts = torch.einsum("nizyx,ioabc->nozaybxc", value, net.head.weight)
    found = parts.reshape(*parts.shape[:2], *(n * size for n in value.shape[2:]))
    return found + net.head.bias.view(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("factors", "convolutions", "padding", "more"),
    [
        ((2,), 1, "same", {}), ((2,), 1, "valid", {}), ((2, 2), 1, "valid", {}),
        ((3,), 2, "same", {}), ((3,), 2, "valid", {}), ((4,), 1, "same", {}),
        ((2,), 2, "same", {}), ((2, 3), 2, "same", {}),
        ((2,), 1, "valid", {"upsample": 2}),
        ((2,), 1, "valid", {"upsample": 3}), ((2,), 1, "same", {"stem": 2}),
        ((2,), 1, "valid", {"stem": 3}), ((2,), 2, "same", {"stem": 2, "slope": 0.1}),
    ],
)  # fmt: skip
def test_values_and_gradients_are_those_of_the_layers_one_by_one(
    factors, convolutions, padding, more
) -> None:
    count = len(factors)
    config = NetworkConfig(
        widths=(16, 32, 16)[: count + 1], widths_up=(32, 16)[:count], factors=factors,
        convolutions=convolutions, padding=padding, **more,
    )  # fmt: skip
    torch.manual_seed(7)
    net = UNet(config, 2).double()
    for bias in (p for name, p in net.named_parameters() if name.endswith("bias")):
        nn.init.normal_(bias, std=0.1)
    edge = config.geometry.least().edge if padding == "valid" else 2 * config.geometry.stride
    raw = torch.randn(1, 1, edge, edge, edge, dtype=torch.float64)
    found, expected = net(raw), slowly(net, raw, config.slope)
    assert torch.allclose(found, expected, rtol=1e-9, atol=1e-12)
    share = torch.randn_like(found)
    one, other = (
        torch.autograd.grad((value * share).sum(), [*net.parameters()])
        for value in (found, expected)
    )
    for name, a, b in zip(dict(net.named_parameters()), one, other, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-12 + 1e-8 * float(b.abs().max())), name


@pytest.mark.parametrize("classes", [1, 3])
def test_maps_stay_in_the_order_that_convolutions_want(classes) -> None:
    """Channels last, and so are gradients: to reorder one costs as much as to convolve it."""
    config = NetworkConfig(widths=(16, 16), factors=(2,), convolutions=1)
    net = UNet(config, classes).to(memory_format=torch.channels_last_3d)
    kept: list[bool] = []

    def note(value: Tensor) -> None:
        kept.append(value.is_contiguous(memory_format=torch.channels_last_3d))

    def follow(_module: nn.Module, _given: object, found: Tensor) -> None:
        note(found)
        found.register_hook(note)

    for module in net.modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(follow)
    raw = torch.randn(2, 1, 8, 8, 8).contiguous(memory_format=torch.channels_last_3d)
    found = net(raw)
    note(found)
    (found**2).sum().backward()
    assert len(kept) == 9 and all(kept)
