"""Tables as the messages of an Arrow IPC stream. Pure."""

from collections.abc import Iterable, Iterator

import pyarrow as pa

MAX_PIECE = 2 << 20  # bytes of rows in a message: between 1 and 4 MB gRPC is fastest
END = b"\xff\xff\xff\xff\0\0\0\0"  # of a stream, as the format has it


def messages(schema: pa.Schema, parts: Iterable[pa.Table]) -> Iterator[bytes]:
    """Yield the messages of a stream: the schema, the rows of each part, and the end.

    One after the other they are an Arrow IPC stream; a part of at most `rows_a_piece` rows is one
    message.
    """
    yield schema.serialize().to_pybytes()
    for part in parts:
        for batch in part.combine_chunks().to_batches():
            yield batch.serialize().to_pybytes()
    yield END


def rows_a_piece(schema: pa.Schema) -> int:
    """Return how many rows of numbers fit into a message."""
    bits: int = sum(field.type.bit_width for field in schema)
    return max(8 * MAX_PIECE // max(bits, 1), 1)


def pieces(table: pa.Table, count: int) -> Iterator[pa.Table]:
    """Yield the rows of a table in parts of ``count``."""
    yield from (table.slice(start, count) for start in range(0, table.num_rows, count))
