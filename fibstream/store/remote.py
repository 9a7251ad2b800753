"""Files in a bucket (S3, Google Cloud Storage), through tensorstore's key-value stores.

Three things differ from a folder, and the port allows for them:

* A handle cannot hold an old generation open. Every answer of the store names the generation that
  it belongs to; one that is not the handle's own raises Moved, and the reader opens anew. So what
  one handle returns is of one generation, as if each range were asked for with ``If-Match``.
* The name of a generation is the ETag. On most S3 stores it follows from the content, so the same
  bytes put again are the same generation, and a conditional put succeeds when the content went
  A, B, A in between. That is right for what is decided from the content alone: a raw object carries
  its revision in its bytes, so "over the revision just read" (protocol rule P4) and "over the bytes
  just read" are the same condition; the dataset record is its bytes.
* An answer can be lost. A conditional put that did succeed may then be repeated below us and
  return False: whoever gets False reads again, and finds its own bytes. True is always true.
"""

import functools
import os
import re
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fibstream.core.errors import DiskFull, Retryable, WrongUse
from fibstream.core.ports import Files, Generation, Moved

from .local import PRIVATE, LocalFiles

LOOK = 16 * 1024  # bytes read on opening: the index of 512³ (8 KiB), a stamp (4 KiB), small objects
# A worker reads 27 chunks around its own and several ranges of each; more than this gains nothing
# on a 10 Gbit/s line, and stays far below the 3500 puts per second that S3 takes for one prefix.
CONCURRENCY = 32
RETRIES = {"max_retries": 5, "initial_delay": "200ms", "max_delay": "2s"}  # five seconds in all
STALL_S = 15  # without a byte moved a request is given up and tried again; a busy store takes a few
CONNECT_S = 5  # to a machine that is there it takes milliseconds, to one that is not for ever
LIMIT_S = 300.0  # for one operation: 1 GiB, the largest object, at 4 MB/s; a stall with all retries
HINTS = 100_000  # paths remembered as short: some 15 MB; only requests are saved by it
FORMS = "expected a path, file:///PATH, s3://BUCKET/PREFIX or gs://BUCKET/PREFIX"
_OURS = -1  # begins every generation of an object, and no other
_SENT = 300  # characters of a server's answer that are worth repeating
_DENIED = ("PERMISSION_DENIED", "UNAUTHENTICATED", "Failed to get credentials")
_PASSING = ("ABORTED", "UNAVAILABLE", "DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "INTERNAL",
            "DATA_LOSS")  # fmt: skip


class _OutOfRange(Exception):
    """The object is shorter than what was asked of it; how long it is tensorstore keeps secret."""


def open_files(url: str) -> Files:
    """Open the files below a path or URL.

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
    """Return what tensorstore is to open for ``s3://BUCKET/PREFIX`` or ``gs://BUCKET/PREFIX``.

    S3 is asked at ``AWS_ENDPOINT_URL_S3`` or ``AWS_ENDPOINT_URL`` if set, in ``AWS_REGION`` or
    ``AWS_DEFAULT_REGION``, with credentials from the usual chain (``AWS_ACCESS_KEY_ID``,
    ``AWS_PROFILE``, the machine's role); Google Cloud Storage with those of Google's chain. Raises
    WrongUse for anything else.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("s3", "gs") or not parts.netloc or parts.query or parts.fragment:
        raise WrongUse(f"{url!r}: {FORMS}")
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
        # First in the chain anyway; asked for by name, the rest of it does not complain on stderr.
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
def _nothing() -> bytes:
    """Return tensorstore's name for the generation of an object that is not there."""
    store = _tensorstore().KvStore.open({"driver": "memory"}).result()
    return bytes(store.read("nothing").result().stamp.generation)


class RemoteHandle:
    """One generation of one object; its last bytes, or all of a short one, came with the opening.

    ``size`` reads the object whole, and every read beyond what is in hand raises Moved once the
    object is another generation.
    """

    def __init__(self, files: "RemoteFiles", path: str, found: Any, *, whole: bool) -> None:
        self._files = files
        self._path = path
        self._found = found.stamp.generation
        self._last: bytes = found.value
        self._whole = whole
        self.generation: Generation = (_OURS, *self._found)

    @property
    def size(self) -> int:
        """Bytes of the object, which is now read whole."""
        return len(self._all())

    def end(self, count: int) -> bytes:
        """Return the last ``count`` bytes, all of them when there are fewer."""
        if not self._whole and count > len(self._last):
            try:
                self._last = self._same(self._files.ranges(self._path, [slice(-count, None)]))[0]
            except _OutOfRange:
                self._all()
        return self._last[-count:] if count > 0 else b""

    def read(self, start: int, stop: int) -> bytes:
        """Return the bytes ``[start, stop)``."""
        return self.parts([(start, stop)])[0]

    def parts(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return several ranges, asked for at once; neighbours come in one request."""
        if not self._whole:
            wanted = [slice(*range_) for range_ in ranges if range_[0] < range_[1]]
            try:
                found = iter(self._same(self._files.ranges(self._path, wanted)))
                return [next(found) if start < stop else b"" for start, stop in ranges]
            except _OutOfRange:
                pass
        data = self._all()
        return [data[start:stop] for start, stop in ranges]

    def _all(self) -> bytes:
        if not self._whole:
            (self._last,) = self._same(self._files.ranges(self._path, [None]))
            self._whole = True
        return self._last

    def _same(self, found: Sequence[Any]) -> list[bytes]:
        """Return what was read, provided that all of it is of this generation."""
        for one in found:
            if one.stamp.generation != self._found:
                raise Moved(f"{self._files.url}: {self._path} was replaced while it was read")
        return [bytes(one.value) for one in found]

    def close(self) -> None:
        """Nothing is held."""


class RemoteFiles:
    """Objects below one prefix of a bucket; may be used by several threads.

    Parameters
    ----------
    spec : dict
        Of a tensorstore key-value store whose path is empty or ends with a slash.
    url : str
        How messages call it.
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
        """Open one generation of an object, with one request unless a short one is met anew."""
        whole = path in self._short
        try:
            (found,) = self.ranges(path, [None if whole else slice(-LOOK, None)])
        except _OutOfRange:
            whole = True
            (found,) = self.ranges(path, [None])
        if found.state == "missing":
            return None
        if whole:
            self._remember(path, len(found.value))
        return RemoteHandle(self, path, found, whole=whole)

    def _remember(self, path: str, size: int) -> None:
        """Keep in mind that a path is short, so that it is next read whole and not by its end."""
        if size >= LOOK:
            self._short.discard(path)
        elif len(self._short) < HINTS:
            self._short.add(path)

    def ranges(self, path: str, ranges: Sequence[slice | None]) -> Sequence[Any]:
        """Read ranges of an object at once, each with the generation it is of; None is all of it.

        Raises ``_OutOfRange`` when the object is too short for one of them.
        """
        batch = _tensorstore().Batch()  # merges ranges that touch
        futures = [self._store.read(path, byte_range=part, batch=batch) for part in ranges]
        batch.submit()
        until = time.monotonic() + LIMIT_S
        return [self._result(future, until) for future in futures]

    def put(self, path: str, data: bytes, expected: Generation | None = None) -> bool:
        """Replace an object whole, with ``expected`` only over that generation.

        False may also follow a success whose answer was lost: read again.
        """
        condition = {}
        if expected is not None:
            if expected and expected[0] != _OURS:
                return False  # nothing here was ever of that generation
            condition["if_equal"] = bytes(expected[1:]) or _nothing()
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
        """Remove an object if it is there."""
        self._result(self._store.write(path, None))

    def list(self, prefix: str) -> Iterator[str]:
        """Yield the paths below a folder, in order; an empty prefix means all."""
        folder = prefix.rstrip("/")
        found = self._listed(f"{folder}/", f"{folder}0") if folder else self._listed("", "")
        yield from sorted(key.decode() for key in found)  # "0" is what comes after "/"

    def _listed(self, start: str, stop: str) -> Sequence[bytes]:
        found: Sequence[bytes] = self._result(self._store.list(self._range(start, stop)))
        return found

    def _result(self, future: Any, until: float | None = None) -> Any:
        """Wait for an operation, and say what went wrong in this project's words."""
        left = LIMIT_S if until is None else max(until - time.monotonic(), 0.0)
        try:
            return future.result(timeout=left)
        except TimeoutError as error:
            future.cancel()
            raise Retryable(f"{self.url}: no answer within {LIMIT_S:.0f} s") from error
        except (ValueError, NotImplementedError) as error:
            raise _translated(str(error), self.url) from error


def _translated(message: str, url: str) -> Exception:
    """Return the error that a message of tensorstore stands for."""
    said = " ".join(message.split())[:_SENT]
    code = re.search(r"http_response_code='(\d+)'", message)
    status = int(code[1]) if code else 0
    if message.startswith("OUT_OF_RANGE"):
        return _OutOfRange()
    if status == 507:
        return DiskFull(f"no space left in {url}: {said}")
    if any(word in message for word in _DENIED):
        return WrongUse(
            f"{url}: access denied; expected credentials (AWS_ACCESS_KEY_ID and "
            "AWS_SECRET_ACCESS_KEY, a profile or a role; of Google for gs://) that may list, read, "
            f"write and delete there: {said}"
        )
    if message.startswith("NOT_FOUND"):
        return WrongUse(f"{url}: no such bucket; create it first: {said}")
    if status >= 500 or "RequestTimeout" in message or message.startswith(_PASSING):
        return Retryable(f"{url}: {said}")
    return WrongUse(f"{url}: refused; check bucket, region and AWS_ENDPOINT_URL: {said}")
