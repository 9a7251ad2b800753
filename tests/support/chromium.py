"""A headless Chromium that tests look through: pages, what they show as pixels, what they say.

It is driven by the DevTools protocol over two pipes, so no package and no port is needed. WebGL is
drawn by SwiftShader, on the processor.
"""

import base64
import io
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from .patience import PATIENCE_S

NAMES = ("chromium", "chromium-browser", "google-chrome")
REQUIRED = "FIBSTREAM_REQUIRE_CHROMIUM"
LOOK_S = 0.5  # a picture costs the processor that draws it
FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--remote-debugging-pipe",
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist", "--hide-scrollbars", "--no-first-run", "--disable-extensions",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--no-proxy-server",
)  # fmt: skip


def program() -> str:
    """Return the browser; without one the test is skipped, or fails where one is required."""
    for name in NAMES:
        if found := shutil.which(name):
            return found
    why = f"no browser: none of {', '.join(NAMES)} is installed"
    if os.environ.get(REQUIRED):
        pytest.fail(why)
    pytest.skip(why)


class Page:
    """One tab; raises AssertionError when it does not come to what is waited for."""

    def __init__(self, process: int, to: int, source: int) -> None:
        self.process = process
        self.said: list[str] = []  # what the page wrote to its console, and its errors
        self._to, self._source = to, source
        self._waiting = b""
        self._count = 0
        self._session = ""

    def open(self, url: str, *, width: int, height: int) -> None:
        """Open a page in a window of so many pixels."""
        target = self.call("Target.createTarget", url="about:blank")
        where = {"targetId": target["targetId"], "flatten": True}
        self._session = self.call("Target.attachToTarget", **where)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.call("Page.navigate", url=url)

    def reload(self) -> None:
        """Load the page again, as a user does."""
        self.call("Page.reload")

    def run(self, script: str) -> Any:
        """Return the value of an expression in the page."""
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, (script, answer)
        return answer["result"].get("value")

    def wait(self, script: str) -> None:
        """Wait until an expression in the page is true."""
        self.until(lambda: self.run(f"Boolean({script})"), script)

    def until(self, condition: Callable[[], object], what: str) -> None:
        """Wait until a condition is true."""
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, (
                f"{what}: not within {PATIENCE_S} s; {self.said[-20:]}"
            )
            select.select([self._source], [], [], LOOK_S)

    def picture(self) -> NDArray[np.uint8]:
        """Return what the page shows as (rows, columns, 3), red, green and blue."""
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))

    def call(self, method: str, **parameters: object) -> Any:
        """Call the browser and return its answer."""
        self._count += 1
        said = {"id": self._count, "method": method, "params": parameters}
        if self._session:
            said["sessionId"] = self._session
        os.write(self._to, json.dumps(said).encode() + b"\0")
        deadline = time.monotonic() + PATIENCE_S
        while True:
            message = self._next(deadline, method)
            if message.get("id") == self._count:
                assert "error" not in message, (method, message)
                return message["result"]
            self._note(message)

    def _next(self, deadline: float, method: str) -> dict[str, Any]:
        while b"\0" not in self._waiting:
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._source], [], [], left)
            assert ready, f"{method}: no answer within {PATIENCE_S} s; {self.said[-20:]}"
            part = os.read(self._source, 1 << 20)
            assert part, f"{method}: the browser has ended"
            self._waiting += part
        first, _, self._waiting = self._waiting.partition(b"\0")
        found: dict[str, Any] = json.loads(first)
        return found

    def _note(self, message: dict[str, Any]) -> None:
        said = message.get("params", {})
        if message.get("method") == "Runtime.exceptionThrown":
            self.said.append(json.dumps(said["exceptionDetails"])[:1000])
        elif message.get("method") == "Runtime.consoleAPICalled":
            self.said.append(" ".join(str(a.get("value", "")) for a in said["args"])[:1000])
        elif message.get("method") == "Log.entryAdded":
            self.said.append(json.dumps(said["entry"])[:1000])


@contextmanager
def browser(folder: Path) -> Iterator[Page]:
    """Start a browser with a profile in a folder; it is gone at the end."""
    name = program()
    theirs_in, ours_out = os.pipe()
    ours_in, theirs_out = os.pipe()
    quiet = os.open(os.devnull, os.O_RDWR)
    actions = [
        # Moved out of the way first: one of the pipes may be 3 or 4 itself.
        *((os.POSIX_SPAWN_DUP2, theirs_in, 98), (os.POSIX_SPAWN_DUP2, theirs_out, 99)),
        *((os.POSIX_SPAWN_DUP2, 98, 3), (os.POSIX_SPAWN_DUP2, 99, 4)),
        *((os.POSIX_SPAWN_CLOSE, 98), (os.POSIX_SPAWN_CLOSE, 99)),
        *((os.POSIX_SPAWN_DUP2, quiet, 0), (os.POSIX_SPAWN_DUP2, quiet, 1)),
        (os.POSIX_SPAWN_DUP2, quiet, 2),
    ]
    arguments = [name, *FLAGS, f"--user-data-dir={folder}", "about:blank"]
    process = os.posix_spawn(name, arguments, os.environ, file_actions=actions, setpgroup=0)
    for descriptor in (theirs_in, theirs_out, quiet):
        os.close(descriptor)
    try:
        yield Page(process, ours_out, ours_in)
    finally:
        os.killpg(process, signal.SIGKILL)
        os.waitpid(process, 0)
        os.close(ours_in)
        os.close(ours_out)
