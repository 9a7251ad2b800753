"""Train a network from a recipe: ``python -m fibstream.services.inference.training CONFIG``.

Resumes from its checkpoint, and leaves ``<name>.onnx`` and the held-out Dice beside it.
"""

import logging
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .config import TrainingConfig
from .export import evaluate, export
from .network import HALO, Deployed, DistanceNet
from .samples import annotate, draw

log = logging.getLogger("training")


def loss_of(distance: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """Cross entropy of ``(1 + tanh d) / 2``; like the squared error it is least at the mean target.

    Its gradient does not vanish where the network is surely wrong, which a squared tanh's does.
    """
    soft = (1 + torch.tanh(target)) / 2
    each = nn.functional.binary_cross_entropy_with_logits(2 * distance, soft, reduction="none")
    return (each * valid).sum() / valid.sum().clamp(min=1)


class Trainer:
    """The state of one training, saved whole so that a stopped run goes on where it was."""

    def __init__(self, recipe: TrainingConfig, folder: Path) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.checkpoint = folder / f"{recipe.name}.pt"
        self.net = DistanceNet(recipe.widths).to(memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        self.mean = torch.optim.swa_utils.AveragedModel(
            self.net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(recipe.ema)
        )
        self.optimiser = torch.optim.AdamW(self.net.parameters(), recipe.learning_rate)
        self.step = 0
        if self.checkpoint.exists():
            self._restore()

    def _restore(self) -> None:
        saved = torch.load(self.checkpoint, weights_only=True)
        self.net.load_state_dict(saved["net"])
        self.mean.load_state_dict(saved["mean"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step = saved["step"]

    def save(self) -> None:
        """Replace the checkpoint atomically."""
        state = {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
        }
        part = self.checkpoint.with_suffix(".part")
        torch.save(state, part)
        part.replace(self.checkpoint)

    def rate(self) -> float:
        """Learning rate: 100 steps of warming up, then half a cosine down to nothing."""
        done = self.step / self.recipe.steps
        warm = min(1.0, (self.step + 1) / 100)
        return self.recipe.learning_rate * warm * (1 + math.cos(math.pi * done)) / 2

    def train(self, raw: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> float:
        """Take one step on a batch and return its loss."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate()
        with torch.autocast("cpu", torch.bfloat16):
            distance = self.net(raw.to(memory_format=torch.channels_last_3d))
        loss = loss_of(distance.float(), target, valid)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimiser.step()
        self.mean.update_parameters(self.net)
        self.step += 1
        return float(loss.detach())


def main(config: str) -> None:
    """Train, export and evaluate what ``config`` describes."""
    recipe = TrainingConfig.read(Path(config))
    folder = Path(recipe.output)
    folder.mkdir(parents=True, exist_ok=True)
    raw, mask = recipe.load()
    kept = raw.shape[0] - recipe.held_out_slices
    volume = annotate(
        raw[:kept], mask[:kept], voxel_size_nm=recipe.voxel_size_nm, scale_nm=recipe.scale_nm
    )
    torch.set_num_threads(recipe.threads)
    trainer = Trainer(recipe, folder)
    losses, begun = [], time.monotonic()
    while trainer.step < recipe.steps:
        # The patch of a step depends on the seed and the step alone: a resumed run draws the same.
        rng = np.random.default_rng((recipe.seed, trainer.step))
        patch = draw(volume, rng, output=recipe.patch, halo=HALO)
        losses.append(trainer.train(*(torch.from_numpy(a)[None, None] for a in patch)))
        if trainer.step % 50 == 0:
            log.info(
                "step %d of %d, loss %.4f, %.2f s a step",
                trainer.step, recipe.steps, np.mean(losses[-50:]),
                (time.monotonic() - begun) / len(losses),
            )  # fmt: skip
        if trainer.step % 200 == 0 or trainer.step == recipe.steps:
            trainer.save()
    path = export(Deployed(trainer.mean.module), recipe, folder, raw[:kept])
    log.info("held-out slices: %s", evaluate(path, raw, mask, recipe))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    main(sys.argv[1])
