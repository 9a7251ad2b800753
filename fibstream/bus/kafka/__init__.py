"""The bus of many machines: Apache Kafka behind the port ``Bus``.

``KafkaBus`` is all that others need. Each file uses only those below it:

==================  ===============================================================================
``bus.py``          ``KafkaBus``: what one process sees of logs and queues
``queue.py``        one queue of tasks: leased, acknowledged, counted, freed when a worker dies
``member.py``       the thread by which a worker is a member of the group of a queue
``buffer.py``       what a member fetched, holds and may commit (pure)
``group.py``        a group seen and changed from outside of it
``lease.py``        who holds which task, and what follows for who finds it next (pure)
``log.py``          several logs read as one, and the offset that readers of it share
``follower.py``     the one consumer that feeds all of these
``declare.py``      the topics: created, and compared with what is there; also
                    ``python -m fibstream.bus.kafka SERVERS``
``link.py``         the producer and the administrator of this process, and every timeout of a call
``outbox.py``       records that are sent and not yet confirmed
``stall.py``        when a consumer counts as stuck
``sockets.py``      the one workaround that needs an undocumented part of the client
==================  ===============================================================================

A *place* is one partition of a topic. The client is kafka-python, of which only documented
interfaces are used but in ``sockets.py``.
"""

from .bus import KafkaBus

__all__ = ["KafkaBus"]
