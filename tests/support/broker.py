"""A real Kafka broker for tests and benches: ``python -m tests.support.broker`` starts one."""

import argparse
import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient
from kafka.errors import KafkaError

from fibstream.bus import wire
from fibstream.bus.kafka import KafkaBus
from fibstream.bus.kafka.declare import declare
from fibstream.core.errors import Retryable

from .patience import PATIENCE_S
from .programs import END_WITH_PARENT, free_ports

ROOT = Path(__file__).resolve().parents[2]
POM = ROOT / "tests" / "kafka" / "pom.xml"
HOME = ROOT / "build" / "kafka"  # kept between runs
JARS = HOME / "libs"  # 43 MB
FORMATTED = HOME / "formatted"  # an empty broker's data
CLASSES = HOME / "classes.jsa"  # of an earlier broker, loaded and verified: half of a start
REQUIRED = "FIBSTREAM_REQUIRE_KAFKA"  # a broker that cannot start is then a failure, not a skip
JAVA = 17  # Kafka 4 needs at least this

PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
num.network.threads=2
num.io.threads=2
num.recovery.threads.per.data.dir=1
log.cleaner.dedupe.buffer.size=4194304
log.cleaner.io.buffer.size=65536
log.cleaner.backoff.ms=200
log.index.size.max.bytes=1048576
# A member that dies is to be missed within a test's time, and nobody else will join.
group.min.session.timeout.ms=1000
group.initial.rebalance.delay.ms=0
# After a kill it is let in again when its last registration is over.
broker.session.timeout.ms=1500
broker.heartbeat.interval.ms=300
"""


def missing() -> str | None:
    """Return why no broker can be started here, None when one can."""
    if shutil.which("java") is None or shutil.which("mvn") is None:
        return f"needs Java {JAVA} and Maven"
    found = subprocess.run(["java", "-version"], capture_output=True, text=True, check=False)
    words = found.stderr.split('"')
    major = words[1].split(".")[0] if len(words) > 1 else ""
    return None if major.isdigit() and int(major) >= JAVA else f"needs Java {JAVA} and Maven"


def java(*options: str) -> list[str]:
    """Return how a program of the broker is run: a quick start counts more than a long life."""
    quick = ["-Xmx512M", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"]
    return ["java", *quick, *options, "-cp", f"{JARS}/*"]


def prepare() -> None:
    """Fetch the jars and format an empty broker's data, once; one process does it."""
    HOME.mkdir(parents=True, exist_ok=True)
    with (HOME / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not JARS.is_dir():
            part = fresh_folder("libs.part")
            goal = ["dependency:copy-dependencies", "-DincludeScope=runtime"]
            subprocess.run(
                ["mvn", "-q", "-B", "-f", str(POM), *goal, f"-DoutputDirectory={part}"],
                check=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL, stdout=sys.stderr,
            )  # fmt: skip
            part.rename(JARS)
        if not FORMATTED.is_dir():
            part = fresh_folder("formatted.part")
            properties = HOME / "format.properties"
            properties.write_text(PROPERTIES.format(port=1, controller=2, data=part))
            tool = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg"]
            subprocess.run(
                [*java(), *tool, "-c", str(properties)],
                check=True, timeout=PATIENCE_S, capture_output=True,
            )  # fmt: skip
            part.rename(FORMATTED)


def fresh_folder(name: str) -> Path:
    """Return a folder that does not exist."""
    folder = HOME / name
    shutil.rmtree(folder, ignore_errors=True)
    return folder


class Broker:
    """One broker on ports and data of its own; it can be ended and started again."""

    def __init__(self, folder: Path) -> None:
        prepare()
        self._folder = folder
        port, controller = free_ports(2)
        self.servers = f"127.0.0.1:{port}"
        self._properties = folder / "server.properties"
        text = PROPERTIES.format(port=port, controller=controller, data=folder / "data")
        self._properties.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None
        shutil.copytree(FORMATTED, folder / "data")
        # Without an archive of its classes, this one leaves one when it is stopped in good order.
        self._archive = None if CLASSES.is_file() else folder / "classes.jsa"

    def _command(self) -> list[str]:
        used = f"SharedArchiveFile={CLASSES}"
        option = f"-XX:ArchiveClassesAtExit={self._archive}" if self._archive else f"-XX:{used}"
        return [*java(option), "kafka.Kafka", str(self._properties)]

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with (self._folder / "broker.log").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", END_WITH_PARENT, *self._command()],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out,
            )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while not self._answers():
            log = (self._folder / "broker.log").read_text()
            assert self._process.poll() is None, f"the broker ended: {log}"
            assert time.monotonic() < deadline, f"the broker does not answer: {log}"
            time.sleep(0.05)

    def _answers(self) -> bool:
        host, port = self.servers.split(":")
        with socket.socket() as probe:  # cheaper than a client, and quiet
            if probe.connect_ex((host, int(port))):
                return False
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self.servers, bootstrap_timeout_ms=2000, request_timeout_ms=2000
            )
        except KafkaError:
            return False
        with contextlib.closing(admin):
            try:
                return bool(admin.describe_cluster()["brokers"])
            except KafkaError:
                return False

    def stop(self) -> None:
        """End it in good order."""
        self._end(signal.SIGTERM)

    def leave(self) -> None:
        """End it before its folder goes; the first one leaves its classes to those after it."""
        if self._archive is None:
            self.kill()
            return
        self.stop()
        if self._archive.is_file():
            part = HOME / f"classes.{os.getpid()}"
            shutil.copyfile(self._archive, part)
            part.rename(CLASSES)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(PATIENCE_S)
            self._process = None


def skip_or_fail() -> None:
    """Skip the test where no broker can be started, unless one is required."""
    reason = missing()
    if reason is not None and os.environ.get(REQUIRED) == "1":
        pytest.fail(reason)
    if reason is not None:
        pytest.skip(reason)


@contextlib.contextmanager
def running() -> Iterator[Broker]:
    """Run a broker in a folder that goes with it."""
    with tempfile.TemporaryDirectory(prefix="kafka-") as folder:
        broker = Broker(Path(folder))
        try:
            broker.start()
            yield broker
        finally:
            broker.leave()


class _Shared:
    """The one broker of this test process, however many folders of tests ask for it."""

    users = 0
    stack = contextlib.ExitStack()
    broker: Broker | None = None


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """A broker with the topics declared, one for each test process: to be left running."""
    skip_or_fail()
    if _Shared.broker is None:
        started = _Shared.stack.enter_context(running())
        patiently(lambda: declare(started.servers))
        warm(started.servers)
        _Shared.broker = started
    _Shared.users += 1
    yield _Shared.broker
    _Shared.users -= 1
    if not _Shared.users:
        _Shared.stack.close()
        _Shared.broker = None


def warm(servers: str) -> None:
    """Wait until a new broker answers within a call's time: its first answers take seconds."""
    with contextlib.closing(KafkaBus(servers)) as bus:
        patiently(lambda: bus.publish(wire.CONTROL, "warm", b"0"))
        patiently(lambda: bus.read(wire.ledger_topics(), 0))
        patiently(lambda: bus.backlog(wire.task_topic("refine")))


def patiently(call: Callable[[], object]) -> None:
    """Call again while a new broker answers late."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            call()
            return
        except Retryable:
            assert time.monotonic() < deadline, f"the broker did not get going in {PATIENCE_S} s"


def main() -> None:
    """Run a broker in the foreground, until it is interrupted."""
    parser = argparse.ArgumentParser(description="start a Kafka broker, print its address, wait")
    parser.add_argument("--bare", action="store_true", help="do not declare fibstream's topics")
    given = parser.parse_args()
    reason = missing()
    if reason:
        sys.exit(reason)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with running() as one, contextlib.suppress(KeyboardInterrupt):
        if not given.bare:
            patiently(lambda: declare(one.servers))
            warm(one.servers)
        print(one.servers, flush=True)
        signal.pause()


if __name__ == "__main__":
    main()
