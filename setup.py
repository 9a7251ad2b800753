"""Build step: generate Python from protos/, and place the folders of the checkout below one name.

The folders stand side by side in the checkout; installed, all of them lie below ``fibstream``.
"""

from importlib.resources import files
from pathlib import Path

from grpc_tools import protoc
from setuptools import find_packages, setup

ROOT = Path(__file__).parent
OUT = ROOT / "fibstream" / "v1"
CODE = ("kernels", "volumes", "services", "app", "cli", "phantom")
DATA = ("models", "samples")  # no code in them


def generate() -> None:
    """Write messages, stubs and type stubs of every proto; git ignores them."""
    OUT.mkdir(exist_ok=True)
    (OUT / "__init__.py").write_text('"""Generated from protos/; never edited."""\n')
    protos = sorted(str(path) for path in (ROOT / "protos").rglob("*.proto"))
    where = [f"-I{ROOT / 'protos'}", f"-I{files('grpc_tools') / '_proto'}"]
    kinds = [f"--{kind}_out={ROOT}" for kind in ("python", "pyi", "grpc_python")]
    if protoc.main(["protoc", *where, *kinds, *protos]):
        raise SystemExit("protoc failed")


def packages() -> list[str]:
    """Return every package by the name that it has when installed."""
    library = [f"fibstream.{name}" for name in find_packages(str(ROOT / "fibstream"))]
    others = [
        f"fibstream.{name}"
        for folder in CODE
        for name in (folder, *(f"{folder}.{n}" for n in find_packages(str(ROOT / folder))))
    ]
    return ["fibstream", *library, *others, *(f"fibstream.{folder}" for folder in DATA)]


generate()  # before the packages are looked for
setup(
    packages=packages(),
    package_dir={
        "fibstream": "fibstream",
        **{f"fibstream.{folder}": folder for folder in (*CODE, *DATA)},
    },
)
