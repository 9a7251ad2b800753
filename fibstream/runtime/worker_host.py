"""One worker process of a service for all datasets below a root."""

import contextlib
import logging
import time
from collections.abc import Iterator

from fibstream.bus import wire
from fibstream.bus.creation import CreationBus
from fibstream.bus.reading import pass_over
from fibstream.core.errors import FibstreamError, NotFound
from fibstream.core.ports import Bus, Delivery
from fibstream.core.service import Service
from fibstream.store.decoded import Decoded
from fibstream.telemetry.metrics import SILENT, Telemetry

from .host import PAUSE_S, SCAN_S
from .loops import CRASHES, WorkerLoop
from .quarantine import Quarantine, reason_of
from .root import OneDataset, Root, is_name
from .settings import Settings

log = logging.getLogger(__name__)


class WorkerHost:
    """One worker of a service that serves every dataset below a root, one task at a time.

    As with planners, what fails in a dataset is that dataset's.
    """

    def __init__(
        self, service: Service, root: Root | OneDataset, settings: Settings, owner: str,
        telemetry: Telemetry = SILENT, *, after: str = "",
    ) -> None:  # fmt: skip
        self._after = after  # the dataset whose task killed the worker before: it comes last
        self._service = service
        self._root = root
        self._settings = settings
        self._owner = owner
        self._telemetry = telemetry
        self._decoded = Decoded()  # of all datasets together, so that memory is bounded
        self._shared = root.shared_bus()
        self.loops: dict[str, tuple[WorkerLoop, Bus]] = {}  # of the datasets that are open
        self.quarantine = Quarantine(root.generation, telemetry)
        self._names: list[str] = []
        self._due = 0.0
        self.held: tuple[str, Delivery] | None = None  # the dataset, and its task at hand

    def turn(self) -> bool:
        """Take one task of any dataset and carry it out."""
        if time.monotonic() >= self._due:
            self._scan()
            self._due = time.monotonic() + SCAN_S
        if self._shared is not None:
            return self._serve(self._shared, None)
        # A task of each dataset in turn: one with much to do does not starve the others.
        return sum(self._visit(name) for name in list(self._names)) > 0

    def _scan(self) -> None:
        """Read the catalogue; where a queue names the datasets, only to forget those that went."""
        if self._shared is not None and not self.quarantine.reasons:
            return
        names = sorted(self._root.names())
        self.quarantine.keep(names)
        self.quarantine.expire()
        self._names = [*(n for n in names if n > self._after),
                       *(n for n in names if n <= self._after)]  # fmt: skip

    def _visit(self, name: str) -> bool:
        """Take a task from a dataset's own bus."""
        if self.quarantine.ready(name):
            with self._apart(name):
                loop = self._loop(name, None)
                return loop is not None and self._serve(self.loops[name][1], name)
        return False

    @contextlib.contextmanager
    def _apart(self, name: str) -> Iterator[None]:
        """Leave a dataset alone if it fails, whatever the error."""
        try:
            yield
        except Exception as error:
            self._leave_alone(name, error)
            if name in self.loops:
                self._drop(name)

    def _leave_alone(self, name: str, error: Exception) -> None:
        if self._root.single:
            raise error
        self.quarantine.put(name, error)

    def _serve(self, bus: Bus, own: str | None) -> bool:
        """Take a task from a bus: that of the dataset ``own``, or one that datasets share."""
        topic = wire.task_topic(self._service.name)
        delivery = bus.take(topic, self._owner, self._settings.lease_s)
        if delivery is None:
            return False
        name = wire.name_of(delivery.key)
        if not self._root.single and (own not in (None, name) or not is_name(name)):
            pass_over(f"task {delivery.key}", f"on the bus of {own or 'all datasets'}")
            bus.discard(delivery)
            return True
        self.held = name, delivery
        try:
            done = self._carried_out(name, bus, delivery)
        finally:
            self.held = None
        if not done:
            self._release(name, bus, delivery)
        return True

    def _carried_out(self, name: str, bus: Bus, delivery: Delivery) -> bool:
        """Carry out a task; return whether it is off its queue."""
        try:
            if self.quarantine.ready(name) and (loop := self._loop(name, bus)) is not None:
                self._work(loop, self._seen(name, loop.creation, delivery))
                self.quarantine.release(name)
                return True
        except NotFound as error:
            if self._root.single or not self._is_gone(name):
                self._leave_alone(name, error)
        except Exception as error:
            self._leave_alone(name, error)
        return False

    def _seen(self, name: str, creation: str, delivery: Delivery) -> Delivery:
        """Return a task as its dataset's loop sees it: one of another creation is none of it."""
        if self._shared is None or not creation:
            return delivery
        key = CreationBus(self._shared, name, creation).key(delivery.key)
        return delivery._replace(key=key)

    def _work(self, loop: WorkerLoop, delivery: Delivery) -> None:
        """Carry out a task; one at which this version fails is given up, as if workers had died."""
        failure: Exception | None = None
        for _ in range(1 if self._root.single else max(CRASHES - delivery.crashes, 1)):
            try:
                return loop.carry_out(delivery)
            except FibstreamError:
                raise
            except Exception as error:
                if self._root.single:
                    raise
                log.exception("task %.200s", delivery.key)
                failure = error
        assert failure is not None
        loop.give_up(delivery, f"{CRASHES} times: {reason_of(failure)}")
        return None

    def _is_gone(self, name: str) -> bool:
        """Whether the dataset that is open was deleted, also if another one has its name now."""
        try:
            if name in self.loops:
                return self.loops[name][0].record.changed()
            return not self._root.exists(name)
        except NotFound:
            return True
        except FibstreamError:
            return False

    def _release(self, name: str, bus: Bus, delivery: Delivery) -> None:
        """Acknowledge a task that cannot be carried out, and close what was open of its dataset.

        Its planner sends it again.
        """
        with contextlib.suppress(FibstreamError):
            bus.acknowledge(delivery, self._owner)
        if name in self.loops:
            self._drop(name)
        if bus is not self._shared:
            bus.close()

    def _loop(self, name: str, taken: Bus | None) -> WorkerLoop | None:
        """Return the loop of a dataset, by its record as it is; None when there is none.

        A task that was ``taken`` from a bus is one of the dataset with that bus, and of no other
        that has its name now. The bus stays open.
        """
        try:
            if name in self.loops:
                loop, bus = self.loops[name]
                if not loop.record.changed() and bus.is_current:
                    return loop
                self._drop(name, keep=taken)  # another pipeline, or another dataset of that name
            return self._open(name, taken, self._root.dataset(name).incarnation)
        except NotFound:  # deleted since the catalogue was read
            if self._root.single:
                raise
            if name in self.loops:
                self._drop(name, keep=taken)
            return None

    def _open(self, name: str, taken: Bus | None, creation: str) -> WorkerLoop:
        """Open a dataset; raise NotFound where its bus is that of an earlier one of its name."""
        bus = taken or self._root.bus(name, creation)
        shared = self._shared is not None and creation
        own = CreationBus(bus, name, creation) if shared else bus
        try:
            files = self._root.files(name)
            loop = WorkerLoop(
                self._service, files, own, self._settings, self._owner, self._telemetry,
                self._decoded,
            )  # fmt: skip
            if not bus.is_current or loop.creation != creation:
                raise NotFound(f"dataset {name}: deleted just now")
        except BaseException:
            if bus is not taken:
                bus.close()
            raise
        self.loops[name] = loop, bus
        return loop

    def _drop(self, name: str, keep: Bus | None = None) -> None:
        _, bus = self.loops.pop(name)
        if bus is not self._shared and bus is not keep:
            with contextlib.suppress(FibstreamError):
                bus.close()

    def wait(self, timeout_s: float) -> None:
        """Wait on the bus if there is one, else for a short time."""
        if self._shared is not None:
            self._shared.wait(timeout_s)
        elif len(self.loops) == 1:
            ((name, (_, bus)),) = self.loops.items()
            with self._apart(name):
                bus.wait(timeout_s)
        else:
            time.sleep(PAUSE_S if self.loops else timeout_s)

    def close(self) -> None:
        """Close all buses."""
        for name in list(self.loops):
            self._drop(name)
        if self._shared is not None:
            self._shared.close()
