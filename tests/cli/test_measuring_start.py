"""`fibstream measure` imports what it measures with, and no networks, logs or pictures."""

import subprocess
import sys

HEAVY = ("onnxruntime", "duckdb", "grpc", "matplotlib", "tensorstore", "fibstream.app")


def test_measuring_imports_nothing_of_networks_or_services() -> None:
    code = "import sys, fibstream.cli.measuring; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    modules = done.stdout.split()
    assert "fibstream.services.analysis.measure" in modules
    assert [name for name in HEAVY if name in modules] == []
