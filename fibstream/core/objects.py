"""Which objects a fold knows, by their boxes, and which cells each of them is read from. Pure."""

from collections.abc import Collection, Iterator

from .events import Place
from .grid import Box


class ObjectIndex:
    """Outputs of objects, with the box and the cells of each, and by cell those that read it."""

    def __init__(self) -> None:
        self._boxes: dict[Place, Box] = {}
        self._cells: dict[Place, Collection[Place]] = {}
        self._readers: dict[Place, dict[Place, None]] = {}

    def __contains__(self, output: object) -> bool:
        return output in self._boxes

    def __iter__(self) -> Iterator[Place]:
        return iter(self._boxes)

    def __len__(self) -> int:
        return len(self._boxes)

    def box(self, output: Place) -> Box | None:
        """Return the box of an output's object; None of one that is not known."""
        return self._boxes.get(output)

    def readers(self, cell: Place) -> list[Place]:
        """Return the outputs of objects that are read from a cell."""
        return list(self._readers.get(cell, ()))

    def put(self, output: Place, box: Box, cells: Collection[Place]) -> None:
        """Take the box of an output's object and the cells it is read from, in place of earlier."""
        self.drop(output)
        self._boxes[output], self._cells[output] = box, cells
        for cell in cells:
            self._readers.setdefault(cell, {})[output] = None

    def drop(self, output: Place) -> None:
        """Forget an output's object; do nothing if it is not known."""
        self._boxes.pop(output, None)
        for cell in self._cells.pop(output, ()):
            del self._readers[cell][output]
            if not self._readers[cell]:
                del self._readers[cell]
