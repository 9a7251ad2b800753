"""Connections that close their socket when no broker answers.

kafka-python 3.0.0 to 3.0.12 (the newest) leaves the socket of a failed attempt to connect to the
garbage collector: hundreds of descriptors while a broker is away. No documented setting prevents
it, so this uses ``KafkaNetSocket``, which the client exports from ``kafka.net`` without a word in
its manual, and its registry: how to connect is chosen by the scheme of a proxy's address.
"""

from typing import Any

from kafka.net import KafkaNetSocket

URL = "direct://"  # as ``proxy_url`` of a client


class _Direct(KafkaNetSocket):  # type: ignore[misc]
    """A connection without a proxy."""

    SCHEMES = ("direct",)

    async def sock_connect(self, net: Any, sock: Any, *place: Any, **limits: Any) -> Any:
        try:
            return await super().sock_connect(net, sock, *place, **limits)
        except BaseException:
            sock.close()
            raise
