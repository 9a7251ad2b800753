"""What cannot be fitted by elastix is one line."""

from pathlib import Path

import numpy as np
import pytest

from fibstream.core.errors import WrongUse
from fibstream.services.registration.edges.elastix import deformed_by_elastix
from fibstream.services.registration.port import Image
from fibstream.services.registration.transform import Transform

IMAGE = Image(np.random.default_rng(1).random((4, 5, 6)).astype(np.float32), (100.0,) * 3)
PLAIN = Transform(np.eye(3), np.zeros(3))


def test_another_method_is_refused() -> None:
    with pytest.raises(WrongUse, match="'demons': expected elastix or elastix-bending"):
        deformed_by_elastix(IMAGE, IMAGE, PLAIN, "demons")


def test_without_the_package_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process that would import it finds a folder first in which it is not there."""
    (tmp_path / "itk.py").write_text("raise ModuleNotFoundError(\"No module named 'itk'\")\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    with pytest.raises(WrongUse, match=r"expected pip install fibstream\[elastix\]"):
        deformed_by_elastix(IMAGE, IMAGE, PLAIN)
