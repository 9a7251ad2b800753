"""What a service is to all others, as data: what it lands, computes and folds, and its words. Pure.

A capability is what one file of a service's ``stages`` declares. Declaring brings no compiler and
no format: every process of every service reads the declarations of all of them, so a capability
imports what the core installation lacks inside the function that computes.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .dataset import Dataset, Frozen
from .echo import cut
from .errors import Damaged
from .fold import Fold
from .ports import Files
from .stage import Input, Output, OwnedArray, Stage
from .subject import Lattice


@contextlib.contextmanager
def _declared(dataset: Dataset) -> Iterator[None]:
    """Raise Damaged where a capability cannot read what a record says of a pipeline."""
    try:
        yield
    except (ValueError, LookupError, TypeError) as error:
        why = f"{type(error).__name__}: {error}"
        raise Damaged(f"dataset {dataset.name!r}: its pipeline: {cut(why, 300)}") from error


class Taken(NamedTuple):
    """An element of a word once what it names was read, and files that the dataset keeps."""

    entry: Frozen
    files: Mapping[str, bytes]


@dataclass(frozen=True)
class Word:
    """A word of a pipeline with a list below it, such as ``contacts``, that one service reads.

    ``entry`` is one element as a user writes it; ``resolve`` returns the elements with all defaults
    spelled out, as they are recorded in `Dataset.steps`, and raises WrongUse for what the pipeline
    has not. Its first argument is the dataset as far as it is designed.

    ``take`` is for elements that name a file: it reads it, through the gate that is its second
    argument, and returns the element as ``resolve`` takes it, with what the dataset keeps.
    """

    name: str
    entry: type[Frozen]
    resolve: Callable[[Dataset, Sequence[Any]], Sequence[Frozen]]
    take: Callable[[Any, Any], Taken] | None = None


@dataclass(frozen=True)
class Capability:
    """What one file of a service declares: stages of ``families``, folds, words of a pipeline."""

    families: tuple[str, ...]
    stages: Callable[[Dataset, Files], Sequence[Stage]]
    folds: Callable[[Dataset], Sequence[Fold]] = field(default=lambda _: ())
    words: tuple[Word, ...] = ()


@dataclass(frozen=True)
class Service:
    """One service; ``servicer`` imports what answers its calls when it is called.

    ``progress`` is how a progress bar names its work, ``port`` where it answers by default.
    ``lands`` are the arrays that come from outside; ``describe`` sets metrics of a dataset.
    """

    name: str
    port: int
    progress: str
    capabilities: tuple[Capability, ...]
    servicer: Callable[[Any], Any]  # of ServicerContext, to ServicerBinding
    lands: Callable[[Dataset], Sequence[Input]] = field(default=lambda _: ())
    describe: Callable[[Dataset, Any], None] = field(default=lambda *_: None)  # Any: Telemetry

    @property
    def families(self) -> tuple[str, ...]:
        """The families of its stages, each a topic of the ledger."""
        return tuple(family for c in self.capabilities for family in c.families)

    @property
    def words(self) -> Mapping[str, Word]:
        """The words of a pipeline that it alone reads."""
        return {word.name: word for c in self.capabilities for word in c.words}

    def stages(self, dataset: Dataset, files: Files) -> list[Stage]:
        """Return its stages of a dataset; raise ValueError for one of a family it lacks.

        Raises WrongUse, as Damaged, for a pipeline that this version cannot have recorded.
        """
        with _declared(dataset):
            found = [stage for c in self.capabilities for stage in c.stages(dataset, files)]
        for stage in found:
            if stage.family not in self.families:
                raise ValueError(f"service {self.name}: stage {stage.name} is of no family of its")
        return found

    def arrays(self, dataset: Dataset, files: Files) -> list[OwnedArray]:
        """Return the arrays that it owns, level by level from the full one on."""
        landing = [OwnedArray(Output(i.name, i.dtype)) for i in self.lands(dataset)]
        return landing + [
            OwnedArray(output, stage.subjects)
            for stage in self.stages(dataset, files)
            if isinstance(stage.subjects, Lattice)
            for output in stage.outputs
            if output.dtype
        ]

    def folds(self, dataset: Dataset) -> list[Fold]:
        """Return its folds of a dataset."""
        with _declared(dataset):
            return [fold for c in self.capabilities for fold in c.folds(dataset)]
