"""S3 servers on this machine: one in memory that counts requests and misbehaves, one on disk.

Both need only packages that pip brings; neither reaches beyond 127.0.0.1.
"""

import contextlib
import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .patience import PATIENCE_S
from .programs import free_ports

BUCKET = "fibstream"
REGION = "us-east-1"
LOOK_S = 0.05  # between two looks at whether a server is up
WEED = Path(sys.executable).with_name("weed")
WEED_PARTS = ("s3", "master", "volume", "filer", "admin")  # each has a port, and one for gRPC


def environment(endpoint: str, key: str = "test") -> dict[str, str]:
    """Return the standard variables by which a client finds a server."""
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_REGION": REGION,
        "AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": "secret",
    }  # fmt: skip


@dataclass(frozen=True)
class Request:
    """One request as the server saw it."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]

    @property
    def range(self) -> str:
        """The bytes asked for, such as ``bytes=-16384``; empty: all."""
        return self.headers.get("RANGE", "")


Before = Callable[[Request], str | None]


@dataclass
class Moto:
    """An S3 server in this process. ``before`` sees each request, and may answer with a status."""

    endpoint: str = ""
    seen: list[Request] = field(default_factory=list)
    before: Before | None = None

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        """Answer one request (WSGI)."""
        headers = {k[5:]: str(v) for k, v in environ.items() if k.startswith("HTTP_")}
        request = Request(
            environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], headers
        )
        self.seen.append(request)
        status = self.before(request) if self.before else None
        if status is None:
            return self._moto(environ, start)
        environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        code = "".join(status.split()[1:])
        body = b"" if request.method == "HEAD" else f"<Error><Code>{code}</Code></Error>".encode()
        start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))])
        return [body]

    def __post_init__(self) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app

        self._moto = DomainDispatcherApplication(create_backend_app)

    def bucket(self, name: str) -> None:
        """Make an empty bucket, or empty it."""
        backend = _backend()
        if name in backend.buckets:
            for key in list(backend.buckets[name].keys):
                backend.delete_object(name, key)
        else:
            backend.create_bucket(name, REGION)
        self.before = None
        self.seen.clear()

    def replace(self, key: str, data: bytes) -> None:
        """Put an object behind the client's back."""
        _backend().put_object(BUCKET, key, data)

    def remove(self, key: str) -> None:
        """Delete an object behind the client's back."""
        _backend().delete_object(BUCKET, key)


def _backend() -> Any:
    """Return what moto's requests without an account act on."""
    from moto.s3.models import s3_backends

    return s3_backends["123456789012"]["aws"]


@contextlib.contextmanager
def moto() -> Iterator[Moto]:
    """Serve S3 from memory, from threads of this process."""
    from werkzeug.serving import WSGIRequestHandler, make_server

    class Handler(WSGIRequestHandler):
        protocol_version = "HTTP/1.1"  # connections are kept, as real servers do

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    served = Moto()
    server = make_server("127.0.0.1", 0, served, threaded=True, request_handler=Handler)
    served.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class Weed:
    """SeaweedFS as a process of its own, which keeps what was put in a folder."""

    def __init__(self) -> None:
        # Not a folder of pytest: the path of a socket may have a hundred characters.
        self.folder = Path(tempfile.mkdtemp(prefix="weed-"))
        self._ports = free_ports(2 * len(WEED_PARTS))
        self.endpoint = f"http://127.0.0.1:{self._ports[0]}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the server and wait until it answers."""
        ports = iter(self._ports)
        arguments = [
            f"-{part}.port{kind}={next(ports)}" for part in WEED_PARTS for kind in ("", ".grpc")
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [WEED, "-logtostderr=true", "mini", "-dir=.", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                 f"-bucket={BUCKET}", *arguments, "-webdav=false", "-admin.ui=false",
                 "-s3.port.iceberg=0", "-s3.port.lance=0", "-filer.localSocket=filer.sock",
                 "-s3.localSocket=s3.sock",
                 "-master.telemetry=false"],  # it would report to its makers otherwise
                cwd=self.folder, stdout=log, stderr=log, start_new_session=True,
                env={**os.environ, **environment(self.endpoint)},
            )  # fmt: skip
        self._wait()

    def _wait(self) -> None:
        """Wait until the bucket takes an object."""
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError, ClientError

        quick = Config(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=10)
        client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name=REGION, aws_access_key_id="test",
            aws_secret_access_key="secret", config=quick,
        )  # fmt: skip
        deadline = time.monotonic() + PATIENCE_S
        while True:
            assert self._process is not None and self._process.poll() is None, self.log
            try:
                client.put_object(Bucket=BUCKET, Key="up", Body=b"")
                client.delete_object(Bucket=BUCKET, Key="up")
                break
            except (BotoCoreError, ClientError) as error:
                assert time.monotonic() < deadline, f"{error}: {self.log}"
                time.sleep(LOOK_S)
        client.close()

    @property
    def log(self) -> str:
        """The end of what the server said."""
        return (self.folder / "log").read_text()[-2000:]

    def kill(self) -> None:
        """End the server at once, as a power cut would end it."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()
            self._process = None

    def close(self) -> None:
        """End the server and remove what it kept."""
        self.kill()
        shutil.rmtree(self.folder)
        for port in self._ports:
            for path in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-grpc-{port}.sock"):
                path.unlink(missing_ok=True)
