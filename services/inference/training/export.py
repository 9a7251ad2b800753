"""From a checkpoint to a released ONNX file with its card, compared with the torch network."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from pydantic import ValidationError

from fibstream.core.errors import FibstreamError, WrongUse
from fibstream.services.inference.edges.engine import CpuEngine
from fibstream.services.inference.edges.model import read_network
from fibstream.services.inference.polarity import LEVEL, EdgeSums
from fibstream.services.inference.port import MAX_TILE, GreyLevels

from .config import NetworkConfig, TrainingConfig
from .graph import network_graph
from .network import Deployed, UNet
from .shapes import Geometry
from .trainer import Weights, read_checkpoint

TILE_OUTPUT = 64  # voxels that a tile yields at least, as common chunks have them
MEANT = ("voxel_size_nm", "scale_nm")  # of a configuration, and of a card
SLACK = 1  # grey levels that the runtime may differ from torch


def load_network(path: Path) -> tuple[TrainingConfig, UNet, int, NDArray[np.uint8]]:
    """Return a checkpoint's configuration, network, step, and a sample of raw as it sees raw.

    The network has the running mean of the weights, and valid convolutions.
    """
    config, saved = read_checkpoint(path)
    net = UNet(config.network, len(config.outputs))
    net.load_state_dict(saved["mean"])
    seen = np.ascontiguousarray(saved["seen"].numpy()[(slice(None, None, config.thinning),) * 3])
    return config, net.as_valid().eval(), int(saved["step"]), seen


def export(checkpoint: Path, out: Path) -> Mapping[str, Any]:
    """Write an ONNX file and return its card.

    Its spatial axes are free, its crops constant. Before it gets its name it is compared with the
    torch network on noise and on the training data.

    Raises
    ------
    FibstreamError
        The runtime yields other grey levels than torch.
    WrongUse
        The checkpoint is none, or its network none that the engine can run.
    """
    config, net, step, seen = load_network(checkpoint)
    geometry = config.network.geometry
    halo, stride, finer = geometry.context, geometry.stride, config.network.upsample
    least = edge = _least(geometry)
    while (edge - 2 * halo) // stride * stride * finer < TILE_OUTPUT and edge + stride <= MAX_TILE:
        edge += stride
    card = _card(config, edge, step)
    part = out.with_name(f".{out.stem}.{os.getpid()}.part.onnx")
    try:
        state = {name: value.numpy() for name, value in net.state_dict().items()}
        model = network_graph(config.network, state, config.outputs)
        onnx.save(model, part)
        session = _session(part)
        worst = parity(Deployed(net), session, (least, least + stride), seen, geometry.trim)
        if worst > SLACK:
            raise FibstreamError(
                f"{checkpoint}: the exported network differs from the trained one by {worst} grey "
                f"levels; expected at most {SLACK}"
            )
        card["training"]["parity_grey_levels"] = worst
        raw, found = output_on(session, seen, edge, halo)
        if (levels := levels_seen(raw, found, config.outputs)) is not None:
            card["grey"] = levels.model_dump(mode="json")
        card["training"]["nowhere_inside"] = nowhere_inside(found, config.outputs)
        onnx.helper.set_model_props(model, {"fibstream": json.dumps(card, sort_keys=True)})
        onnx.checker.check_model(model)
        onnx.save(model, part)
        CpuEngine(part)  # what refuses a network when it is used refuses it now
        part.replace(out)
    except WrongUse as error:
        raise WrongUse(str(error).replace(str(part), str(out))) from None
    finally:
        part.unlink(missing_ok=True)
    return card


def _card(config: TrainingConfig, edge: int, step: int) -> dict[str, Any]:
    """Return what a card tells before the network is run, for tiles of ``edge`` voxels."""
    geometry, finer = config.network.geometry, config.network.upsample
    sizes = {"voxel_size_nm": [config.voxel_size_nm * finer] * 3}
    if finer > 1:
        sizes["output_voxel_size_nm"] = [config.voxel_size_nm] * 3
    return {
        "meaning": "distance", "classes": list(config.outputs), "scale_nm": config.scale_nm,
        **sizes, "halo": [geometry.context] * 3, "stride": [geometry.stride] * 3,
        "phase": [geometry.phase] * 3, "tile": [edge] * 3, "training": _training(config, step),
    }  # fmt: skip


def _least(geometry: Geometry) -> int:
    """Return the smallest input whose exported output is a stride or more."""
    edge = geometry.least().edge
    short = geometry.stride - (edge - 2 * geometry.context)
    return edge + -(-max(short, 0) // geometry.stride) * geometry.stride


def _session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def _training(config: TrainingConfig, step: int) -> dict[str, Any]:
    """Return what the card tells of the training: data, contrast, licence, citation."""
    return {
        "name": config.name, "step": step, "seed": config.seed, "surface": config.surface,
        "balance": config.balance, "sharpen": config.sharpen, "dice": config.dice,
        "optimiser": config.optimiser, "network": config.network.model_dump(mode="json"),
        "data": [
            {"raw": Path(v.raw.partition("#")[0]).name, "contrast": v.contrast or (0, 255),
             "inverted": v.invert, "licence": v.licence}
            for v in config.volumes
        ] + [{"phantom": p.model_dump(mode="json")} for p in config.phantoms],
        "augmented": config.augment.model_dump(mode="json"),
        "licence": config.licence, "citation": config.citation,
    }  # fmt: skip


def parity(
    net: Deployed, session: onnxruntime.InferenceSession, edges: Sequence[int],
    seen: NDArray[np.uint8], trim: int = 0,
) -> int:  # fmt: skip
    """Return by how many grey levels at most the ONNX file differs from the torch network.

    On noise, and on a sample of raw, in inputs of several sizes. The file has ``trim`` voxels of
    output less on each side.
    """
    worst = 0
    for edge in edges:
        noise = np.random.default_rng(edge).integers(0, 256, (edge,) * 3, np.uint8)
        cut = seen[:edge, :edge, :edge]
        for tile in (noise, np.pad(cut, [(0, edge - n) for n in cut.shape], mode="edge")):
            with torch.no_grad():
                ours = net(torch.from_numpy(tile[None, None])).numpy()
            inner = slice(trim, -trim or None)
            ours = ours[..., inner, inner, inner]
            theirs = session.run(None, {"raw": tile[None, None]})[0]
            if ours.shape != theirs.shape:
                raise FibstreamError(
                    f"the exported network yields {theirs.shape}, not {ours.shape}"
                )
            worst = max(worst, int(np.abs(ours.astype(int) - theirs.astype(int)).max()))
    return worst


def output_on(
    session: onnxruntime.InferenceSession, seen: NDArray[np.uint8], edge: int, halo: int
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return a tile of a sample of raw, (z, y, x), and what is predicted: one more axis before."""
    tile = np.pad(seen, [(0, max(edge - n, 0)) for n in seen.shape], mode="reflect")
    tile = np.ascontiguousarray(tile[:edge, :edge, :edge])
    found = session.run(None, {"raw": tile[None, None]})[0][0]
    return tile[halo:-halo, halo:-halo, halo:-halo], found


def levels_seen(
    raw: NDArray[np.uint8], found: NDArray[np.uint8], classes: Sequence[str]
) -> GreyLevels | None:
    """Return the grey levels of raw, and of the edges that are predicted in it; None without."""
    sums = EdgeSums(classes)
    sums.add(raw, found)
    return sums.levels()


def nowhere_inside(found: NDArray[np.uint8], classes: Sequence[str]) -> list[str]:
    """Return the classes that are predicted nowhere: rare ones, or such as were not learned."""
    return [name for name, each in zip(classes, found, strict=True) if each.max() < LEVEL]


def weights_of(path: Path) -> Weights:
    """Return the weights in a checkpoint, or in an ONNX file that `export` wrote.

    What is read from an ONNX file is compared with the file as `export` does it.

    Raises
    ------
    WrongUse
        The file is neither, or the network made of it yields other grey levels.
    """
    if path.suffix != ".onnx":
        config, saved = read_checkpoint(path)
        meant = {name: getattr(config, name) for name in MEANT}
        return Weights(str(path), config.network, config.outputs, saved["mean"], meant)
    spec, model = read_network(path)
    if spec.meaning != "distance":
        raise WrongUse(f"--from {path}: predicts a {spec.meaning}; expected distances")
    try:
        network = _stated(model)
        net = _net_of(network, len(spec.classes), model)
        edge = _least(network.geometry)
        edges = (edge, edge + network.geometry.stride)
        noise = np.random.default_rng(edge).integers(90, 166, (edge,) * 3, np.uint8)
        whole = Deployed(net.as_valid().eval())
        worst = parity(whole, _session(path), edges, noise, network.geometry.trim)
        if worst > SLACK:
            raise ValueError(f"{worst} grey levels from the network made of its weights")
    except (FibstreamError, ValueError) as error:
        why = str(error).strip().splitlines()[0]
        raise WrongUse(
            f"--from {path}: holds no weights that training can go on with: {why}; expected a "
            "checkpoint, or an ONNX file of fibstream export"
        ) from None
    size = (spec.output_voxel_size_nm or spec.voxel_size_nm)[0]
    meant = dict(zip(MEANT, (size, spec.scale_nm), strict=True))
    return Weights(str(path), network, spec.classes, net.state_dict(), meant)


def _stated(model: onnx.ModelProto) -> NetworkConfig:
    """Return the network that the card of a file tells; raise ValueError where it tells none."""
    texts = {prop.key: prop.value for prop in model.metadata_props}
    training = json.loads(texts["fibstream"]).get("training")
    words = training.get("network") if isinstance(training, dict) else None
    if words is None:
        raise ValueError("its card tells of no network")
    try:
        return NetworkConfig.model_validate(words)
    except ValidationError:
        raise ValueError("its card tells of a network that is none") from None


def _net_of(config: NetworkConfig, classes: int, model: onnx.ModelProto) -> UNet:
    """Return a network with the weights of a file; raise ValueError where one is missing."""
    given = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    with torch.random.fork_rng(devices=[]):
        net = UNet(config, classes)
    for name, value in net.state_dict().items():
        found = given.get(name)
        if found is None or found.shape != tuple(value.shape) or found.dtype != np.float32:
            raise ValueError(f"no {name} of {tuple(value.shape)}")
        value.copy_(torch.from_numpy(found.copy()))
    return net
