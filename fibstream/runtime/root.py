"""The datasets below one root: their folders, their catalogue, and their buses."""

import contextlib
import os
import re
import shutil
import threading
import uuid
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from fibstream.bus import wire
from fibstream.bus.creation import CreationBus
from fibstream.bus.memory import MemoryBus
from fibstream.bus.sqlite import SqliteBus
from fibstream.core.dataset import RECORD, Dataset
from fibstream.core.echo import echo
from fibstream.core.errors import Damaged, NotFound, Retryable, WrongUse
from fibstream.core.ports import Bus, Files, Generation
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.remote import open_files
from fibstream.store.store import Store

from .quarantine import Reports
from .site import Site, software

SUFFIX = ".zarr"
SWEEPS = 3  # of a bucket: a worker may put its last output meanwhile
DELETED = ".deleted"
MAX_IDLE = 16  # embedded buses kept open between calls: as many as usual concurrent calls
DEPLOYMENT = "catalogue.team"  # file with a name drawn by the first process that uses a root
MAX_FOREIGN = 100  # files in the catalogue that are none of ours, and are named
CATALOGUE = "catalogue"  # one empty file per dataset: an object store cannot list folders cheaply
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def bus_path(root: Path) -> Path:
    """Return where a dataset keeps its embedded bus."""
    return root / PRIVATE / "bus.sqlite"


def open_bus(
    url: str | None, root: Path, dataset: str | None = None, creation: str = "", *,
    private: bool = False, deployment: str = "",
) -> Bus:  # fmt: skip
    """Open the bus that a URL names; the embedded one of the dataset in ``root`` by default.

    ``dataset`` and its ``creation`` narrow a bus that datasets share to one of them; ``private``:
    its tasks are for this dataset's own workers alone; ``deployment``: they are for the workers of
    one root.
    """
    scheme, colon, rest = (url or f"sqlite:{bus_path(root)}").partition(":")
    if colon and scheme == "sqlite" and rest:
        return SqliteBus(Path(rest))
    if colon and scheme == "memory" and not rest:
        return MemoryBus()
    if url and is_kafka(url):
        from fibstream.bus.kafka import KafkaBus  # its client takes half a second to import

        scope = None if dataset is None else wire.owner(dataset, creation)
        bus = KafkaBus(servers_of(url), scope, private=private, deployment=deployment)
        return bus if dataset is None or not creation else CreationBus(bus, dataset, creation)
    raise WrongUse(f"--bus {url}: expected sqlite:PATH, kafka://HOST:PORT[,HOST:PORT] or memory:")


def is_kafka(url: str | None) -> bool:
    """Whether a bus is one that datasets share."""
    return url is not None and url.startswith("kafka://")


def servers_of(url: str) -> str:
    """Return the brokers that ``kafka://HOST:PORT,..`` names."""
    return url.removeprefix("kafka://")


def check_name(name: str) -> str:
    """Return a dataset's name; raise WrongUse when it is not safe as the name of one folder."""
    if not is_name(name):
        raise WrongUse(
            f"dataset {echo(name, 60)}: expected at most 128 letters, digits, '.', '-' and '_',"
            f" a letter or digit first, and no {SUFFIX} at the end, which its folder gets"
        )
    return name


def is_name(name: str) -> bool:
    """Whether a dataset may have a name."""
    return _NAME.fullmatch(name) is not None and not name.endswith(SUFFIX)


class Listed(NamedTuple):
    """What is in a catalogue: names of datasets, and files that are none, each with a reason."""

    names: set[str]
    foreign: Mapping[str, str]


class OneDataset:
    """One dataset in any folder, served as if it were the only one below a root."""

    single = True

    def __init__(self, path: Path, bus_url: str | None = None) -> None:
        self._path = path
        self._bus_url = bus_url
        record = read_dataset(LocalFiles(path))
        self._name, self._creation = record.name, record.incarnation

    @property
    def shared(self) -> bool:
        """Whether its bus is one that datasets share."""
        return is_kafka(self._bus_url)

    def names(self) -> list[str]:
        """Return the one name."""
        return [self._name]

    def listed(self) -> Listed:
        """Return the one name."""
        return Listed({self._name}, {})

    def dataset(self, name: str) -> Dataset:
        """Read its record, of the creation that it was when this was made."""
        found = read_dataset(self.files(name))
        if (found.name, found.incarnation) != (name, self._creation):
            raise Damaged(f"{self._path}: it is another dataset now, {found.name}")
        return found

    def report(self, service: str, reasons: Mapping[str, str]) -> None:
        """Do nothing: what fails in the only dataset ends its process."""

    def files(self, name: str) -> Files:  # noqa: ARG002
        """Return the dataset's files."""
        return LocalFiles(self._path)

    def exists(self, name: str) -> bool:
        """Whether it is the one."""
        return name == self._name

    def generation(self, name: str) -> Generation | None:
        """Return that of its record; None without one."""
        return _generation(self.files(name))

    def bus(self, name: str, creation: str | None = None) -> Bus:  # noqa: ARG002
        """Open its bus; the caller closes it."""
        given = self._creation if creation is None else creation
        return open_bus(self._bus_url, self._path, self._name, given, private=True)

    def shared_bus(self) -> Bus | None:
        """Open the bus whose queues hold tasks of several datasets, if it is such a bus."""
        owner = wire.owner(self._name, self._creation)
        return open_bus(self._bus_url, self._path, owner, private=True) if self.shared else None


class Root:
    """A folder or an object store's prefix with datasets, ``NAME.zarr`` each."""

    single = False

    def __init__(self, url: str, bus_url: str | None = None) -> None:
        self.url = url.rstrip("/") or "/"
        self.bus_url = bus_url
        self._files = open_files(self.url)
        self._idle: list[tuple[str, SqliteBus]] = []  # open, not in use; the last used last
        self._lock = threading.Lock()
        self._reports = Reports(self._files)
        if self.local is None and not self.shared:
            raise WrongUse(f"--root {url}: an object store needs --bus kafka://HOST:PORT")

    @property
    def local(self) -> Path | None:
        """The root as a folder, if it is one."""
        return None if "://" in self.url else Path(self.url).absolute()

    @property
    def shared(self) -> bool:
        """Whether all datasets share one bus."""
        return is_kafka(self.bus_url)

    def names(self) -> list[str]:
        """Return the names of all datasets that were created below this root, sorted."""
        return sorted(self.listed().names)

    def listed(self) -> Listed:
        """Return what is in the catalogue; anybody may have put files there."""
        names, foreign = set[str](), dict[str, str]()
        for path in self._files.list(CATALOGUE):
            name = path.removeprefix(f"{CATALOGUE}/")
            if is_name(name):
                names.add(name)
            elif len(foreign) < MAX_FOREIGN:
                foreign[name] = f"{echo(path)}: not the name of a dataset; remove the file"
        return Listed(names, foreign)

    def report(self, service: str, reasons: Mapping[str, str]) -> None:
        """Tell all services which datasets the planner of one leaves alone."""
        self._reports.put(service, reasons)

    def quarantined(self) -> Mapping[str, str]:
        """Return the datasets that planners leave alone, and why."""
        return self._reports.read()

    def make(self, name: str) -> None:
        """Make the folder of a dataset; on an object store there are none."""
        if self.local is not None:
            Path(self.url_of(name)).mkdir(parents=True, exist_ok=True)

    def enter(self, name: str) -> None:
        """Add a dataset to the catalogue: from now on the services serve it."""
        self._files.put(f"{CATALOGUE}/{check_name(name)}", b"")

    def leave(self, name: str) -> None:
        """Remove a dataset from the catalogue."""
        self._files.delete(f"{CATALOGUE}/{check_name(name)}")

    def remove(self, name: str) -> None:
        """Delete a dataset, damaged or not: a folder at once, on an object store first the record.

        A file in the catalogue that is no dataset's is removed by its name, too.
        """
        if not is_name(name) and name in self.listed().foreign:
            self._files.delete(f"{CATALOGUE}/{name}")
            return
        if not self._is_there(check_name(name)):
            raise NotFound(f"dataset {name!r}: not found")
        self.leave(name)
        if self.local is not None:
            _remove_folder(Path(self.url_of(name)))
            return
        files = self.files(name)
        files.delete(RECORD)
        for _ in range(SWEEPS):
            for path in list(files.list("")):
                files.delete(path)

    def _is_there(self, name: str) -> bool:
        """Whether a dataset has an entry in the catalogue, a record, or what is left of them."""
        if name in self.listed().names:
            return True
        if self.local is not None:
            return os.path.lexists(self.url_of(name))
        return self.exists(name)

    def url_of(self, name: str) -> str:
        """Return the path or URL of a dataset, whether or not it exists."""
        return f"{self.url.rstrip('/')}/{check_name(name)}{SUFFIX}"

    def files(self, name: str) -> Files:
        """Return the files of a dataset, whether or not it exists."""
        return open_files(self.url_of(name))

    def dataset(self, name: str, files: Files | None = None) -> Dataset:
        """Read a dataset's record, of its ``files`` if given.

        Raises NotFound when there is none, Damaged when it is none.
        """
        try:
            found = read_dataset(files or self.files(name))
        except NotFound:
            raise NotFound(f"dataset {echo(name)}: not found") from None
        except Damaged as error:
            raise Damaged(f"dataset {echo(name)}: {error}") from None
        if found.name != name:
            raise Damaged(f"dataset {echo(name)}: {RECORD}: it is that of {echo(found.name)}")
        return found

    def exists(self, name: str) -> bool:
        """Whether a dataset has a record."""
        return self.generation(name) is not None

    def generation(self, name: str) -> Generation | None:
        """Return that of a dataset's record, another after each put; None without a record."""
        return _generation(self.files(name))

    def bus(self, name: str, creation: str | None = None) -> Bus:
        """Open the bus as one dataset uses it; the caller closes it.

        Where datasets share it, it is that of a ``creation``: of the one that the record has now
        unless given.
        """
        if creation is None:
            creation = self.dataset(name).incarnation if self.shared else ""
        folder = Path(self.url_of(name)) if self.local else Path()
        return open_bus(self.bus_url, folder, name, creation, deployment=self.deployment)

    def shared_bus(self) -> Bus | None:
        """Open the bus whose queues hold tasks of all datasets, if there is one."""
        return open_bus(self.bus_url, Path(), deployment=self.deployment) if self.shared else None

    @cached_property
    def deployment(self) -> str:
        """The name under which this root's workers share tasks; roots may share a broker."""
        if not self.shared:
            return ""
        handle = self._files.open(DEPLOYMENT)
        if handle is None:
            drawn = uuid.uuid4().hex[:12]
            self._skip_earlier(drawn)  # first: who finds the name may take tasks at once
            self._files.put(DEPLOYMENT, drawn.encode(), expected=())
            handle = self._files.open(DEPLOYMENT)
        assert handle is not None
        with contextlib.closing(handle):
            return handle.read(0, handle.size).decode()

    def _skip_earlier(self, deployment: str) -> None:
        """Let a new deployment begin after what was sent before, which is for others."""
        from fibstream.bus.kafka import KafkaBus

        with contextlib.closing(
            KafkaBus(servers_of(self.bus_url or ""), deployment=deployment)
        ) as bus:
            bus.skip()

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[tuple[Dataset, Site]]:
        """Open a dataset's store and bus for one call or stream.

        An embedded bus stays open for later calls: closing its last connection writes the log
        back and syncs, which takes longer than most calls.
        """
        files = self.files(name)  # before the record: what is written is written where it was read
        dataset = self.dataset(name, files)
        bus = self._reuse(name) or self.bus(name, dataset.incarnation)
        try:
            store = Store(files, dataset.grid)
            yield dataset, Site(dataset.name, store, bus, software())
        except BaseException:
            bus.close()
            raise
        self._keep(name, bus)

    def _reuse(self, name: str) -> Bus | None:
        """Return an open, unused bus of a dataset, if there is one."""
        while True:
            with self._lock:
                found = next((at for at, (idle, _) in enumerate(self._idle) if idle == name), None)
                if found is None:
                    return None
                _, bus = self._idle.pop(found)
            if bus.is_current:
                return bus
            bus.close()

    def _keep(self, name: str, bus: Bus) -> None:
        if not isinstance(bus, SqliteBus):
            bus.close()
            return
        with self._lock:
            self._idle.append((name, bus))
            over = [idle for _, idle in self._idle[:-MAX_IDLE]]
            del self._idle[:-MAX_IDLE]
        for idle in over:
            idle.close()

    def close(self) -> None:
        """Close the buses kept for later calls."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, bus in idle:
            bus.close()


def _generation(files: Files) -> Generation | None:
    handle = files.open(RECORD)
    if handle is None:
        return None
    with contextlib.closing(handle):
        return handle.generation


def _remove_folder(folder: Path) -> None:
    """Rename a folder, so that nobody goes on writing into it, and then remove it."""
    try:
        with contextlib.suppress(FileNotFoundError):
            folder.rename(folder.with_name(f".{folder.name}.{uuid.uuid4().hex}{DELETED}"))
    except OSError as error:
        raise Retryable(f"{folder}: {error.strerror}") from error
    for gone in folder.parent.glob(f".*{DELETED}"):  # also what a killed process left
        if gone.is_symlink() or gone.is_file():
            gone.unlink(missing_ok=True)
        shutil.rmtree(gone, ignore_errors=True)
