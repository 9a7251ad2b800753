"""What a chunk that is acquired again redoes: exactly what reads something that changed."""

from collections.abc import Mapping
from pathlib import Path

from fibstream import registry
from fibstream.core.events import Place
from fibstream.core.grid import Index
from fibstream.core.stage import Stage
from fibstream.core.subject import WHOLE
from fibstream.store.local import LocalFiles
from fibstream.store.record import read_dataset
from fibstream.store.store import Blob, Store

Hashes = Mapping[tuple[str, str, Index], str]  # of contents, by stage, name and chunk


def stages_of(out: Path) -> dict[str, Stage]:
    """Return the stages of a dataset by name."""
    files = LocalFiles(out)
    dataset = read_dataset(files)
    return {s.name: s for service in registry.services() for s in service.stages(dataset, files)}


def contents(out: Path) -> Hashes:
    """Return the content hash of every array and summary of a chunk."""
    files = LocalFiles(out)
    store = Store(files, read_dataset(files).grid)
    found = {}
    for stage in stages_of(out).values():
        if stage.subjects is WHOLE:
            continue
        for output in stage.outputs:
            for index in store.grid.indices():
                stamp = store.stamp(Blob(output.name, index, output.dtype, output.first))
                assert stamp is not None
                found[stage.name, output.name, index] = stamp.hash
    return found


def check_cone(
    out: Path, before: Hashes, after: Hashes, computed: set[Place],
    landed: set[tuple[str, str, Index]],
) -> None:  # fmt: skip
    """Compare what was computed with what reads a changed input, stage by stage.

    ``landed`` are the chunks of arrays that landed with other content: stage, name, chunk.
    """
    grid = read_dataset(LocalFiles(out)).grid
    changed = {place for place in after if before[place] != after[place]} | landed
    for stage in stages_of(out).values():
        made = {place for place in computed if place[0] == stage.name}
        if stage.subjects is WHOLE:
            read = {source.stage for source in stage.inputs} & {name for name, *_ in changed}
            assert made == ({(stage.name, WHOLE)} if read else set()), stage.name
            continue
        expected: set[Place] = {
            (stage.name, reader)
            for source in stage.inputs
            for name, array, index in changed
            if (name, array) == (source.stage, source.name)
            for reader in grid.readers(index, source.halo)
        }
        if stage.folded:
            # A mapping may change where no fragment did: such chunks must hold other labels.
            expected |= {(name, index) for name, _, index in changed if name == stage.name}
        assert made == expected, stage.name
