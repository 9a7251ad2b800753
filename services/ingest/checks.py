"""What was found in stable files when they were opened: complete, or a fault."""

from collections.abc import Iterable
from dataclasses import dataclass

from .stability import FileState


@dataclass(frozen=True, slots=True)
class _Check:
    file: FileState
    fault: str  # empty: the file is complete
    permanent: bool  # no further byte can mend it


class FileChecks:
    """The last check of each file; it holds while the file stays in the state that was checked."""

    def __init__(self) -> None:
        self._checks: dict[str, _Check] = {}

    def record(self, file: FileState, fault: str = "", *, permanent: bool = False) -> None:
        """Record the check of a file: the fault that keeps it from being complete, or none."""
        self._checks[file.name] = _Check(file, fault, permanent)

    def forget(self, name: str) -> None:
        """Forget the check of a file that is gone or has changed."""
        self._checks.pop(name, None)

    def is_new(self, file: FileState) -> bool:
        """Whether a file was not checked in its present state."""
        check = self._checks.get(file.name)
        return check is None or check.file != file

    def is_complete(self, file: FileState) -> bool:
        """Whether a file was checked in its present state, without a fault."""
        return not self.is_new(file) and not self._checks[file.name].fault

    def may_recover(self, file: FileState) -> bool:
        """Whether a checked file has a fault that further bytes may mend."""
        check = self._checks[file.name]
        return bool(check.fault) and not check.permanent

    def permanent_faults(self, names: Iterable[str], *, hint: str) -> dict[str, str]:
        """Return the faults that stay; those of several files with the same one are one line."""
        by_property: dict[str, list[_Check]] = {}  # what the files have -> the files
        for check in self._with_fault(names):
            if check.permanent:
                by_property.setdefault(check.fault.rpartition(" has ")[2], []).append(check)
        found = {}
        for held, (check, *others) in by_property.items():
            if others:
                found[f"files {held}"] = f"{check.fault}; others too, their layers wait{hint}"
            else:
                found[f"file {check.file}"] = f"{check.fault}; its layer waits"
        return found

    def passing_faults(self, names: Iterable[str]) -> dict[str, str]:
        """Return the faults that further bytes may mend."""
        return {
            f"file {check.file}": f"{check.fault}; its layer waits"
            for check in self._with_fault(names)
            if not check.permanent
        }

    def _with_fault(self, names: Iterable[str]) -> list[_Check]:
        checks = (self._checks.get(name) for name in names)
        return [check for check in checks if check is not None and check.fault]
