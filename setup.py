"""Build step: generate Python from protos/ into fibstream/v1, which git ignores."""

from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc
from setuptools import setup

ROOT = Path(__file__).parent
OUT = ROOT / "fibstream" / "v1"


def generate() -> None:
    """Write messages, stubs and type stubs of every proto."""
    OUT.mkdir(exist_ok=True)
    (OUT / "__init__.py").write_text('"""Generated from protos/; never edited."""\n')
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    where = [f"-I{ROOT / 'protos'}", f"-I{files('grpc_tools') / '_proto'}"]
    kinds = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *where, *kinds, *protos]):
        raise SystemExit("protoc failed")


generate()  # before setuptools looks for the package
setup()
