"""Build the images of the containers: ``python -m deploy.images.build [IMAGE..]``.

Wheels are fetched here, against the hashes of ``make lock``, so that a build needs no network; the
engine is docker, podman or buildah, whichever is there.
"""

import argparse
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

from deploy.manifests import CUDA, image
from fibstream import registry
from fibstream.core.errors import WrongUse
from fibstream.runtime.process import EXIT_WRONG_USE

ROOT = Path(__file__).resolve().parents[2]
CONTEXT = ROOT / "build" / "images"
LOCK = ROOT / "build" / "lock"
RECIPE = ROOT / "services" / "Dockerfile"
ENGINES = {
    "docker": ("docker", "build"),
    "podman": ("podman", "build", "--format=docker"),  # OCI images have no health check
    "buildah": ("buildah", "build", "--format=docker"),
}
COMMAND = "cli"
COMPILER = "numba"  # whatever image has it takes the compiled kernels


def names() -> tuple[str, ...]:
    """Return the images: of each service, of inference on GPUs, and of the command."""
    return (*registry.names(), CUDA, COMMAND)


def tag(name: str) -> str:
    """Return the name under which the manifests know an image."""
    return f"{image(name)}:{version('fibstream')}"


def engine(wanted: str | None) -> str:
    """Return the container engine to build with."""
    found = wanted or next((name for name in ENGINES if shutil.which(name)), None)
    if found not in ENGINES:
        what = f"engine {found}" if found else "no container engine"
        raise WrongUse(f"{what}: expected one of {', '.join(ENGINES)}")
    return found


def arguments(name: str, packages: str) -> Iterator[str]:
    """Yield the words that build one image; ``packages`` is its list."""
    yield from ("--build-arg", f"IMAGE={name}", "--target", "final", "--tag", tag(name))
    port = registry.ports().get(name.partition("-")[0])
    yield from ("--build-arg", f"PORT={port}") if port else ()
    compiles = any(line.startswith(f"{COMPILER}==") for line in packages.splitlines())
    yield from ("--build-arg", f"KERNELS={tag('kernels') if compiles else 'none'}")


def kernels() -> tuple[str, ...]:
    """Return the words that compile all kernels, in the one image that has all packages."""
    return ("--build-arg", f"IMAGE={COMMAND}", "--target", "kernels", "--tag", tag("kernels"))


def prepare(images: Sequence[str]) -> None:
    """Have the context hold the wheels of these images, their lists and the own wheel."""
    wheels = CONTEXT / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (CONTEXT / "lock").mkdir(exist_ok=True)
    for old in wheels.glob("fibstream-*.whl"):
        old.unlink()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    for name in images:
        pinned = LOCK / f"{name}.txt"
        listed = ("--no-deps", "--require-hashes", "--requirement", pinned)
        run(*pip, "wheel", "--wheel-dir", wheels, *listed)  # the few without a wheel get one
        (CONTEXT / "lock" / pinned.name).write_text(unhashed(pinned.read_text()))
    run(*pip, "download", "--no-deps", "--dest", wheels, f"pip=={version('pip')}")
    run(*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT)
    shutil.copy(ROOT / ".ci" / "warm.py", CONTEXT)
    shutil.copy(Path(__file__).with_name("entry"), CONTEXT)


def unhashed(packages: str) -> str:
    """Return a list without its hashes: they were those of what was fetched, and held."""
    return "".join(f"{line.partition(' ')[0]}\n" for line in packages.splitlines())


def run(*line: str | Path) -> None:
    """Run a program; its failure is one line, below what it said itself."""
    ended = subprocess.run(list(map(str, line)), check=False)
    if ended.returncode:
        raise WrongUse(f"{line[0]} failed with {ended.returncode}: see above")


def build(images: Sequence[str], engine: str, more: Sequence[str]) -> None:
    """Build images, the kernels before them."""
    for name in images:
        if name not in names():
            raise WrongUse(f"image {name}: expected some of {', '.join(names())}")
        if not (LOCK / f"{name}.txt").is_file():
            raise WrongUse(f"{LOCK}: no list for {name}; expected those of `make lock`")
    prepare(dict.fromkeys((*images, COMMAND)))
    common = (*ENGINES[engine], "--file", RECIPE, *more)
    for words in (kernels(), *(arguments(i, (LOCK / f"{i}.txt").read_text()) for i in images)):
        run(*common, *words, CONTEXT)


def main() -> None:
    """Build the images that are named, all but that for GPUs by default."""
    parser = argparse.ArgumentParser(prog="python -m deploy.images.build", description=__doc__)
    parser.add_argument("images", nargs="*", metavar="IMAGE", help=", ".join(names()))
    parser.add_argument(
        "--engine", help=f"one of {', '.join(ENGINES)}; else the first that is there"
    )
    parser.add_argument(
        "--with", dest="more", action="append", default=[], metavar="WORD",
        help="a word for the engine, as --with=--build-arg=BASE=IMAGE; may be given again",
    )  # fmt: skip
    given = parser.parse_args()
    chosen = given.images or [name for name in names() if name != CUDA]
    try:
        build(chosen, engine(given.engine or os.environ.get("ENGINE")), given.more)
    except WrongUse as error:
        sys.stderr.write(f"images: {error}\n")
        sys.exit(EXIT_WRONG_USE)


if __name__ == "__main__":
    main()
