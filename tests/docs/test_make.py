"""`make bench` runs all benchmarks, and ends only with one that fails."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# In place of Python: benchmarks that need arguments end with 2, one that fails with 1.
STUB = """#!/bin/sh
case "$2" in bench.choosing | bench.registration) exit 2 ;; bench.FAILING) exit 1 ;; esac
"""
BENCHES = sorted(path.stem for path in (ROOT / "bench").glob("*.py"))


@pytest.mark.parametrize(("failing", "last"), [("none", BENCHES[-1]), ("phantom", "phantom")])
def test_a_benchmark_without_its_arguments_ends_no_other(
    failing: str, last: str, tmp_path: Path
) -> None:
    program = tmp_path / "python"
    program.write_text(STUB.replace("FAILING", failing))
    program.chmod(0o755)
    made = [word for name in ("setup", ".venv/.stamp", ".venv/.trains") for word in ("-o", name)]
    run = subprocess.run(
        ["make", "-s", *made, "bench", f"BIN={tmp_path}"], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    names = [line.removeprefix("== bench/").removesuffix(".py") for line in run.stdout.split("\n")]
    assert names[:-1] == BENCHES[: BENCHES.index(last) + 1]
    assert (run.returncode == 0) == (failing == "none"), run.stderr
