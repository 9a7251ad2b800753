"""What tests need to start programs of others on this machine."""

import contextlib
import os
import socket

# Run by a Python of its own, which becomes the program: it ends with the process that started it.
END_WITH_PARENT = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
os.execvp(sys.argv[1], sys.argv[1:])
"""


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on: all are held until the last is found."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def free_row(count: int) -> int:
    """Return the first of so many ports in a row that nobody listens on."""
    begin = 20000 + os.getpid() % 200 * 60  # test processes side by side look at the same time
    for first in range(begin, 32000, count):
        with contextlib.ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports")
