"""One step of training, and the checkpoint from which it goes on to the same weights.

The weights of a step follow from those before it and from the batch, which follows from the seed
and the step: a run that was stopped and resumed ends bit for bit like one that was not, on the same
kind of processor with the same number of threads.
"""

import math
import os
import pickle
import zipfile
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from fibstream.core.echo import cut
from fibstream.core.errors import FibstreamError, WrongUse

from .config import NetworkConfig, TrainingConfig, parse_config
from .crops import Seen
from .losses import entropy, overlap, weighted
from .memory import kept_memory
from .network import UNet
from .optimisers import optimisers
from .sampler import Batch, Sampler

LAST = "last.pt"
VERSION = 2  # of checkpoints
WARM = 100  # steps in which the learning rate rises
CURVE = 20  # steps to one point of the curve
AHEAD = 2  # batches that are drawn while a step is computed
Report = Callable[[int, float], None]  # the step, and the mean loss of the last points


def pick_device(config: TrainingConfig) -> torch.device:
    """Return where to train; raise WrongUse for a GPU that is not there."""
    there = torch.cuda.is_available()
    if config.device == "cuda" and not there:
        raise WrongUse(
            "device cuda: this machine has no GPU that torch can use; expected auto, cpu"
        )
    return torch.device("cuda" if there and config.device != "cpu" else "cpu")


def wants_half(config: TrainingConfig, device: torch.device) -> bool:
    """Return whether to compute in bf16: by itself on a GPU, and on a processor with AMX.

    On one that has AVX-512 for bf16 alone, a step took 1.9 processor seconds in bf16 and 1.5 in
    fp32 (base 16, three levels, 64³, batch 2).
    """
    if config.precision != "auto":
        return config.precision == "bf16"
    matrix = getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return device.type == "cuda" or bool(matrix())


@dataclass(frozen=True)
class Weights:
    """The weights of a network that was trained, to begin another training with."""

    name: str
    network: NetworkConfig
    classes: tuple[str, ...]
    state: Mapping[str, torch.Tensor]
    meant: Mapping[str, float]  # what they were trained for, as configurations call it

    def differences(self, config: TrainingConfig) -> list[str]:
        """Return what a configuration trains for otherwise: weights adapt, if told long enough."""
        return [
            f"{name} {getattr(config, name):g} instead of {value:g}"
            for name, value in self.meant.items() if getattr(config, name) != value
        ]  # fmt: skip


class Trainer:
    """The state of one training."""

    def __init__(self, config: TrainingConfig, seen: Seen) -> None:
        """``seen`` is kept by checkpoints: for the exported card, and to go on with the same."""
        torch.manual_seed(config.seed)
        self._seen = seen
        torch.set_num_threads(config.threads)
        self.config = config
        self.device = pick_device(config)
        self.half = wants_half(config, self.device)
        net = UNet(config.network, len(config.outputs))
        self.net = net.to(self.device).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.mean = {name: value.clone() for name, value in self.net.state_dict().items()}
        self.optimisers = optimisers(self.net, config)
        self.step = 0
        self.curve: list[tuple[int, float]] = []  # the mean loss of every CURVE steps
        self._losses: list[float] = []

    def rate(self) -> float:
        """Return the learning rate: it rises for 100 steps, and falls as the schedule has it."""
        warm = min(1.0, (self.step + 1) / WARM)
        return self.config.learning_rate * warm * self.config.falling(self.step)

    def train(self, batch: Batch) -> float:
        """Take one step and return its loss; raise FibstreamError where it is not finite."""
        raw, target, weight = (
            torch.from_numpy(a).to(self.device) for a in (batch.raw, batch.target, batch.weight)
        )
        for group in (g for each in self.optimisers for g in each.param_groups):
            group["lr"] = self.rate()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.half):
            found = self.net.found(raw.to(memory_format=torch.channels_last_3d))
        loss = self._loss(found.float(), target, weight)
        self.net.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        value = float(loss.detach())
        if not math.isfinite(value) or not math.isfinite(float(norm)):
            raise FibstreamError(
                f"step {self.step + 1}: the loss is {value:g} and its gradient {float(norm):g}; "
                "nothing was saved since the last checkpoint: make learning_rate smaller"
            )
        for each in self.optimisers:
            each.step()
        self._average()
        self.step += 1
        self._losses.append(value)
        if self.step % CURVE == 0:
            self.curve.append((self.step, float(np.mean(self._losses))))
            self._losses = []
        return value

    def _loss(
        self, found: torch.Tensor, target: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        if not self.net.squashed:
            return weighted(found, target, weight)
        sharpen, dice = self.config.sharpen, self.config.dice
        loss = entropy(found, target, weight, sharpen)
        return loss + dice * overlap(found, target, weight, sharpen) if dice else loss

    def _average(self) -> None:
        # At first a mean over few steps: the weights of the beginning must not stay in it.
        share = min(self.config.mean, self.step / (self.step + 10))
        for name, value in self.net.state_dict().items():
            self.mean[name].lerp_(value.detach(), 1 - share)

    def save(self, path: Path) -> None:
        """Write a checkpoint, whole or not at all."""
        state = {
            "version": VERSION,
            "config": self.config.model_dump(mode="json"),
            "net": self.net.state_dict(),
            "mean": self.mean,
            "optimisers": [each.state_dict() for each in self.optimisers],
            "step": self.step,
            "curve": self.curve,
            "losses": self._losses,
            "seen": torch.from_numpy(self._seen.sample),
            "data": self._seen.digest,
        }
        part = path.with_suffix(".part")
        try:
            with part.open("wb") as stream:
                torch.save(state, stream)
                stream.flush()
                os.fsync(stream.fileno())  # else a power loss may leave the name without content
            part.replace(path)
        except (OSError, RuntimeError) as error:  # torch raises the latter on a full disk
            why = cut(str(error).strip(), 120)
            raise FibstreamError(
                f"{path}: step {self.step} cannot be saved: {why}; expected room on the disk, "
                "then the same call again"
            ) from None
        finally:
            part.unlink(missing_ok=True)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint of the same configuration; raise WrongUse for any other."""
        config, saved = read_checkpoint(path)
        free = {"save_every", "keep_every"}
        if self.config.steps_as(config) and saved["step"] <= self.config.steps:
            free |= {"steps", "cycles"}
        ours, theirs = (c.model_dump(mode="json") for c in (self.config, config))
        differs = [k for k in ours if ours[k] != theirs[k] and k not in free]
        if differs:
            raise WrongUse(
                f"{path}: was trained with another {differs[0]}; expected the same configuration, "
                "another --out, or --from to begin with its weights"
            )
        if saved.get("data", self._seen.digest) != self._seen.digest:
            raise WrongUse(
                f"{path}: was trained on other voxels of raw or labels; expected the same data, "
                "another --out, or --from to begin with its weights"
            )
        self.net.load_state_dict(saved["net"])
        for each, state in zip(self.optimisers, saved["optimisers"], strict=True):
            each.load_state_dict(state)
        for name, value in saved["mean"].items():
            self.mean[name].copy_(value)
        self.step = saved["step"]
        self.curve = [(int(step), float(loss)) for step, loss in saved["curve"]]
        self._losses = [float(loss) for loss in saved["losses"]]

    def _channel(self, head: torch.Tensor, channel: int) -> torch.Tensor:
        """Return the part of the head's weights, or of its biases, that makes one class."""
        turned = self.net.stem is not None and head.ndim > 1  # of a transposed convolution
        return head[:, channel] if turned else head[channel]

    def begin_with(self, given: Weights) -> list[str]:
        """Take the weights of another training; return the classes whose head is new.

        The networks must have the same levels and widths; classes may differ.
        """
        ours, theirs = (
            n.model_dump(exclude={"padding"}) | {"widths_up": n.up}
            for n in (self.config.network, given.network)
        )
        if ours != theirs:
            raise WrongUse(
                f"--from {given.name}: its network is {_network_text(given.network)}; expected "
                f"{_network_text(self.config.network)}, as the configuration has it"
            )
        own = self.net.state_dict()
        for key, value in own.items():
            if not key.startswith("head."):
                value.copy_(given.state[key])
                continue
            for channel, name in enumerate(self.config.outputs):
                if name in given.classes:
                    place = given.classes.index(name)
                    self._channel(value, channel).copy_(self._channel(given.state[key], place))
        self.mean = {name: value.clone() for name, value in own.items()}
        return [name for name in self.config.outputs if name not in given.classes]


def _network_text(of: NetworkConfig) -> str:
    """Return a network as a message has it, in the words of a configuration."""
    words = [f"widths {list(of.widths)}", f"factors {list(of.factors)}",
             f"convolutions {of.convolutions}"]  # fmt: skip
    if of.up != of.widths[:-1]:
        words.append(f"widths_up {list(of.up)}")
    for name in ("output", "upsample", "stem", "slope"):
        if getattr(of, name) != NetworkConfig.model_fields[name].default:
            words.append(f"{name} {getattr(of, name)}")
    return "of " + ", ".join(words)


def read_checkpoint(path: Path) -> tuple[TrainingConfig, dict[str, Any]]:
    """Return the configuration and the state in a checkpoint; raise WrongUse for another file."""
    if not path.is_file():
        raise WrongUse(f"{path}: no such checkpoint")
    if not zipfile.is_zipfile(path):
        raise WrongUse(f"{path}: not a checkpoint of fibstream, or a damaged one")
    try:
        # Only tensors and plain values are loaded: a checkpoint can hold no code.
        saved = torch.load(path, map_location="cpu", weights_only=True)
        assert saved["version"] == VERSION
        config = parse_config(saved["config"], str(path))
    except WrongUse:
        raise
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError, ValueError,
            AssertionError, AttributeError,
            IndexError, OSError) as error:  # fmt: skip
        why = cut(str(error).strip() or type(error).__name__, 120)
        raise WrongUse(f"{path}: not a checkpoint of fibstream: {why}") from None
    return config, saved


def run(trainer: Trainer, sampler: Sampler, folder: Path, report: Report) -> None:
    """Train to the last step; save every so often, and in the end.

    Batches are drawn ahead in a thread of their own. Whatever ends the training, the last
    checkpoint stays as it was.
    """
    config = trainer.config
    with kept_memory(), ThreadPoolExecutor(1) as pool:
        ahead: dict[int, Future[Batch]] = {}
        try:
            while trainer.step < config.steps:
                for step in range(trainer.step, min(trainer.step + AHEAD, config.steps)):
                    if step not in ahead:
                        ahead[step] = pool.submit(sampler.batch, step)
                loss = trainer.train(ahead.pop(trainer.step).result())
                if config.keep_every and trainer.step % config.keep_every == 0:
                    trainer.save(folder / f"step-{trainer.step:08d}.pt")
                if trainer.step % config.save_every == 0 or trainer.step == config.steps:
                    trainer.save(folder / LAST)
                report(trainer.step, loss)
        finally:
            for future in ahead.values():
                future.cancel()
