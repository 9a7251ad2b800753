"""`fibstream register --landmarks`: a person's landmarks, followed and judged."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fibstream.core.errors import Damaged, WrongUse
from fibstream.services.registration.corrected import corrected
from fibstream.services.registration.edges.files import ITK_FILES, read_transform
from fibstream.services.registration.edges.stored import FOLDER, STREAMED, look
from fibstream.services.registration.exchange import Landmarks, bigwarp_rows
from fibstream.services.registration.port import Registration
from fibstream.services.registration.refit import MOVED_NM
from fibstream.services.registration.settings import Microscope, Settings
from fibstream.services.registration.transform import Transform
from fibstream.store.local import LocalFiles

from .registered import Named, described

MAX_TABLE = 16 << 20  # bytes: 100,000 rows of 160


class Earlier(NamedTuple):
    """What landmarks correct: a transform, and its gap to the next orientation."""

    transform: Transform
    gap: float


def read_landmarks(path: Path) -> Landmarks:
    """Return the active rows of a BigWarp table, nm; raise WrongUse for a file that is none."""
    try:
        if path.stat().st_size > MAX_TABLE:
            raise WrongUse(f"--landmarks {path}: expected at most {MAX_TABLE >> 20} MB")
        return bigwarp_rows(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "no text"
        raise WrongUse(f"--landmarks {path}: {why}; expected a table of BigWarp") from None


def read_earlier(out: Path, name: str, em: Named, light: Named) -> Earlier | None:
    """Return what ``out`` has under a name of these two images; None: nothing, or unregistered.

    Raises
    ------
    WrongUse
        It is of other images, of a pipeline, or cannot be read.
    """
    if (out / STREAMED / name).exists():
        raise WrongUse(f"--out {out}: {FOLDER}/{name} is of the pipeline; give --name")
    try:
        found = look(LocalFiles(out), name) if out.is_dir() else None
    except Damaged as error:
        raise WrongUse(f"--out {out}: {error}") from None
    if found is None:
        return None
    for key, named in (("em", em), ("light", light)):
        if found.report.get(key, {}).get("hash") != described(named)["hash"]:
            raise WrongUse(f"--out {out}: {FOLDER}/{name} is of another {key} image; give --name")
    judgement = found.report["judgement"]
    if judgement["status"] == "unregistered":
        return None
    return Earlier(read_transform(out / FOLDER / name / ITK_FILES[0]), float(judgement["gap"]))


def follow(
    landmarks: Landmarks, earlier: Earlier | None, em: Named, light: Named,
    by: tuple[Microscope, Settings],
) -> tuple[Registration, dict[str, Any]]:  # fmt: skip
    """Return the registration that landmarks give, and what its report says of them."""
    found = corrected(em.image, light.image, landmarks, *by, earlier=earlier)
    facts: dict[str, Any] = {"rows": len(landmarks.names), "moved": None}
    if earlier is not None:
        off = earlier.transform.to_light(landmarks.target) - landmarks.moving
        facts["moved"] = int((np.sqrt((off * off).sum(axis=1)) >= MOVED_NM).sum())
    return found, facts
