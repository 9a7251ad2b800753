"""`fibstream run`: stream a volume through every stage, and wait."""

import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from fibstream import registry
from fibstream.app.catalogue import restore_log, stage_names
from fibstream.app.choices import unnamed
from fibstream.app.facts import SOURCE, source_record
from fibstream.app.folder import LOCK, locked
from fibstream.app.hashes import hashes
from fibstream.app.space import disk_bytes
from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus, MemoryFiles
from fibstream.bus.reading import entries_of
from fibstream.core.dataset import ACQUISITION, RECORD, Dataset
from fibstream.core.errors import WrongUse
from fibstream.core.events import Progress, Record
from fibstream.core.keys import canonical
from fibstream.core.ports import Bus
from fibstream.core.subject import plain
from fibstream.runtime.ledger import ledger
from fibstream.runtime.root import bus_path, is_kafka, open_bus, servers_of
from fibstream.runtime.settings import Settings
from fibstream.services.ingest.edges.datasets import DatasetDesign
from fibstream.services.ingest.edges.landing import Order
from fibstream.services.ingest.edges.stored import StoredPrediction
from fibstream.services.registration.planned import registrations_of
from fibstream.store.local import PRIVATE, LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Store
from fibstream.volumes.sources import Source

from .inprocess import InProcess
from .progress import Display
from .runner import Runner


@dataclass
class Report:
    """What a run did; the last line of ``--json``."""

    chunks_computed: int = 0
    chunks_reused: int = 0
    failed: list[dict[str, Any]] = field(default_factory=list)
    labels_hash: str | None = None  # None where chunks have failed: there is no result to name
    tables_hash: str | None = None
    seconds: float = 0.0


def is_begun(out: Path) -> bool:
    """Whether a folder is empty, or has only what a first run makes before the record is put.

    Such a run may have ended while it copied the networks: the next one does it again.
    """
    if not out.is_dir() or os.path.lexists(out / RECORD):
        return False
    provenance = Path(RECORD).parent
    names = {path.name for path in out.iterdir()}
    if not names <= {PRIVATE, provenance.name}:
        return False
    made = all(path.is_dir() for path in (out / provenance).glob("*"))  # files of the pipeline
    return made and (not names or (out / LOCK).is_file())


def check_output(out: Path) -> None:
    """Raise WrongUse for a folder that is no dataset or cannot be written."""
    if out.exists() and not (out / RECORD).is_file() and not is_begun(out):
        raise WrongUse(f"--out {out}: exists and is not a fibstream dataset; expected a new path")
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
        raise WrongUse(f"--out {out}: {parent} is not a folder that can be written")


def check_free_space(out: Path, dataset: Dataset) -> None:
    """Raise WrongUse when the results of a run would not fit on the disk."""
    files = MemoryFiles()  # a declaration reads none
    arrays = [each for s in registry.services() for each in s.arrays(dataset, files)]
    parent = next(p for p in (out, *out.absolute().parents) if p.exists())
    there = sum(f.stat().st_size for f in out.rglob("*") if f.is_file()) if out.exists() else 0
    needed, free = disk_bytes(dataset, arrays) - there, shutil.disk_usage(parent).free
    if needed > free:
        raise WrongUse(
            f"--out {out}: needs about {needed / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free"
        )


def check_bus(url: str | None) -> None:
    """Raise WrongUse for a bus that cannot be opened, before anything is written."""
    if url is not None:
        if is_kafka(url):
            from fibstream.bus.kafka.declare import declare

            declare(servers_of(url))
        open_bus(url, Path(), "check").close()


def check_record(out: Path, dataset: Dataset) -> Dataset:
    """Return the record to write; WrongUse, and nothing touched, when it is another acquisition."""
    if not (out / RECORD).is_file():
        return dataset
    there = read_dataset(LocalFiles(out))
    differences = there.differences(dataset, (*ACQUISITION, "offset_nm", "downsample"))
    if differences:
        raise WrongUse(f"--out {out}: its {'; its '.join(differences)}")
    # A folder may have been renamed.
    return dataset.model_copy(update={"name": there.name, "incarnation": there.incarnation})


def named_apart(dataset: Dataset, out: Path, bus_url: str | None) -> Dataset:
    """Give a new dataset a name of its own where others share its bus."""
    if not is_kafka(bus_url) or (out / RECORD).is_file():
        return dataset
    return dataset.model_copy(update={"name": f"{dataset.name[:80]}-{secrets.token_hex(4)}"})


def store_record(files: LocalFiles, dataset: Dataset, models: Mapping[str, bytes]) -> None:
    """Create the dataset, or change its parameters."""
    for path, content in models.items():
        files.put(path, content)
    files.put(RECORD, canonical(dataset.model_dump(mode="json")))


def prepare(bus: Bus, dataset: str) -> int:
    """Forget the last run's tasks and counts, try again what only crashed; return the work so far.

    The number is the end of the log of work: what comes after it is this run's.
    """
    bus.forget()
    for record in ledger(bus, dataset):
        if record.status == "failed" and record.crashed:
            again = Record(record.stage, record.subject, "suspect")
            key = wire.record_key(dataset, record.stage, record.subject)
            bus.publish(wire.ledger_topic(record.stage), key, wire.encode(again))
    return bus.end([wire.WORK])


def run(
    out: Path, made: DatasetDesign, source: Source, raw: str, *, order: Order, seed: int,
    settings: Settings, display: Display, bus_url: str | None = None,
    stored: Sequence[StoredPrediction] = (), mask: str | None = None,
) -> Report:  # fmt: skip
    """Carry out a run whose design was checked; return its report."""
    begun = time.monotonic()
    dataset = named_apart(check_record(out, made.dataset), out, bus_url)
    check_free_space(out, dataset)
    check_bus(bus_url)
    out.mkdir(parents=True, exist_ok=True)
    with locked(out), raised_signals():
        files = LocalFiles(out)
        files.sweep()
        bus = open_bus(bus_url, out, dataset.name, dataset.incarnation, private=True)
        for warning in made.warnings:
            display.note(warning)
        store_record(files, dataset, made.files)
        files.put(SOURCE, source_record(raw))
        before = prepare(bus, dataset.name)
        if bus.end(wire.ledger_topics()) == 0:
            restore_log(dataset, Store(files, dataset.grid), bus)
        runner: Runner | InProcess
        if isinstance(bus, MemoryBus):
            runner = InProcess(files, bus, source, dataset, order, seed, settings, stored)
        else:
            url = bus_url or f"sqlite:{bus_path(out)}"
            services = [service.name for service in registry.owners(dataset, files)]
            arguments = landing(raw, order, seed, stored, mask)
            runner = Runner(out, dataset.name, bus, url, arguments, settings, services)
        try:
            display.count(dataset)
            with display:
                for _ in runner.run():
                    display.update(bus, runner.progress())
                display.update(bus, runner.progress())
            report = conclude(out, dataset, bus, runner.progress(), before)
            for line in written(out, dataset):
                display.note(line)
        finally:
            runner.close()
            bus.close()
    report.seconds = round(time.monotonic() - begun, 3)
    return report


def landing(
    raw: str, order: str, seed: int, stored: Sequence[StoredPrediction] = (),
    mask: str | None = None,
) -> list[str]:  # fmt: skip
    """Return the arguments of the landing process."""
    more = [] if mask is None else ["--absent-mask", mask]
    more += [word for each in stored for word in each.argument]
    return ["--raw", raw, "--order", order, "--seed", str(seed), *more]


@contextlib.contextmanager
def raised_signals() -> Iterator[None]:
    """Turn SIGTERM into the exception that Ctrl-C raises, so that children are stopped."""

    def stop(_: int, __: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def conclude(
    out: Path, dataset: Dataset, bus: Bus, progress: Mapping[str, Progress], before: int
) -> Report:
    """Count what this call did since the log of work ended at ``before``; hash what is whole."""
    places = {entry.key for entry in entries_of(bus, [wire.WORK], dataset.name, before)}
    recorded = sum(p.recorded for p in progress.values())
    names = stage_names(dataset, LocalFiles(out))
    failed = [
        {"stage": r.stage, "chunk": plain(r.subject), "reason": r.reason}
        for r in ledger(bus, dataset.name)
        if r.status == "failed" and r.stage in names
    ]
    report = Report(len(places), max(recorded - len(places), 0), failed)
    if not failed:
        report.labels_hash, report.tables_hash = hashes(out, dataset)
    return report


def written(out: Path, dataset: Dataset) -> list[str]:
    """Write what people look at of registrations; return the lines that end a run.

    They tell how each registration went, or why it cannot be written, and which ids that choose
    objects are of none.
    """
    files = LocalFiles(out)
    lines = unnamed(read_dataset(files), files)
    if not registrations_of(dataset):
        return lines
    from .streamed import write_all  # it brings ITK

    try:
        told = [f"registration {name}: {status}" for name, status in write_all(out).items()]
    except WrongUse as error:
        told = [str(error)]
    return lines + told
