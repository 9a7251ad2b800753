"""KEDA beside a control plane: its operator, and the server of metrics that the API asks."""

from pathlib import Path

from tests.support.programs import free_ports

from .control_plane import ControlPlane, certificates

NAMESPACE = "keda"
API = "v1beta1.external.metrics.k8s.io"


def start(plane: ControlPlane, programs: Path, folder: Path) -> None:
    """Start both, and wait until the control plane reaches them.

    They run outside the cluster, whose nodes run nothing: its service is a name of this machine.
    """
    certs = certificates(folder / "certs", "keda")
    metrics, health, between, secure, more = free_ports(5)
    place = {"POD_NAMESPACE": NAMESPACE, "KEDA_CLUSTER_OBJECT_NAMESPACE": NAMESPACE,
             "WATCH_NAMESPACE": ""}  # fmt: skip
    plane.kubectl("create", "namespace", NAMESPACE)
    for resource in _api(secure):
        plane.kubectl("create", "-f", "-", given=resource)
    plane.run(
        "keda-operator", programs / "keda-operator", f"--cert-dir={certs}",
        f"--metrics-bind-address=127.0.0.1:{metrics}",
        f"--health-probe-bind-address=127.0.0.1:{health}",
        f"--metrics-service-bind-address=127.0.0.1:{between}", **place,
    )  # fmt: skip
    plane.run(
        "keda-adapter", programs / "keda-adapter", f"--cert-dir={certs}",
        f"--client-ca-file={certs / 'ca.crt'}", f"--tls-cert-file={certs / 'tls.crt'}",
        f"--tls-private-key-file={certs / 'tls.key'}", "--bind-address=127.0.0.1",
        f"--secure-port={secure}", f"--port={more}",
        f"--metrics-service-address=localhost:{between}", f"--lister-kubeconfig={plane.config}",
        f"--authentication-kubeconfig={plane.config}",
        f"--authorization-kubeconfig={plane.config}", **place,
    )  # fmt: skip
    plane.kubectl("wait", "--for=condition=Available", f"apiservice/{API}", "--timeout=100s")


def _api(port: int) -> list[dict[str, object]]:
    """Return the service of the metrics, and the API that it is behind."""
    version, _, group = API.partition(".")
    name = "keda-metrics-apiserver"
    service = {"apiVersion": "v1", "kind": "Service",
               "metadata": {"name": name, "namespace": NAMESPACE},
               "spec": {"type": "ExternalName", "externalName": "localhost"}}  # fmt: skip
    reached = {"name": name, "namespace": NAMESPACE, "port": port}
    spec = {"service": reached, "group": group, "version": version, "insecureSkipTLSVerify": True,
            "groupPriorityMinimum": 100, "versionPriority": 100}  # fmt: skip
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
           "metadata": {"name": API}, "spec": spec}  # fmt: skip
    return [service, api]
