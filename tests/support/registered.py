"""A registration in a dataset's folder, as `fibstream register` leaves one, of a few voxels."""

import json
import shutil
from pathlib import Path

import numpy as np

from fibstream.cli.registered import write_light
from fibstream.services.registration.edges.files import write_transform
from fibstream.services.registration.port import Image
from fibstream.services.registration.transform import Transform

NM = (64.0, 64.0, 64.0)


def put_registration(dataset: Path) -> None:
    """Write the registration `sim`, whose transform is the identity, into a dataset's folder."""
    place = dataset / "registration/sim"
    place.mkdir(parents=True)
    same = Transform(np.eye(3), np.zeros(3))
    write_transform(place / "transform.h5", same)
    image = Image(np.arange(512, dtype=np.uint16).reshape(8, 8, 8), NM)
    scratch = dataset.with_suffix(".scratch")  # the command writes documents of the root, too
    scratch.mkdir()
    write_light(scratch, "lm/sim", same, (image, image))
    shutil.move(scratch / "lm", dataset / "lm")
    shutil.rmtree(scratch)
    judgement = {"status": "registered", "reasons": [], "error_nm": 80.0}
    em = {"shape": (8, 8, 8), "voxel_nm": NM, "corner_nm": (0.0, 0.0, 0.0)}
    report = {"name": "sim", "judgement": judgement, "em": em}
    (place / "report.json").write_text(json.dumps(report))
