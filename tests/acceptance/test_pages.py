"""Every command of the tutorial and of the README does what the page says, in the page's order."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import tifffile
import zarr

from ..support.command import PROGRAM
from ..support.patience import PATIENCE_S
from ..volumes.layouts import n5_array, n5_group

ROOT = Path(__file__).resolve().parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.M | re.S)


def blocks(page: str, heading: str = "") -> list[tuple[str, str]]:
    """Return language and content of the blocks of a page, or of one of its sections."""
    text = (ROOT / page).read_text()
    if heading:
        text = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return FENCE.findall(text)


def run(words: list[str], folder: Path) -> str:
    """Run one command of a page."""
    assert words[0] in ("fibstream", ".venv/bin/fibstream"), words
    ended = subprocess.run(
        [PROGRAM, *words[1:]], cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert ended.returncode == 0, (words, ended.stderr)
    return ended.stdout


def script(text: str, folder: Path) -> str:
    """Run a block of Python."""
    command = [sys.executable, "-c", text]
    ended = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def crop():
    """A part of the sample with one large mitochondrion, cut by its faces."""
    return tifffile.imread(ROOT / "samples/flyem_medulla.tif")[30:78, 96:160, 120:184]


def write_slices(folder: Path, volume) -> None:
    folder.mkdir()
    for z, plane in enumerate(volume):
        tifffile.imwrite(folder / f"slice_{z:04d}.tif", plane)


def test_the_tutorial(tmp_path, crop) -> None:
    write_slices(tmp_path / "slices", crop)
    tifffile.imwrite(tmp_path / "truth.tif", (crop < 100).astype(np.uint8))
    tifffile.imwrite(tmp_path / "fine.tif", np.kron(crop, np.ones((2, 2, 2), np.uint8)))
    cell = tmp_path / "jrc_cell.n5"
    size = {"pixelResolution": {"dimensions": [10.0] * 3, "unit": "nm"}}
    for group in ("", "em", "volumes"):
        n5_group(cell / group, {"n5": "2.0.0"} if not group else {})
    n5_array(cell / "em/fibsem-uint8", crop, {"type": "gzip"}, (32, 32, 32), size)
    near = np.where(crop < 100, 200, 60).astype(np.uint8)
    n5_array(cell / "volumes/mito", near, {"type": "gzip"}, (32, 32, 32), size)
    found = blocks("docs/tutorial.md")
    (larger,) = (text for language, text in found if language == "yaml")
    (tmp_path / "larger.yaml").write_text(larger)
    said = {}
    for language, text in found:
        for line in text.splitlines() if language == "sh" else []:
            said[line] = run(shlex.split(line), tmp_path)
        if language == "python":
            told = script(text, tmp_path)
            assert re.match(r"\d+ mitochondria, \d+ of them", told), told
    assert np.array_equal(zarr.open_array(tmp_path / "fine.zarr/raw/s0", mode="r")[:], crop)
    assert len(said) == 14
    made = ("cell-report/report.html", "scores.json", "refined.zarr/labels/mito", "phantom.csv")
    assert all((tmp_path / name).exists() for name in made)
    assert len((tmp_path / "mitochondria.csv").read_text().splitlines()) > 1


def test_a_network_is_adapted_to_other_data(tmp_path) -> None:
    """The page's commands, in its order, on smaller cells and for two steps."""
    found = blocks("docs/fine-tuning.md")
    (config,) = (text for language, text in found if language == "yaml")
    for whole, small in (("[24, 72]", "[8, 40]"), ("patch: 72", "patch: 24"), ("300", "2")):
        assert whole in config
        config = config.replace(whole, small)
    (tmp_path / "tune.yaml").write_text(config)
    shell = "".join(text for language, text in found if language == "sh")
    for whole, small in (("--size 96,192,192", "--size 48,64,64"),
                         ("nucleus,er,mito,golgi,vesicle,lysosome,LD,microtubules,ribosomes",
                          "nucleus,mito")):  # fmt: skip
        assert shell.count(whole) == 4
        shell = shell.replace(whole, small)
    said = [run(shlex.split(line), tmp_path) for line in shell.splitlines()]
    assert len(said) == 10
    before, after = (json.loads((tmp_path / f"{n}.json").read_text()) for n in ("before", "after"))
    assert 0 <= before["dice"] <= 1 and before["dice"] != after["dice"]
    assert [line.split(",")[0] for line in said if line.startswith("dice")] == [
        f"dice {scores['dice']:.4f}" for scores in (before, after)
    ]


def test_the_readme_with_a_volume(tmp_path, crop) -> None:
    tifffile.imwrite(tmp_path / "volume.tif", crop)
    (shell, *_) = (text for language, text in blocks("README.md", "Your own volume"))
    said = [run(shlex.split(line), tmp_path) for line in shell.splitlines()]
    assert (tmp_path / "cell-report/report.html").is_file()
    assert re.search(r"^labels [0-9a-f]{64}$", said[-1], re.M)


def test_the_readme_while_the_microscope_mills(tmp_path, crop) -> None:
    shutil.copytree(ROOT / "models", tmp_path / "models")
    serve, client, python = (t for _, t in blocks("README.md", "While the microscope mills"))
    write_slices(tmp_path / "acquisition", crop[:32])
    (tmp_path / "acquisition" / "finished.txt").touch()
    with ExitStack() as held:
        for line in serve.splitlines():
            words = shlex.split(line)
            process = subprocess.Popen(
                [PROGRAM, *words[1:]], cwd=tmp_path, stdout=subprocess.PIPE, text=True
            )
            held.callback(process.wait)
            held.callback(process.terminate)
            assert process.stdout is not None
            held.callback(process.stdout.close)
            assert "listening" in process.stdout.readline()
        for line in client.replace("4000,6000", "64,64").splitlines():
            said = run(shlex.split(line), tmp_path)
            if " watch " in line:
                wait_until_complete(tmp_path)
        assert "volume_nm3" in said
        assert script(python, tmp_path).startswith("(32, 64, 64)\n[{'mitochondria':")


def wait_until_complete(folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while True:
        said = run(["fibstream", "status", "cell", "--server", "127.0.0.1", "--json"], folder)
        if '"complete": true' in said:
            return
        assert time.monotonic() < deadline, said
        time.sleep(0.5)
