"""Checkpoints of a training that cannot be saved, and of two trainings in one folder."""

import fcntl
from pathlib import Path

import numpy as np
import pytest
import yaml

from fibstream.cli.training import train_network
from fibstream.core.errors import FibstreamError, WrongUse
from fibstream.services.inference.training.crops import load, seen
from fibstream.services.inference.training.export import export
from fibstream.services.inference.training.trainer import LAST, Trainer

from .trained import configured, write_data


def test_a_full_disk_is_one_line_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    config = configured(write_data(tmp_path / "cell.npz"))
    trainer = Trainer(config, seen(load(config), config))
    trainer.save(tmp_path / LAST)
    before = (tmp_path / LAST).read_bytes()
    (tmp_path / LAST).with_suffix(".part").symlink_to("/dev/full")
    with pytest.raises(FibstreamError, match=r"step 0 cannot be saved: .*room on the disk"):
        trainer.save(tmp_path / LAST)
    assert (tmp_path / LAST).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_training_goes_on_with_the_same_voxels_alone(tmp_path: Path) -> None:
    cell = write_data(tmp_path / "cell.npz")
    fine = [{"raw": f"{cell}#raw", "crops": [{"labels": f"{cell}#fine", "record": "all"}]}]
    config = configured(cell, data=fine)
    Trainer(config, seen(load(config), config)).save(tmp_path / LAST)
    Trainer(config, seen(load(config), config)).resume(tmp_path / LAST)
    with np.load(cell) as file:
        kept = dict(file)
    for name in ("raw", "fine"):
        changed = kept[name].copy()
        changed[3, 4, 5] ^= 1
        np.savez(cell, **{**kept, name: changed})
        with pytest.raises(WrongUse, match="trained on other voxels of raw or labels"):
            Trainer(config, seen(load(config), config)).resume(tmp_path / LAST)


def test_an_export_that_fails_leaves_the_earlier_network(tmp_path: Path) -> None:
    config = configured(write_data(tmp_path / "cell.npz"))
    trainer = Trainer(config, seen(load(config), config))
    trainer.save(tmp_path / LAST)
    out = tmp_path / "net.onnx"
    export(tmp_path / LAST, out)
    before = out.read_bytes()
    trainer.mean["head.bias"][:] = float("nan")
    trainer.save(tmp_path / LAST)
    with pytest.raises(WrongUse, match=f"{out}: weight head.bias holds a value that is not finite"):
        export(tmp_path / LAST, out)
    assert out.read_bytes() == before
    assert {path.name for path in tmp_path.iterdir()} == {"cell.npz", LAST, "net.onnx"}


def test_a_second_training_in_one_folder_is_refused(tmp_path: Path) -> None:
    config = configured(write_data(tmp_path / "cell.npz"))
    words = tmp_path / "c.yaml"
    words.write_text(yaml.safe_dump(config.model_dump(mode="json", exclude_defaults=True)))
    out = tmp_path / "out"
    out.mkdir()
    with (out / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(WrongUse, match="another training writes it"):
            train_network(words, out, None)
    assert [file.name for file in out.iterdir()] == [".lock"]
