"""The work of ``calibrate``: a network's file with the values that its convolutions read."""

import os
from functools import partial
from pathlib import Path

from fibstream.app.calibrating import observe, places
from fibstream.core.echo import cut
from fibstream.core.errors import WrongUse
from fibstream.runtime.settings import Settings
from fibstream.services.inference.edges.int8 import calibration, with_calibration
from fibstream.services.inference.edges.model import find_model, read_network
from fibstream.services.inference.edges.observing import Observer
from fibstream.services.inference.quantised import MAX_TEXT

from .outputs import check_file, write_file
from .progress import track
from .seeing import RawFlags, open_raw, view_of

MAX_TILES = 1024  # half an hour of a core with the released network


def calibrate_network(
    model: str, raw: RawFlags, out: Path, *, tiles: int, seed: int, settings: Settings
) -> str:
    """Write a network with its calibration; return one line that says what it was made on."""
    if out.suffix != ".onnx":
        raise WrongUse(f"--out {out}: expected FILE.onnx")
    if not 1 <= tiles <= MAX_TILES:
        raise WrongUse(f"--tiles {tiles}: expected 1 to {MAX_TILES}")
    if not 0 <= seed < 2**63:
        raise WrongUse(f"--seed {seed}: expected a whole number from 0 on")
    path = find_model(model)
    check_file(out, inputs=[path, raw.path])
    spec, file = read_network(path)
    source = open_raw(raw, spec)
    view = view_of(raw, source)
    observer = Observer(path, max(settings.threads, os.cpu_count() or 1))
    cores = places(source.shape, spec, tiles, seed)
    observe(source, view, observer, cores, partial(track, what="calibrated"))
    name = cut(Path(raw.path.partition("#")[0]).name, MAX_TEXT)
    content = {
        "volume": name, "contrast": view.window, "inverted": view.invert, "seed": seed,
        "tiles": observer.tiles, "sha256": observer.sha256, "ranges": observer.ranges,
    }  # fmt: skip
    found = calibration(f"model {path}", content)
    write_file(out, with_calibration(path, file, found))
    return f"{out}: int8 by {len(found.ranges)} ranges, of {found.tiles} tiles of {name}"
