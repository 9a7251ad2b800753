"""The runner without processes: all loops take turns in one (`--bus memory:`)."""

from collections.abc import Iterator, Sequence

from fibstream import registry
from fibstream.bus import wire
from fibstream.bus.memory import MemoryBus
from fibstream.bus.reading import event_of
from fibstream.core.dataset import Dataset
from fibstream.core.events import Progress
from fibstream.runtime.ledger import request_reconcile
from fibstream.runtime.loops import PlannerLoop, WorkerLoop
from fibstream.runtime.settings import Settings
from fibstream.runtime.site import open_site
from fibstream.services.ingest.edges.land import land_all
from fibstream.services.ingest.edges.landing import Order
from fibstream.services.ingest.edges.stored import StoredPrediction
from fibstream.store.decoded import Decoded
from fibstream.store.local import LocalFiles
from fibstream.volumes.sources import Source


class InProcess:
    """Runs a dataset to its end in one process, one step of everything at a time."""

    def __init__(
        self, files: LocalFiles, bus: MemoryBus, source: Source, dataset: Dataset, order: Order,
        seed: int, settings: Settings, stored: Sequence[StoredPrediction] = (),
    ) -> None:  # fmt: skip
        self._bus = bus
        self._dataset = dataset.name
        services = registry.owners(dataset, files)
        self._planners = [PlannerLoop(service, files, bus, settings) for service in services]
        decoded = Decoded()
        self._workers = [
            WorkerLoop(service, files, bus, settings, f"{service.name}-{number}", decoded=decoded)
            for service in services
            for number in range(settings.workers)
        ]
        _, site = open_site(files, bus)
        self._landing = land_all(site, dataset, source, order, seed, stored)

    def progress(self) -> dict[str, Progress]:
        """Return how far each planner has come."""
        found = map(event_of, self._bus.read([wire.PROGRESS], 0))
        return {p.service: p for p in found if isinstance(p, Progress)}

    def run(self) -> Iterator[None]:
        """Yield now and then until everything is done and a last reconcile found nothing."""
        while True:
            yield from self._until_quiet()
            request = request_reconcile(self._bus, self._dataset)
            yield from self._until_quiet()
            if all(p.reconciled >= request for p in self.progress().values()):
                return

    def _until_quiet(self) -> Iterator[None]:
        """Take turns until one round changes nothing."""
        before = -1
        while True:
            landed = next(self._landing, self) is not self
            for planner in self._planners:
                planner.turn()
            worked = [worker.turn() for worker in self._workers]
            yield
            after = self._bus.end([*wire.ledger_topics(), wire.PROGRESS])
            if not landed and not any(worked) and after == before:
                return
            before = after

    def close(self) -> None:
        """Nothing runs by itself."""
