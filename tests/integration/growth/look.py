"""Prints what an installation, and a dataset that it has made, list; run by test_growth.py."""

import json
import sys
from pathlib import Path

import fibstream
from fibstream import registry
from fibstream.app.catalogue import outputs
from fibstream.bus import topics, wire
from fibstream.cli.viewer.opening import open_viewable
from fibstream.services.refine.recipe import recipes
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Store

path = Path(sys.argv[1])
files = LocalFiles(path)
dataset = read_dataset(files)
found: dict[str, object] = {
    "package": str(Path(fibstream.__file__).parent),
    "recipes": list(recipes()),
    "services": list(registry.names()),
    "ledger": list(wire.ledger_topics()),
    "topics": [topic.name for topic in topics.declared()],
    "catalogue": sorted(
        {place[0] for place, _ in outputs(dataset, files, Store(files, dataset.grid))}
    ),
    "viewer": open_viewable(str(path)).groups(),
}
layers = open_viewable(str(path)).scene(str, "{} {}".format).layers
found["grey"] = {
    layer.name: [layer.kind, layer.hidden, layer.window]
    for layer in layers
    if layer.name.startswith("brightness/")
}
try:
    wire.ledger_topic("sightings/a")
except ValueError as error:
    found["refused"] = str(error)
sys.stdout.write(json.dumps(found))
