"""`fibstream view` used wrongly, and as a process: its address, and how it ends."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import tensorstore

from fibstream.cli.view import serving
from fibstream.cli.viewer.opening import open_viewable
from fibstream.cli.viewer.state import layer_state
from fibstream.core.dataset import RECORD
from fibstream.core.errors import WrongUse

from ..support.patience import PATIENCE_S
from .viewing import Browser, named


def test_a_path_that_cannot_be_shown_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "x.zarr/provenance").mkdir(parents=True)
    (tmp_path / "x.zarr" / RECORD).write_text("{}")
    (tmp_path / "file.tif").write_bytes(b"x")
    for name in ("nothing.zarr", "folder", "x.zarr", "file.tif", "nothing#raw"):
        with pytest.raises(WrongUse, match=name.partition("#")[0]), serving(str(tmp_path / name)):
            pass


def test_a_bucket_is_refused() -> None:
    with pytest.raises(WrongUse, match="s3://bucket/x: lies in a bucket"):
        open_viewable("s3://bucket/x")


def test_an_array_without_a_voxel_size_asks_for_one(tmp_path: Path) -> None:
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(tmp_path / "a.zarr")}}
    tensorstore.open(spec, create=True, dtype="uint16", shape=(6, 7, 8)).result()[...] = 300
    with pytest.raises(WrongUse, match="voxel size"):
        open_viewable(str(tmp_path / "a.zarr"))
    found = open_viewable(str(tmp_path / "a.zarr"), (4.0, 3.0, 2.0)).scene("D{}/".format, named)
    (layer,) = found.layers
    assert layer.transform is not None
    axes = layer.transform["outputDimensions"]
    assert layer.transform["inputDimensions"] == axes  # else a voxel is taken for a metre
    assert {axis: (round(s * 1e9, 6), unit) for axis, (s, unit) in axes.items()} == {
        "z": (4, "m"), "y": (3, "m"), "x": (2, "m")
    }  # fmt: skip
    assert layer_state(layer)["source"] == [{"url": "D/|zarr3:", "transform": layer.transform}]
    assert (layer.kind, layer.window, found.voxel_size_nm) == ("raw", (300, 301), (4, 3, 2))


def test_an_address_that_cannot_be_listened_on_is_named(finished: Path) -> None:
    with serving(str(finished)) as (_, url):
        taken = urlsplit(url).port
        assert taken is not None
        with pytest.raises(WrongUse, match=f"--port {taken}"), serving(str(finished), port=taken):
            pass
    for host, port in (("192.0.2.1", 0), ("no such host", 0), ("127.0.0.1", 70_000)):
        with pytest.raises(WrongUse), serving(str(finished), host=host, port=port):
            pass


RUN = """
import sys
from fibstream.cli.view import view
view(sys.argv[1], host="127.0.0.1", port=0, browser=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_its_address_and_ends_at_a_signal(finished: Path, number: signal.Signals) -> None:
    without = {name: value for name, value in os.environ.items() if "DISPLAY" not in name}
    process = subprocess.Popen(
        [sys.executable, "-c", RUN, str(finished)], env=without, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None and process.stderr is not None
    url = process.stdout.readline().strip()
    status, _, body = Browser(url)("/v/TOKEN/")
    assert (status, b"neuroglancer" in body) == (200, True)
    assert "no browser found" in process.stderr.readline()
    process.send_signal(number)
    assert process.communicate(timeout=PATIENCE_S) == ("", "")
    assert process.returncode == 0
