"""The work of ``train`` and ``export``: where files go, progress, and the extra they need."""

import fcntl
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from fibstream.core.errors import WrongUse
from fibstream.services.inference.edges.model import find_model

from .outputs import check_file, write_file

log = logging.getLogger(__name__)

PRINTED_S = 10.0  # seconds between lines of progress


def need_torch() -> None:
    """Raise WrongUse where the extra ``train`` is not installed."""
    if find_spec("torch") is None:
        raise WrongUse("training needs torch: pip install 'fibstream[train]', or make train")


def train_network(path: Path, out: Path | None, begin: str | None) -> Path:
    """Train what a configuration describes, or go on with it; return the last checkpoint."""
    from fibstream.services.inference.training.config import read_config
    from fibstream.services.inference.training.crops import load, memory, seen

    config = read_config(path)
    need_torch()
    from fibstream.app.training import draw_curve
    from fibstream.services.inference.training.export import weights_of
    from fibstream.services.inference.training.sampler import Sampler
    from fibstream.services.inference.training.trainer import LAST, Trainer, run

    folder = out or path.with_suffix("")
    last = folder / LAST
    _check_folder(folder)
    crops = load(config)
    log.info("%d crops, %.1f MB in memory", len(crops), memory(crops) / 1e6)
    trainer = Trainer(config, seen(crops, config))
    if begin is not None and not last.exists():
        given = Path(begin)
        weights = weights_of(given if given.suffix == ".pt" else find_model(begin))
        new = trainer.begin_with(weights)
        for difference in weights.differences(config):
            log.warning("--from %s: %s", begin, difference)
        log.info("begins with the weights of %s; new classes: %s", begin, ", ".join(new) or "none")
    folder.mkdir(exist_ok=True)
    with _alone(folder):
        if last.exists():
            if begin is not None:
                raise WrongUse(f"--from {begin}: {last} is there already; expected another --out")
            trainer.resume(last)
            log.info("goes on at step %d of %d", trainer.step, config.steps)
        run(trainer, Sampler(config, crops), folder, Progress(config.steps, trainer.step))
        lines = "".join(f"{step},{loss:.9g}\n" for step, loss in trainer.curve)
        write_file(folder / "curve.csv", f"step,loss\n{lines}".encode())
        draw_curve(trainer.curve, config.name).save(folder / "curve.png")
    return last


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the lock of a training's folder: two trainings would replace each other's weights."""
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise WrongUse(
                f"--out {folder}: another training writes it; expected another folder, or wait"
            ) from None
        yield


def _check_folder(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise WrongUse(f"--out {folder}: expected a folder")
    if not folder.absolute().parent.is_dir():
        raise WrongUse(f"--out {folder}: {folder.absolute().parent} is not a folder")


class Progress:
    """Lines that say how far a training is, every ten seconds and in the end."""

    def __init__(self, steps: int, done: int) -> None:
        self._steps, self._first = steps, done
        self._begun = self._told = time.monotonic()
        self._losses: list[float] = []

    def __call__(self, step: int, loss: float) -> None:
        """Take the loss of a step."""
        self._losses.append(loss)
        now = time.monotonic()
        if now - self._told < PRINTED_S and step < self._steps:
            return
        each = (now - self._begun) / (step - self._first)
        log.info(
            "step %d of %d, loss %.4f, %.2f steps a second, %.0f s left", step, self._steps,
            sum(self._losses) / len(self._losses), 1 / max(each, 1e-9), each * (self._steps - step),
        )  # fmt: skip
        self._told, self._losses = now, []


def export_network(checkpoint: Path, out: Path) -> str:
    """Write a checkpoint as ONNX; return one line that says what it is."""
    need_torch()
    if out.suffix != ".onnx":
        raise WrongUse(f"--out {out}: expected FILE.onnx")
    check_file(out, inputs=[checkpoint])
    from fibstream.services.inference.training.export import export
    from fibstream.services.inference.training.trainer import LAST

    path = checkpoint / LAST if checkpoint.is_dir() else checkpoint
    card = export(path, out)
    if missed := card["training"]["nowhere_inside"]:
        log.warning(
            "%s: inside nowhere in the sample of its training's raw: rare there, or not learned; "
            "look at a prediction before it is used", ", ".join(missed),
        )  # fmt: skip
    differs = card["training"]["parity_grey_levels"]
    size = f"{card['voxel_size_nm'][0]:g} nm"
    if fine := card.get("output_voxel_size_nm"):
        size = f"{fine[0]:g} nm from {size}"
    return (
        f"{out}: {', '.join(card['classes'])} at {size}, halo "
        f"{card['halo'][0]}, stride {card['stride'][0]}; at most {differs} grey levels from torch"
    )


def describe_data(path: Path, folder: Path) -> list[Path]:
    """Write table, plot and plate of what a configuration trains on; return the files."""
    from fibstream.app.training import draw_plate, draw_shares, shares_csv
    from fibstream.services.inference.training.config import read_config
    from fibstream.services.inference.training.crops import described

    config = read_config(path)
    _check_folder(folder)
    crops = described(config)
    counted = [crop.counts for crop in crops if crop.counts is not None]
    if not counted:
        raise WrongUse(f"{path}: no crop has fine ids, so that there is nothing to count")
    folder.mkdir(exist_ok=True)
    files = [folder / name for name in ("classes.csv", "classes.png", "plate.png")]
    write_file(files[0], shares_csv(counted, config.outputs).encode())
    draw_shares(counted, config.outputs).save(files[1])
    draw_plate(crops, config.voxel_size_nm).save(files[2])
    return files
