"""All services as an operator starts them: processes of ``fibstream serve`` below one root."""

import os
import signal
import subprocess
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TypeVar

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from fibstream import registry
from fibstream.app.hashes import hashes
from fibstream.client import Client
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset

from .command import PROGRAM
from .patience import PATIENCE_S, eventually
from .programs import free_ports

T = TypeVar("T")
LOOK_S = 0.02


class Cluster:
    """All services; each may be killed and started again at its port."""

    def __init__(self, folder: Path, bus: str | None = None, *more: str) -> None:
        self.root = folder / "root"
        self._folder = folder
        self._bus = ["--bus", bus] if bus else []
        self.more = more
        ports = dict(zip(registry.names(), free_ports(len(registry.names())), strict=True))
        self.addresses = {name: f"127.0.0.1:{port}" for name, port in ports.items()}
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.root.mkdir(exist_ok=True)

    @property
    def server(self) -> str:
        """What ``--server`` takes."""
        return ",".join(f"{name}={address}" for name, address in self.addresses.items())

    def client(self, **options: float) -> Client:
        """Return a client of all services."""
        patience = {"timeout_s": PATIENCE_S, "patience_s": PATIENCE_S}
        return Client(self.server, **(patience | options))

    def command(self, name: str) -> list[str]:
        """Return the words that serve one service."""
        return [PROGRAM, "serve", name]

    def variables(self, name: str) -> dict[str, str]:
        """Return what the environment of one service has besides."""
        return {}

    def start(self, *names: str, environment: Mapping[str, str] | None = None) -> "Cluster":
        """Start services, by default all, and wait until they say that calls are welcome."""
        names = names or registry.names()
        for name in names:
            with (self._folder / f"{name}.log").open("ab") as log:
                self.processes[name] = subprocess.Popen(
                    [*self.command(name), "--root", str(self.root), *self._bus,
                     "--listen", self.addresses[name], *self.more],
                    stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
                    env={**os.environ, "FIBSTREAM_RECONCILE_S": "5", **self.variables(name),
                         **(environment or {})},
                )  # fmt: skip
        for name in names:
            eventually(partial(self.serving, name), f"{name} serving")
        return self

    def serving(self, name: str) -> bool:
        """Whether a service's health check says so."""
        process = self.processes[name]
        assert process.poll() is None, f"{name} ended: {self.log(name)}"
        with grpc.insecure_channel(self.addresses[name]) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            try:
                answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=1)
            except grpc.RpcError:
                return False
        return answer.status == health_pb2.HealthCheckResponse.SERVING

    def log(self, name: str) -> str:
        """Return what a service wrote."""
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def children(self, name: str) -> dict[int, str]:
        """Return the processes of a service: id and role, ``plan`` or ``work``."""
        parent = self.processes[name].pid
        found = {}
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                try:
                    words = (folder / "cmdline").read_bytes().decode().split("\0")
                except OSError:  # it ended meanwhile
                    continue
                if words[-3:-1] == ["--parent", str(parent)]:
                    found[int(folder.name)] = words[3]
        return found

    def kill(self, name: str, role: str | None = None) -> None:
        """Kill one process of a service, or its first one with all that depends on it."""
        if role is None:
            self.processes[name].kill()
            self.processes[name].wait()
            return
        chosen = next(pid for pid, word in self.children(name).items() if word == role)
        os.kill(chosen, signal.SIGKILL)

    def stop(self) -> dict[str, int]:
        """Ask all services to end; return their exit codes."""
        for process in self.processes.values():
            process.terminate()
        codes = {name: process.wait(PATIENCE_S) for name, process in self.processes.items()}
        self.processes.clear()
        return codes

    def close(self) -> None:
        """End whatever is left."""
        for process in self.processes.values():
            process.kill()
            process.wait()

    def hashes(self, name: str) -> tuple[str, str]:
        """Return the hashes of a dataset's labels and tables."""
        out = self.root / f"{name}.zarr"
        return hashes(out, read_dataset(LocalFiles(out)))
