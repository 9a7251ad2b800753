"""What a few samples of a source tell before anything is computed; what is told is a note."""

from collections.abc import Iterator

from fibstream.core.grid import Box
from fibstream.services.inference.window import constant_area
from fibstream.volumes.sources import Source

SLICES = 5  # of a source, evenly from the first to the last
WINDOW = 2048  # voxels an edge of what is read of a slice: padding lies at its corners


def unimaged_note(source: Source, absent_value: float | None) -> str | None:
    """Return what to tell of areas of one value that nobody declared; None where there are none."""
    found = [area for box in _windows(source) if (area := constant_area(source.read(box)))]
    undeclared = [(share, value) for value, share in found if value != absent_value]
    if not undeclared:
        return None
    share, value = max(undeclared)
    kept = "" if absent_value is None else f" (declared: {absent_value:.9g})"
    return (
        f"{source.name}: up to {share:.1%} of a slice are areas of the one value "
        f"{value:.9g}{kept}; if nothing was imaged there, give --absent-value {value:.9g}, or the "
        "network may find objects in them"
    )


def _windows(source: Source) -> Iterator[Box]:
    """Yield boxes of one slice each: whole, or two opposite corners of a larger one."""
    depth, height, width = source.shape
    for z in sorted({round(k * (depth - 1) / (SLICES - 1)) for k in range(SLICES)}):
        y, x = max(height - WINDOW, 0), max(width - WINDOW, 0)
        yield Box((z, 0, 0), (z + 1, min(height, WINDOW), min(width, WINDOW)))
        if y or x:
            yield Box((z, y, x), (z + 1, height, width))
