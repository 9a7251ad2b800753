"""What the annotators of a crop drew, and where the crop may therefore train a class."""

from collections.abc import Mapping
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from fibstream.core.echo import echo
from fibstream.core.errors import WrongUse

from .classes import FINE_IDS, super_class


@dataclass(frozen=True, slots=True)
class CropRecord:
    """The entry of a crop in the annotation database: lists of fine ids, each id in at most one.

    An id in none of them counts as not annotated.
    """

    present_annotated: frozenset[int] = frozenset()
    absent_annotated: frozenset[int] = frozenset()  # looked for, and known not to be there
    present_unannotated: frozenset[int] = frozenset()
    present_partial_annotation: frozenset[int] = frozenset()

    @classmethod
    def of(cls, lists: Mapping[str, object]) -> "CropRecord":
        """Return the record of lists by their names; raise WrongUse unless ids are 1 to 37."""
        known = [field.name for field in fields(cls)]
        seen: dict[int, str] = {}
        for name, ids in lists.items():
            if name not in known:
                raise WrongUse(
                    f"crop record: unknown list {echo(name)}; expected {', '.join(known)}"
                )
            if not isinstance(ids, list | tuple | set | frozenset):
                raise WrongUse(f"crop record: {name}: expected a list of fine ids, got {echo(ids)}")
            for fine in ids:
                if isinstance(fine, bool) or not isinstance(fine, int) or not 0 < fine <= FINE_IDS:
                    raise WrongUse(
                        f"crop record: {name}: {echo(fine)}; expected fine ids from 1 to {FINE_IDS}"
                    )
                if seen.setdefault(fine, name) != name:
                    raise WrongUse(f"crop record: id {fine} is in {seen[fine]} and in {name}")
        return cls(**{name: frozenset(ids) for name, ids in lists.items()})  # type: ignore[call-overload]

    @property
    def annotated(self) -> frozenset[int]:
        """Ids of which it is known, everywhere in the crop, where they are."""
        return self.present_annotated | self.absent_annotated

    def trains(self, name: str) -> bool:
        """Return whether a network may learn a super class from the crop.

        It may if every fine id of the class is annotated; with a generic id that id, or all
        others, is enough (Heinrich et al. 2021, train_cell_generic.py). One thing is refused that
        the paper's code lets pass: ids that are present and not drawn, where the generic id was
        only found absent.
        """
        of = super_class(name)
        if set(of.ids) <= self.annotated:
            return True
        if of.generic is None:
            return False
        special = set(of.ids) - {of.generic}
        absent = of.generic in self.absent_annotated
        if of.generic in self.annotated and not (absent and special & self._present):
            return True
        return special <= self.annotated

    @property
    def _present(self) -> frozenset[int]:
        return self.present_unannotated | self.present_partial_annotation

    def contains(self, name: str) -> bool:
        """Return whether a super class is in the crop, and all its ids are annotated.

        Of such crops a network that needs a rare class draws more (the paper's priorities).
        """
        ids = set(super_class(name).ids)
        return bool(ids & self.present_annotated) and ids <= self.annotated


def label_mask(labels: NDArray[np.uint8], record: CropRecord, name: str) -> NDArray[np.bool_]:
    """Return where a crop may train a class, shaped as its fine ids ``labels``, (z, y, x) uint8.

    Everywhere something was drawn (ids above 0) if `CropRecord.trains`, else nowhere.
    """
    drawn: NDArray[np.bool_] = labels > 0
    return drawn if record.trains(name) else np.zeros_like(drawn)
