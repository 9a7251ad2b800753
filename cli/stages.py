"""The stages of one organelle over the chunks of a new volume, one stage after the other."""

from collections.abc import Mapping

from fibstream.app.kept import Kept
from fibstream.core.fold import Fold
from fibstream.core.grid import Grid, Index
from fibstream.core.stage import Arrays, Block, Input, Patch, Stage
from fibstream.volumes.sources import Source

from .outputs import Volume
from .progress import track


class StageRun:
    """What stages have written so far, and the fold between them.

    ``sources`` are the arrays that no stage writes, by their names in the dataset; ``kept`` has
    those of a dataset that is there already.
    """

    def __init__(
        self, volume: Volume, grid: Grid, sources: Mapping[str, Source], fold: Fold,
        kept: Kept | None = None,
    ) -> None:  # fmt: skip
        self._volume = volume
        self._grid = grid
        self._sources = sources
        self._fold = fold
        self._kept = kept
        self._contents: dict[tuple[str, Index], str] = {}
        self._summaries: dict[tuple[str, Index], Arrays] = {}

    def run(self, stage: Stage) -> None:
        """Compute a stage on every chunk."""
        for index in track(list(self._grid.indices()), stage.family):
            block = self._block(stage, index)
            found = stage.compute(block)
            for output in stage.outputs:
                content = found[output.name]
                if isinstance(content, dict):
                    self._keep(Input(stage.name, output.name), index, content)
                else:
                    assert not isinstance(content, bytes), f"{output.name}: a file of one chunk"
                    written = self._volume.write(output.name, index, content, absent=block.absent)
                    self._contents[output.name, index] = written

    def cells(self, name: str) -> dict[Index, Arrays]:
        """Return a summary of all chunks that it was computed of."""
        return {index: kept for (of, index), kept in self._summaries.items() if of == name}

    def _keep(self, source: Input, index: Index, summary: Arrays) -> None:
        self._summaries[source.name, index] = summary
        if source in self._fold.inputs:
            self._fold.put(source, index, "", summary)

    def _block(self, stage: Stage, index: Index) -> Block:
        arrays = {i.name: self._patch(i, index) for i in stage.inputs if i.dtype}
        summaries = {i.name: self._summaries[i.name, index] for i in stage.inputs if not i.dtype}
        extra = self._fold.extra(stage.name, index) if stage.folded else b""
        assert extra is not None, f"{stage.name}: the fold has no answer"
        return Block(index, self._grid.box(index), arrays, summaries, extra)

    def _patch(self, reading: Input, index: Index) -> Patch:
        box = self._grid.block(index, reading.halo)
        if reading.name in self._sources:
            voxels = self._sources[reading.name].read(box)
            return Patch(voxels.astype(reading.dtype, copy=False), box)
        if self._kept is not None and not self._volume.writes(reading.name):
            return self._kept.read(reading, box)
        contents = {i: self._contents[reading.name, i] for i in self._grid.covering(box)}
        return self._volume.store.read(reading, box, contents)
