"""Images of others where no registry is reached: the same programs, as this machine has them.

Apache Kafka has the jars that the tests run, and takes its settings by the class of its own that
the published image calls (``kafka.docker.KafkaDockerWrapper``); Prometheus is the program that is
installed here.  Below them is an image of ours, for its C library.  Nothing is run to build them.
"""

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from deploy.images.containers import runner
from deploy.manifests import tag
from tests.support import broker

KAFKA = """\
USER 1000
ENV PATH=/opt/java/bin:$PATH
COPY java /opt/java
COPY libs /opt/kafka/libs
COPY --chown=1000:0 empty /opt/kafka/config
COPY --chown=1000:0 empty /var/lib/kafka/data
COPY empty /etc/kafka/docker
COPY empty /mnt/shared/config
COPY run /etc/kafka/docker/run
ENTRYPOINT ["/etc/kafka/docker/run"]
HEALTHCHECK NONE
"""
# The class formats the folder of the data, or says that it was formatted before.
RUN = """\
#!/bin/sh
set -e
found=$(java -cp '/opt/kafka/libs/*' kafka.docker.KafkaDockerWrapper setup \\
    --default-configs-dir=/etc/kafka/docker --mounted-configs-dir=/mnt/shared/config \\
    --final-configs-dir=/opt/kafka/config 2>&1) \\
    || echo "$found" | grep -i 'already formatted' || { echo "$found"; exit 1; }
exec java -Xmx1G -cp '/opt/kafka/libs/*' kafka.Kafka /opt/kafka/config/server.properties
"""
PROMETHEUS = """\
USER 65534
COPY prometheus /bin/prometheus
COPY --chown=65534:65534 empty /prometheus
ENTRYPOINT ["/bin/prometheus"]
HEALTHCHECK NONE
"""


def provide(image: str, folder: Path) -> str:
    """Have the engine hold a published image, or what stands in for it; return which it is."""
    whole = f"docker.io/{image}"
    if not engine("image", "inspect", whole).returncode:
        return "there already"
    if not engine("pull", "--quiet", whole).returncode:
        return "published"
    (folder / "empty").mkdir()
    recipe = STANDINS[image.partition(":")[0]](folder)
    (folder / "Dockerfile").write_text(f"FROM {tag('refine')}\n{recipe}")
    ended = engine("build", "--tag", whole, str(folder))
    assert not ended.returncode, ended.stderr
    return "a stand-in"


def engine(*words: str) -> subprocess.CompletedProcess[str]:
    """Call the engine that runs containers."""
    return subprocess.run([runner(), *words], capture_output=True, text=True, check=False)


def _kafka(folder: Path) -> str:
    broker.prepare()
    shutil.copytree(broker.JARS, folder / "libs")
    java = Path(_installed("java")).parents[1]
    unused = shutil.ignore_patterns("docs", "include", "jmods", "legal", "man", "src.zip")
    shutil.copytree(java, folder / "java", ignore=unused)
    (folder / "run").write_text(RUN)
    (folder / "run").chmod(0o755)
    return KAFKA


def _prometheus(folder: Path) -> str:
    shutil.copy(_installed("prometheus"), folder / "prometheus")
    return PROMETHEUS


STANDINS: dict[str, Callable[[Path], str]] = {
    "apache/kafka": _kafka,
    "prom/prometheus": _prometheus,
}


def _installed(program: str) -> str:
    found = shutil.which(program)
    assert found, f"neither a registry nor {program} on this machine"
    return str(Path(found).resolve())
