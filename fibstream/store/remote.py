"""Files in a bucket (S3, Google Cloud Storage), through tensorstore's key-value stores.

Three things differ from a folder, and the port allows for them:

* A handle cannot hold an old generation open. Every answer of the store names the generation that
  it belongs to; another than the handle's raises Replaced, and the reader opens anew. So what
  one handle returns is of one generation, as if each range were asked for with ``If-Match``.
* The name of a generation is the ETag. On most S3 stores it follows from the content, so the same
  bytes put again are the same generation, and a conditional put succeeds when the content went
  A, B, A in between. That is right for what is decided from the content alone: a raw blob carries
  its revision in its bytes, so "over the revision just read" (protocol rule P4) and "over the bytes
  just read" are the same condition; the dataset record is its bytes.
* An answer can be lost. A conditional put that succeeded may then be repeated by tensorstore and
  return False: the caller reads again, and finds its own bytes. True is always right.
"""

import contextlib
import functools
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fibstream.core.echo import echo
from fibstream.core.errors import DiskFull, Retryable, WrongUse
from fibstream.core.ports import Files, Generation, Replaced

from .local import PRIVATE, LocalFiles

# Read on opening: it holds the index of 512³ (8 KiB) and a stamp (4 KiB), or a small blob.
TAIL_BYTES = 16 * 1024
# A worker reads 27 chunks around its own and several ranges of each; more than this gains nothing
# on a 10 Gbit/s line, and stays far below the 3500 puts per second that S3 takes for one prefix.
CONCURRENCY = 32
RETRIES = {"max_retries": 5, "initial_delay": "200ms", "max_delay": "2s"}  # five seconds in all
STALL_S = 15  # without a byte moved, then a request is tried again; a busy store takes a few
CONNECT_S = 5  # a reachable machine takes milliseconds
# Of one operation: 1 GiB, the largest blob, at 4 MB/s; a stalled request with all its retries.
TIMEOUT_S = 300.0
MAX_SHORT_PATHS = 100_000  # remembered: some 15 MB; they only save requests
URL_FORMS = "expected a path, file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
_REMOTE = -1  # the first number of every generation of a remote file, and of no other
_MAX_MESSAGE = 300  # characters of a server's answer that are worth repeating
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "Failed to get credentials")
_TRANSIENT = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL",
            "DATA_LOSS")  # fmt: skip


class _OutOfRange(Exception):
    """The file is shorter than the range that was read; tensorstore does not give its length."""


def open_files(url: str) -> Files:
    """Return the files below a path or URL.

    Raises WrongUse when ``url`` has none of the known forms, or its bucket is not there or denied;
    Retryable when the store is away.
    """
    parts = urlsplit(url)
    if url and "://" not in url:
        return LocalFiles(Path(url))
    if parts.scheme == "file" and parts.netloc in ("", "localhost") and parts.path.strip("/"):
        return LocalFiles(Path(unquote(parts.path)))
    files = RemoteFiles(kvstore(url), url)
    files.check()
    return files


def kvstore(url: str) -> dict[str, Any]:
    """Return tensorstore's specification of ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``.

    S3 is reached at ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` if set, in ``AWS_REGION`` or
    ``AWS_DEFAULT_REGION``, with credentials from the usual chain (``AWS_ACCESS_KEY_ID``,
    ``AWS_PROFILE``, the machine's role); Google Cloud Storage with those of Google's chain. Raises
    WrongUse for anything else.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "gs") or not parts.netloc or parts.query or parts.fragment:
        raise WrongUse(f"{echo(url)}: {URL_FORMS}")
    prefix = parts.path.strip("/")
    spec = _s3(parts.netloc) if parts.scheme == "s3" else _gcs(parts.netloc)
    return {**spec, "path": f"{prefix}/" if prefix else ""}


def _s3(bucket: str) -> dict[str, Any]:
    environment = os.environ
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "use_conditional_write": True}
    endpoint = environment.get("AWS_ENDPOINT_URL_S3") or environment.get("AWS_ENDPOINT_URL")
    region = environment.get("AWS_REGION") or environment.get("AWS_DEFAULT_REGION")
    if endpoint:
        spec["endpoint"] = endpoint
        region = region or "us-east-1"  # what servers other than Amazon's expect in signatures
    if region:
        spec["aws_region"] = region
    if environment.get("AWS_ACCESS_KEY_ID"):
        # First in the chain anyway; named, it keeps the rest of the chain from writing to stderr.
        spec["aws_credentials"] = {"type": "environment"}
    return spec | _limits("s3")


def _gcs(bucket: str) -> dict[str, Any]:
    return {"driver": "gcs", "bucket": bucket} | _limits("gcs")


def _limits(driver: str) -> dict[str, Any]:
    return {f"{driver}_request_concurrency": {"limit": CONCURRENCY},
            f"{driver}_request_retries": RETRIES}  # fmt: skip


@functools.cache
def _tensorstore() -> Any:
    """Return tensorstore, imported when a bucket is first opened, its connections with limits."""
    for name, seconds in (("CONNECT_TIMEOUT", CONNECT_S), ("LOW_SPEED_TIME", STALL_S)):
        os.environ.setdefault(f"TENSORSTORE_CURL_{name}_SECONDS", str(seconds))
    os.environ.setdefault("TENSORSTORE_CURL_LOW_SPEED_LIMIT_BYTES", "1")
    import tensorstore

    return tensorstore


@functools.cache
def _missing_generation() -> bytes:
    """Return tensorstore's name for the generation of an object that is not there."""
    store = _tensorstore().KvStore.open({"driver": "memory"}).result()
    return bytes(store.read("nothing").result().stamp.generation)


class RemoteHandle:
    """One generation of one file; opening reads its last bytes, or all of a short one.

    ``size`` reads the whole file, and every read beyond the bytes at hand raises Replaced once the
    file is another generation.
    """

    def __init__(self, files: "RemoteFiles", path: str, found: Any, *, whole: bool) -> None:
        self._files = files
        self._path = path
        self._generation = found.stamp.generation
        self._last: bytes = found.value
        self._whole = whole
        self.generation: Generation = (_REMOTE, *self._generation)

    @property
    def size(self) -> int:
        """Bytes of the file, which is now read whole."""
        return len(self._read_all())

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes, all of them when there are fewer."""
        if not self._whole and count > len(self._last):
            try:
                self._last = self._of_this_generation(
                    self._files.ranges(self._path, [slice(-count, None)])
                )[0]
            except _OutOfRange:
                self._read_all()
        return self._last[-count:] if count > 0 else b""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``."""
        return self.parts([(start, stop)])[0]

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges, requested at once; neighbouring ones in one request."""
        if not self._whole:
            wanted = [slice(*range_) for range_ in ranges if range_[0] < range_[1]]
            try:
                found = iter(self._of_this_generation(self._files.ranges(self._path, wanted)))
                return [next(found) if start < stop else b"" for start, stop in ranges]
            except _OutOfRange:
                pass
        data = self._read_all()
        return [data[start:stop] for start, stop in ranges]

    def _read_all(self) -> bytes:
        if not self._whole:
            (self._last,) = self._of_this_generation(self._files.ranges(self._path, [None]))
            self._whole = True
        return self._last

    def _of_this_generation(self, found: Sequence[Any]) -> list[bytes]:
        """Return the bytes that were read; raise Replaced unless all are of this generation."""
        for one in found:
            if one.stamp.generation != self._generation:
                raise Replaced(f"{self._files.url}: {self._path} was replaced while it was read")
        return [bytes(one.value) for one in found]

    def close(self) -> None:
        """Nothing is held."""


class RemoteFiles:
    """Files below one prefix of a bucket; may be used by several threads.

    Parameters
    ----------
    spec : dict
        Of a tensorstore key-value store; its path is empty or ends with a slash.
    url : str
        Names the store in messages.
    """

    def __init__(self, spec: dict[str, Any], url: str) -> None:
        self.url = url
        store = _tensorstore().KvStore
        self._store: Any = self._result(store.open(spec))
        self._range = store.KeyRange
        self._short: set[str] = set()

    def check(self) -> None:
        """Raise WrongUse unless the bucket is there and may be listed."""
        self._listed(f"{PRIVATE}/none/", f"{PRIVATE}/none0")  # nothing to list: one short answer

    def open(self, path: str) -> RemoteHandle | None:
        """Open one generation of a file: one request, two when a short file is new here."""
        whole = path in self._short
        try:
            (found,) = self.ranges(path, [None if whole else slice(-TAIL_BYTES, None)])
        except _OutOfRange:
            whole = True
            (found,) = self.ranges(path, [None])
        if found.state == "missing":
            return None
        if whole:
            self._remember(path, len(found.value))
        return RemoteHandle(self, path, found, whole=whole)

    def _remember(self, path: str, size: int) -> None:
        """Remember whether a file is short: then it is next read whole and not by its end."""
        if size >= TAIL_BYTES:
            self._short.discard(path)
        elif len(self._short) < MAX_SHORT_PATHS:
            self._short.add(path)

    def ranges(self, path: str, ranges: Sequence[slice | None]) -> Sequence[Any]:
        """Read ranges of a file at once, each with its generation; None is the whole file.

        Raises ``_OutOfRange`` when the file is too short for one of them.
        """
        batch = _tensorstore().Batch()  # merges ranges that touch
        futures = [self._store.read(path, byte_range=part, batch=batch) for part in ranges]
        batch.submit()
        deadline = time.monotonic() + TIMEOUT_S
        return [self._result(future, deadline) for future in futures]

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Replace a file whole, with ``expected`` only over that generation.

        False may also follow a success whose answer was lost: read again.
        """
        condition = {}
        if expected is not None:
            if expected and expected[0] != _REMOTE:
                return False  # a generation of another kind of store
            condition["if_equal"] = bytes(expected[1:]) or _missing_generation()
        stamp = self._result(self._store.write(path, data, **condition))
        if not stamp.generation:  # refused
            if expected is None:
                raise Retryable(f"{self.url}: {path}: refused by a condition that was not set")
            if not expected and self.open(path) is None:
                self.check()  # a bucket that is gone refuses likewise, for ever
            return False
        self._remember(path, len(data))
        return True

    def delete(self, path: str) -> None:
        """Delete a file if it is there."""
        self._result(self._store.write(path, None))

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below a folder, in order; an empty prefix means all."""
        folder = prefix.rstrip("/")
        found = self._listed(f"{folder}/", f"{folder}0") if folder else self._listed("", "")
        yield from sorted(key.decode() for key in found)  # "0" is what comes after "/"

    def _listed(self, start: str, stop: str) -> Sequence[bytes]:
        found: Sequence[bytes] = self._result(self._store.list(self._range(start, stop)))
        return found

    def _result(self, future: Any, deadline: float | None = None) -> Any:
        """Wait for an operation; raise fibstream's error for one of tensorstore."""
        left = TIMEOUT_S if deadline is None else max(deadline - time.monotonic(), 0.0)
        try:
            return future.result(timeout=left)
        except TimeoutError as error:
            future.cancel()
            raise Retryable(f"{self.url}: no answer within {TIMEOUT_S:.0f} s") from error
        except (ValueError, NotImplementedError) as error:
            raise _error_of(str(error), self.url) from error


@contextlib.contextmanager
def remote_errors(url: str) -> Iterator[None]:
    """Turn what tensorstore raises of a bucket into fibstream's error, which names ``url``."""
    try:
        yield
    except TimeoutError as error:
        raise Retryable(f"{url}: no answer within {TIMEOUT_S:.0f} s") from error
    except (ValueError, NotImplementedError) as error:
        raise _error_of(str(error), url) from error


def _error_of(message: str, url: str) -> Exception:
    """Return fibstream's error for a message of tensorstore."""
    text = " ".join(message.split())[:_MAX_MESSAGE]
    code = re.search(r"http_response_code='(\d+)'", message)
    status = int(code[1]) if code else 0
    if message.startswith("OUT_OF_RANGE"):
        return _OutOfRange()
    if status == 507:
        return DiskFull(f"no space left in {url}: {text}")
    if any(word in message for word in _DENIED):
        return WrongUse(
            f"{url}: access denied; expected credentials (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile or a role; of Google for gs://) that may list, read, "
            f"write and delete there: {text}"
        )
    if message.startswith("NOT_FOUND"):
        return WrongUse(f"{url}: no such bucket; create it first: {text}")
    if status >= 500 or "RequestTimeout" in message or message.startswith(_TRANSIENT):
        return Retryable(f"{url}: {text}")
    return WrongUse(f"{url}: refused; check bucket, region and AWS_ENDPOINT_URL: {text}")
