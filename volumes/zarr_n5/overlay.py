"""Arrays that tensorstore opens with metadata of ours in place of the stored ones.

tensorstore refuses members of metadata that it does not know, so it is given only those that it
needs to decode.
"""

import json
from collections.abc import Mapping
from typing import Any


def open_with(store: Any, driver: str, file: str, metadata: Mapping[str, Any], context: Any) -> Any:
    """Return an array as a tensorstore, opened with ``metadata`` in place of those in ``file``.

    ``store`` is the tensorstore.KvStore of the array, whose path ends with /.
    """
    import tensorstore

    # A layer above the store hides the file.
    overlay = tensorstore.KvStore.open("memory://overlay/", context=context).result()
    overlay.write(file, json.dumps(metadata)).result()
    layers = [
        {"base": store.spec().to_json()},
        {"base": f"memory://overlay/{file}", "exact": file},
    ]
    spec = {"driver": driver, "kvstore": {"driver": "kvstack", "layers": layers}}
    return tensorstore.open(spec, open=True, read=True, context=context).result()
