"""Registrations in the store of a dataset: their reports, and the transforms beside them."""

import contextlib
import json
import tempfile
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from fibstream.core.arrays import Corrupt, decode_arrays
from fibstream.core.dataset import check_name
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import Damaged, NotFound, WrongState, WrongUse
from fibstream.core.keys import digest
from fibstream.core.ports import Files, Generation
from fibstream.core.stage import Arrays
from fibstream.services.registration.answer import Answer, asked_of, facts_of, from_arrays
from fibstream.services.registration.planned import Planned
from fibstream.services.registration.port import MAX_NM
from fibstream.services.registration.transform import Transform
from fibstream.store.shard import decode_blob

from .files import ITK_FILES, read_transform

FOLDER, REPORT, LM = "registration", "report.json", "lm"
CALLED = "answer"  # beside where the command writes its report: what a call found
STREAMED = "summaries/registration"
STATUSES = ("registered", "check", "unregistered")
MAX_REPORT = 1 << 20  # bytes: a thousand times a report
MAX_TRANSFORM = 256 << 20  # bytes: coefficients of 64 x 64 x 20 um take a hundredth
MAX_KEPT = 4  # transforms in memory

Decoded = TypeVar("Decoded")


class Stored(NamedTuple):
    """One registration: its name, its report as text and as values, and what it is a version of.

    ``answer`` is that of a stage of the dataset or of a call, None of one that the command wrote;
    ``planned`` is what a call asked for.
    """

    name: str
    text: str
    report: Mapping[str, Any]
    generation: Generation
    answer: Answer | None = None
    planned: Planned | None = None

    @property
    def version(self) -> str:
        """What names its content: another one has another."""
        return digest(self.text.encode(), repr(self.generation if self.answer else ()).encode())


def names_of(files: Files) -> list[str]:
    """Return the names of the registrations of a dataset, sorted."""
    parts = (path.split("/") for path in files.list(FOLDER))
    found = (each[1] for each in parts if len(each) == 3 and each[2] in (REPORT, CALLED))
    names = {name for name in found if _is_name(name)}
    streamed = (path.rpartition("/")[2] for path in files.list(STREAMED))
    names.update(name for name in streamed if _is_name(name))
    return sorted(names)


def find(files: Files, dataset: str, name: str) -> Stored:
    """Return one registration; raise NotFound with the names of those there are."""
    found = look(files, name)
    if found is None:
        known = listed(names_of(files)) or "none"
        raise NotFound(f"registration {echo(name)}: {dataset} has {known}")
    return found


def look(files: Files, name: str) -> Stored | None:
    """Return one registration, or None.

    Raises WrongUse for what is no name, and Damaged for a report that is none.
    """
    try:
        path = f"{FOLDER}/{check_name(name)}/{REPORT}"
    except ValueError as error:
        raise WrongUse(f"registration: {error}") from None
    if (answered := _streamed(files, name) or _called(files, name)) is not None:
        return answered
    read = read_file(files, path, MAX_REPORT)
    if read is None:
        return None
    data, generation = read
    try:
        text = data.decode()
        report = json.loads(text)
        _check(report["judgement"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Damaged(f"{path}: no report of a registration: {cut(str(error))}") from None
    return Stored(name, text, report, generation)


def _streamed(files: Files, name: str) -> Stored | None:
    """Return what the stage of a name found last, or None."""
    found = answered(files, f"{STREAMED}/{name}")
    if found is None:
        return None
    answer, content = found
    report = _report(name, answer)
    return Stored(name, json.dumps(report), report, (int(content, 16),), answer)


def called_path(name: str) -> str:
    """Return the path of what a call found."""
    return f"{FOLDER}/{name}/{CALLED}"


def _called(files: Files, name: str) -> Stored | None:
    """Return what a call found under a name, or None."""
    path = called_path(name)
    found = _answer(files, path, lambda a: (from_arrays(a), Planned.model_validate(asked_of(a))))
    if found is None:
        return None
    (answer, planned), content = found
    more = {
        "prediction": planned.source, "light": planned.light.file, "psf_nm": planned.psf_nm,
        "smooth_nm": planned.smooth_nm, "window": planned.window,
    }  # fmt: skip
    report = _report(name, answer) | more
    return Stored(name, json.dumps(report), report, (int(content, 16),), answer, planned)


def _report(name: str, answer: Answer) -> dict[str, Any]:
    return {"name": name, **facts_of(answer)}


def answered(files: Files, path: str) -> tuple[Answer, str] | None:
    """Return what a stage found, with its content hash, or None where nothing is there.

    Raises Damaged for what no stage wrote.
    """
    return _answer(files, path, from_arrays)


def _answer(
    files: Files, path: str, decode: Callable[[Arrays], Decoded]
) -> tuple[Decoded, str] | None:
    """Return what a file of arrays holds, with its content hash, or None where there is none."""
    read = read_file(files, path, MAX_TRANSFORM)
    if read is None:
        return None
    found = decode_blob(read[0])
    if found is None:
        raise Damaged(f"{path}: damaged; expected what a stage of registration writes")
    try:
        return decode(decode_arrays(found[0])), found[1].hash
    except (Corrupt, ValueError, KeyError, TypeError) as error:
        raise Damaged(f"{path}: no registration: {cut(str(error))}") from None


def check_registered(found: Stored) -> None:
    """Raise WrongState for a registration that has no transform."""
    if found.report["judgement"]["status"] == "unregistered":
        raise WrongState(f"registration {found.name}: is unregistered, and has no transform")


def _check(judgement: Mapping[str, Any]) -> None:
    """Raise ValueError for what a message cannot say."""
    status, reasons, error = (judgement[key] for key in ("status", "reasons", "error_nm"))
    if status not in STATUSES:
        raise ValueError(f"status {echo(status)}")
    if not (isinstance(reasons, list) and all(isinstance(each, str) for each in reasons)):
        raise ValueError(f"reasons {echo(reasons)}")
    "".join(reasons).encode()  # half of a surrogate pair is no text
    if not (error is None or (isinstance(error, float | int) and abs(error) <= MAX_NM)):
        raise ValueError(f"error_nm {echo(error)}")


class Transforms:
    """The transforms that were last used, read once for each version of their report."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, str, Generation], Transform] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, files: Files, dataset: str, found: Stored) -> Transform:
        """Return a transform; raise WrongState where the registration has none."""
        check_registered(found)
        if found.answer is not None:
            assert found.answer.found is not None  # else it is unregistered
            return found.answer.found.transform
        key = dataset, found.name, found.generation
        with self._lock:
            if key not in self._kept:
                self._kept[key] = _transform(files, found.name)
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
            return self._kept[key]


def _transform(files: Files, name: str) -> Transform:
    path = f"{FOLDER}/{name}/{ITK_FILES[0]}"
    read = read_file(files, path, MAX_TRANSFORM)
    if read is None:
        raise Damaged(f"{path}: is not there, though the report is")
    with tempfile.TemporaryDirectory() as folder:  # ITK reads files alone
        copy = Path(folder) / ITK_FILES[0]
        copy.write_bytes(read[0])
        try:
            return read_transform(copy)
        except WrongUse as error:
            raise Damaged(f"{path}: {cut(str(error).partition(': ')[2], 200)}") from None


def read_file(files: Files, path: str, most: int) -> tuple[bytes, Generation] | None:
    """Return a file with its generation, or None; raise Damaged for more than ``most`` bytes."""
    handle = files.open(path)
    if handle is None:
        return None
    with contextlib.closing(handle):
        if handle.size > most:
            raise Damaged(f"{path}: {handle.size} bytes; at most {most} are read")
        return handle.read(0, handle.size), handle.generation


def _is_name(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return bool(check_name(name))
    return False
