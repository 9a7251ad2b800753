"""All services in containers, each with all its roles, below the root of a test."""

import functools
import os
import subprocess
from pathlib import Path

from deploy.images.build import engine
from deploy.manifests import tag
from fibstream import registry
from tests.support.cluster import Cluster

RUNNERS = ("docker", "podman")
USER = 10001  # of the images
# As the manifests have it: nothing of the image can be written, nothing may be gained.
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
SCRATCH = "--mount=type=tmpfs,destination=/tmp,tmpfs-mode=1777"


@functools.cache
def runner() -> str:
    """Return the engine that runs containers: the one that has built the images."""
    wanted = os.environ.get("ENGINE")
    return engine(wanted if wanted in RUNNERS else None, RUNNERS)


def words(*more: str) -> list[str]:
    """Return the words that run a hardened container; the tests ask how it is themselves."""
    return [runner(), "run", "--rm", "--no-healthcheck", *HARDENED, SCRATCH, *more]


class Containers(Cluster):
    """Services as `Cluster` has them, each the first process of a container."""

    def __init__(self, folder: Path, bus: str | None = None, *more: str) -> None:
        super().__init__(folder, bus, *more)
        os.chown(self.root, USER, USER)
        self._prefix = f"fibstream-test-{os.getpid()}"

    def container(self, name: str) -> str:
        """Return the name of the container of a service."""
        return f"{self._prefix}-{name}"

    def command(self, name: str) -> list[str]:
        """Return the words that serve one service in a container on this machine's network."""
        shared = f"--volume={self.root}:{self.root}"
        named = ("--env=FIBSTREAM_RECONCILE_S", "--name", self.container(name))
        return [*words("--network=host", shared, *named, tag(name)), "serve"]

    def inside(self, name: str, *line: str) -> subprocess.CompletedProcess[str]:
        """Run a program in the container of a service."""
        given = [runner(), "exec", self.container(name), *line]
        return subprocess.run(given, capture_output=True, text=True, check=False)

    def kill(self, name: str, role: str | None = None) -> None:
        """Kill a container with all that is in it."""
        assert role is None, "a container dies as a whole"
        subprocess.run([runner(), "kill", self.container(name)], check=True, capture_output=True)
        self.processes[name].wait()

    def close(self) -> None:
        """End whatever is left."""
        names = [self.container(name) for name in registry.names()]
        subprocess.run([runner(), "rm", "--force", *names], capture_output=True, check=False)
        super().close()
