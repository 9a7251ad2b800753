"""Clients that misbehave on a connection."""

import socket
import time

from .patience import PATIENCE_S


def drip(link: socket.socket, drops: bytes, give_up_s: float = PATIENCE_S) -> float | None:
    """Send drops until the other side closes; return after how many seconds, None if it does not.

    A drop leaves each 0.05 s, while nothing else comes.
    """
    begun = time.monotonic()
    link.settimeout(0.05)
    while time.monotonic() - begun < give_up_s:
        try:
            link.sendall(drops)
            if link.recv(1) == b"":
                return time.monotonic() - begun
        except TimeoutError:
            continue
        except ConnectionError:
            return time.monotonic() - begun
    return None
