"""Registrations that a client asks for, of a finished prediction and a light image below a root."""

import contextlib
import math
import threading
from collections.abc import Sequence
from typing import Any

import grpc
import numpy as np
from pydantic import ValidationError

from fibstream.core.arrays import encode_arrays
from fibstream.core.dataset import Dataset
from fibstream.core.echo import cut, echo, listed
from fibstream.core.errors import AlreadyExists, LimitExceeded, NotFound, WrongState, WrongUse
from fibstream.core.grid import Grid
from fibstream.core.keys import canonical, digest
from fibstream.core.ports import Files, Generation
from fibstream.core.pyramid import level_box
from fibstream.core.subject import WHOLE
from fibstream.runtime.calls import held
from fibstream.runtime.root import Root
from fibstream.services.registration.answer import Answer, to_arrays
from fibstream.services.registration.coarse import coarse_of
from fibstream.services.registration.planned import Asked, Planned, name_of, registrations_of
from fibstream.services.registration.streamed import Known, answer_of
from fibstream.store.gate import gate_of
from fibstream.store.shard import Stamp, encode_blob
from fibstream.store.store import Store

from .images import read_prediction
from .jobs import Job, Jobs, Where
from .lights import kept, take
from .stored import called_path, look

LIGHTS = "provenance/lights"
MAX_LIGHTS = 64  # that a dataset keeps: each is up to a gigabyte
MAX_VOXELS = 1 << 25  # of a prediction at about 64 nm: with 120 bytes each 4 GB
STAGE = "register"  # in the stamp of an answer: no stage has that name


class Requested:
    """Takes what clients ask for, and computes it; reads light images below ``sources`` alone."""

    def __init__(self, root: Root, sources: Sequence[str]) -> None:
        self._root = root
        self._gate = gate_of(sources)
        self._alone = threading.Lock()  # a light image takes a gigabyte, twice while it is encoded
        self.jobs = Jobs(self._run)

    def start(
        self, dataset: Dataset, given: dict[str, Any], context: grpc.ServicerContext, *,
        replace: bool,
    ) -> tuple[str, bool]:  # fmt: skip
        """Start a registration; return its name, and whether there was not the same already.

        Raises
        ------
        WrongUse
            A setting or a light image that is of no use, or no prediction of the dataset.
        WrongState
            The prediction is not finished.
        AlreadyExists
            Another registration has the name.
        LimitExceeded
            Too large, or too many are under way.
        """
        asked = _asked(given)
        files = self._root.files(dataset.name)
        _check_name(dataset, asked.name)
        check_finished(dataset, files, asked.source)
        self.jobs.check_room()  # before gigabytes are read
        with held(self._alone, context):
            taken = take(asked, self._gate)
            planned = Planned.model_validate(taken.entry)
            key = _key(planned)
            if self._is_there(files, dataset, planned.name, key, replace=replace):
                return planned.name, False
            _check_lights(files, planned)
            self.jobs.check_room()
            for path, data in taken.files.items():
                files.put(path, data)
            before = _generation(files, called_path(planned.name))
            self.jobs.start(Job(_where(dataset, planned.name), planned, key, before))
        return planned.name, True

    def _is_there(
        self, files: Files, dataset: Dataset, name: str, key: str, *, replace: bool
    ) -> bool:
        """Whether the same registration is under way or found; raise AlreadyExists for another."""
        state = self.jobs.find(_where(dataset, name))
        if state is not None and state.status != "failed":
            if state.job.key == key:
                return True
            raise AlreadyExists(f"registration {name}: another one of that name is under way")
        found = look(files, name)
        if found is None:
            return False
        if found.planned is None:
            raise AlreadyExists(f"registration {name}: is there, and no call made it")
        if replace:
            return False
        if _key(found.planned) == key:
            return True
        raise AlreadyExists(
            f"registration {name}: is there, with other settings; replace says that it may go"
        )

    def _run(self, job: Job) -> None:
        """Compute a registration and keep what was found."""
        dataset, files = self._present(job), self._root.files(job.where[0])
        answer = computed(self._root, dataset, files, job.planned)
        self._present(job)
        path = called_path(job.planned.name)
        if not files.put(path, encoded(answer, job.planned, job.key), expected=job.before):
            raise WrongState(f"registration {job.planned.name}: another was written meanwhile")

    def _present(self, job: Job) -> Dataset:
        """Return the dataset of a job; raise NotFound where another has its name by now."""
        dataset = self._root.dataset(job.where[0])
        if dataset.incarnation != job.where[1]:
            raise NotFound(f"dataset {dataset.name}: was deleted meanwhile")
        return dataset


def computed(root: Root, dataset: Dataset, files: Files, planned: Planned) -> Answer:
    """Return what `fibstream register` finds in a dataset: the same, to the bit."""
    check_finished(dataset, files, planned.source)  # it may have been changed since
    prediction = dataset.prediction(planned.source)
    em = read_prediction(f"{root.url_of(dataset.name)}#{prediction.path}").image
    light = kept(files, planned.light)
    known = Known(em, np.ones(em.voxels.shape, np.bool_), 1.0)
    answer = answer_of(known, light, (planned.microscope, planned.settings))
    return answer._replace(light=planned.light.hash)


def encoded(answer: Answer, planned: Planned, key: str) -> bytes:
    """Return the file of an answer with what was asked for."""
    body = encode_arrays(to_arrays(answer, planned.model_dump(mode="json")))
    return encode_blob(body, Stamp(STAGE, WHOLE, key, digest(body)))


def check_finished(dataset: Dataset, files: Files, name: str) -> None:
    """Raise WrongState unless all of a prediction is there, at the level that is read.

    Raises NotFound where the dataset has no such prediction, LimitExceeded where it is too large.
    """
    known = [p.name for p in dataset.predictions]
    if name not in known:
        raise NotFound(f"prediction {echo(name)}: {dataset.name} has {listed(known)}")
    if dataset.shape[0] is None:
        raise WrongState(
            f"dataset {dataset.name}: z is open; seal it first, or let its pipeline register"
        )
    coarse = coarse_of(dataset.voxel_size_nm, dataset.chunk)
    shape = level_box(dataset.grid.volume, coarse.level + coarse.halvings).shape
    count = math.prod(-(-n // f) for n, f in zip(shape, coarse.factors, strict=True))
    if count > MAX_VOXELS:
        raise LimitExceeded(
            f"prediction {name}: {count} voxels of about 64 nm; at most {MAX_VOXELS} in a call: let"
            " the pipeline register"
        )
    grid: Grid = dataset.grid
    there = set(Store(files, grid).chunks(dataset.prediction(name).path, coarse.level))
    missing = sum(index not in there for index in grid.indices())
    if missing:
        raise WrongState(
            f"prediction {name}: {missing} of {math.prod(grid.count)} chunks are not there yet, at"
            f" level {coarse.level}"
        )


def _asked(given: dict[str, Any]) -> Asked:
    """Return a request with its name; raise WrongUse for a field that is of no use."""
    if not given["light"]:
        raise WrongUse("light: expected a volume below the service's --source")
    try:
        return Asked.model_validate(given | {"name": given["name"] or name_of(given["light"])})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = {"from": "prediction"}.get(str(first["loc"][0]), ".".join(map(str, first["loc"])))
        wrong = first["msg"].removeprefix("Value error, ")
        raise WrongUse(f"{field}: {cut(wrong, 200)}") from None


def _check_name(dataset: Dataset, name: str) -> None:
    """Raise AlreadyExists for the name of a registration of the dataset's pipeline."""
    if name.lower() in (each.name.lower() for each in registrations_of(dataset)):
        raise AlreadyExists(f"registration {name}: the dataset's pipeline has one of that name")


def _check_lights(files: Files, planned: Planned) -> None:
    """Raise LimitExceeded where a dataset keeps too many light images for a further one."""
    there = set(files.list(LIGHTS))
    if planned.light.path not in there and len(there) >= MAX_LIGHTS:
        raise LimitExceeded(f"{len(there)} light images: a dataset keeps at most {MAX_LIGHTS}")


def _where(dataset: Dataset, name: str) -> Where:
    return dataset.name, dataset.incarnation, name


def _key(planned: Planned) -> str:
    """Name a request: what its file was called changes nothing."""
    values = planned.model_dump(mode="json")
    values["light"].pop("file")
    return digest(canonical(values))


def _generation(files: Files, path: str) -> Generation:
    handle = files.open(path)
    if handle is None:
        return ()
    with contextlib.closing(handle):
        return handle.generation
