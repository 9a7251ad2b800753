"""A Kubernetes control plane on loopback whose nodes and pods are only said to run (kwok)."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.support.programs import END_WITH_PARENT, free_ports

START_S = 120.0
TOKEN = "admin"  # (of a server on loopback that ends with the test)


def node(name: str, gpus: int = 0, cpu: str = "64", memory: str = "256Gi") -> Mapping[str, Any]:
    """Return a node; one with GPUs is marked and tainted as NVIDIA's operator does."""
    room = {"cpu": cpu, "memory": memory, "pods": "110", "ephemeral-storage": "1Ti"}
    labels = {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux"}
    spec = {}
    if gpus:
        room["nvidia.com/gpu"] = str(gpus)
        labels["nvidia.com/gpu.present"] = "true"
        taint = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}
        spec = {"taints": [taint]}
    return {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels},
        "spec": spec, "status": {"capacity": room, "allocatable": room},
    }  # fmt: skip


def certificates(folder: Path, name: str) -> Path:
    """Write an authority and a certificate of it for this machine: ``ca.crt``, ``tls.crt``, key."""
    folder.mkdir()
    words = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-days", "2"]
    authority = ["-subj", "/CN=authority", "-keyout", "ca.key", "-out", "ca.crt"]
    own = ["-subj", f"/CN={name}", "-keyout", "tls.key", "-out", "tls.crt", "-CA", "ca.crt",
           "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
           "-addext", "basicConstraints=critical,CA:FALSE"]  # fmt: skip
    for more in (authority, own):
        subprocess.run([*words, *more], cwd=folder, check=True, capture_output=True)
    return folder


class ControlPlane:
    """etcd, the API server, scheduler, controllers and kwok, in a folder."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        etcd, peer, self._api, *self._others = free_ports(6)
        self._etcd = f"http://127.0.0.1:{etcd}"
        self._peer = f"http://127.0.0.1:{peer}"
        self.config = folder / "kubeconfig"

    def start(self) -> None:
        """Start all of it."""
        self._write()
        etcd = shutil.which("etcd")
        assert etcd, "needs etcd (Debian: etcd-server)"
        self.run(
            "etcd", etcd, f"--data-dir={self._folder / 'etcd'}",
            f"--listen-client-urls={self._etcd}", f"--advertise-client-urls={self._etcd}",
            f"--listen-peer-urls={self._peer}", f"--initial-advertise-peer-urls={self._peer}",
            f"--initial-cluster=default={self._peer}", "--unsafe-no-fsync",
        )  # fmt: skip
        self.until(self._etcd_is_healthy, "etcd")
        key = self._folder / "sa.key"
        front = certificates(self._folder / "front", "front-proxy")
        self.run(
            "api", self._programs / "kube-apiserver", f"--etcd-servers={self._etcd}",
            "--bind-address=127.0.0.1", f"--secure-port={self._api}",
            f"--cert-dir={self._folder / 'certs'}", "--service-cluster-ip-range=10.96.0.0/16",
            f"--service-account-key-file={key}", f"--service-account-signing-key-file={key}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--token-auth-file={self._folder / 'tokens.csv'}", "--authorization-mode=RBAC,Node",
            # For APIs that others serve, as KEDA does that of its metrics.
            f"--requestheader-client-ca-file={front / 'ca.crt'}",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={front / 'tls.crt'}",
            f"--proxy-client-key-file={front / 'tls.key'}",
        )  # fmt: skip
        self.until(lambda: self.kubectl("get", "--raw", "/readyz", check=False) == "ok", "API")
        shared = [f"--{name}kubeconfig={self.config}"
                  for name in ("", "authentication-", "authorization-")]  # fmt: skip
        scheduler, controllers, kwok = self._others[:3]
        self.run("scheduler", self._programs / "kube-scheduler", *shared,
                  "--leader-elect=false", f"--secure-port={scheduler}")  # fmt: skip
        self.run("controllers", self._programs / "kube-controller-manager", *shared,
                  "--leader-elect=false", f"--secure-port={controllers}",
                  f"--service-account-private-key-file={key}",
                  "--horizontal-pod-autoscaler-sync-period=1s",
                  # Else 20 requests a second: a deleted pod waits half a minute for its turn.
                  "--kube-api-qps=200", "--kube-api-burst=400")  # fmt: skip
        self.run("kwok", self._programs / "kwok", f"--kubeconfig={self.config}",
                  "--manage-all-nodes=true", f"--config={self._programs / 'stages.yaml'}",
                  f"--server-address=127.0.0.1:{kwok}")  # fmt: skip

    def _write(self) -> None:
        subprocess.run(["openssl", "genrsa", "-out", self._folder / "sa.key", "2048"],
                       check=True, capture_output=True)  # fmt: skip
        (self._folder / "tokens.csv").write_text(f'{TOKEN},admin,admin,"system:masters"\n')
        server = {"server": f"https://127.0.0.1:{self._api}", "insecure-skip-tls-verify": True}
        self.config.write_text(json.dumps({
            "apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "here", "cluster": server}],
            "users": [{"name": "admin", "user": {"token": TOKEN}}],
            "contexts": [{"name": "here", "context": {"cluster": "here", "user": "admin"}}],
        }))  # fmt: skip

    def run(self, name: str, program: str | Path, *arguments: str, **variables: str) -> None:
        """Start a program that ends with the control plane; it finds the API by KUBECONFIG."""
        with (self._folder / f"{name}.log").open("wb") as log:
            self._running[name] = subprocess.Popen(
                [sys.executable, "-c", END_WITH_PARENT, program, *arguments],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, "KUBECONFIG": str(self.config), **variables},
            )  # fmt: skip

    def _etcd_is_healthy(self) -> bool:
        with (
            contextlib.suppress(OSError),
            urllib.request.urlopen(f"{self._etcd}/health", timeout=1) as answer,
        ):
            return b"true" in answer.read()
        return False

    def kubectl(
        self, *words: str | Path, given: object = None, check: bool = True
    ) -> str:  # fmt: skip
        """Return what kubectl prints; ``given`` is an object for its standard input."""
        found = subprocess.run(
            [self._programs / "kubectl", *words], check=False, capture_output=True, text=True,
            input=None if given is None else json.dumps(given),
            env={**os.environ, "KUBECONFIG": str(self.config)}, timeout=START_S,
        )  # fmt: skip
        assert not check or found.returncode == 0, f"{words}: {found.stdout}{found.stderr}"
        return found.stdout if check else found.stdout + found.stderr

    def get(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Return objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, *words, "-o", "json"))["items"])

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until a condition holds; fail when a program has ended."""
        deadline = time.monotonic() + START_S
        while not condition():
            for name, process in self._running.items():
                log = (self._folder / f"{name}.log").read_text(errors="replace")[-3000:]
                assert process.poll() is None, f"{name} ended: {log}"
            assert time.monotonic() < deadline, f"{what}: not within {START_S} s"
            time.sleep(0.2)

    def close(self) -> None:
        """End all of it, etcd last."""
        for process in reversed(self._running.values()):
            process.kill()
            process.wait()


@contextlib.contextmanager
def running(programs: Path, folder: Path) -> Iterator[ControlPlane]:
    """Run a control plane."""
    plane = ControlPlane(programs, folder)
    try:
        plane.start()
        yield plane
    finally:
        plane.close()
