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
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from deploy.manifests import CUDA, tag
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


def engine(wanted: str | None, among: Sequence[str] = tuple(ENGINES)) -> str:
    """Return the container engine: the one that is wanted, or the first that answers."""
    found = wanted or next(filter(answers, among), None)
    if found not in among:
        what = f"engine {found}" if found else "no container engine"
        raise WrongUse(f"{what}: expected one of {', '.join(among)}")
    return found


def answers(program: str) -> bool:
    """Return whether an engine is there and works: docker's client may have no server."""
    if shutil.which(program) is None:
        return False
    return not subprocess.run([program, "version"], capture_output=True, check=False).returncode


def arguments(name: str) -> Iterator[str]:
    """Yield the words that build one image, whose list is in the context."""
    service, packages = name.partition("-")[0], (CONTEXT / "lock" / f"{name}.txt").read_text()
    ports = registry.ports()
    yield from ("--target", "service" if service in ports else "final", "--tag", tag(name))
    yield from chosen(name, packages)
    if service in ports:
        yield from ("--build-arg", f"MAIN=python3 -m fibstream.services.{service}")
        yield from ("--build-arg", f"PORT={ports[service]}")
    else:
        yield from ("--build-arg", "MAIN=fibstream")
    compiles = any(line.startswith(f"{COMPILER}==") for line in packages.splitlines())
    yield from ("--build-arg", f"KERNELS={tag('kernels') if compiles else 'none'}")


def kernels() -> tuple[str, ...]:
    """Return the words that compile all kernels, in the one image that has all packages."""
    packages = (CONTEXT / "lock" / f"{COMMAND}.txt").read_text()
    warm = ("--build-arg", f"WARM={sha256((CONTEXT / 'warm.py').read_bytes()).hexdigest()}")
    return ("--target", "kernels", "--tag", tag("kernels"), *warm, *chosen(COMMAND, packages))


def chosen(name: str, packages: str) -> Iterator[str]:
    """Yield what is installed: the list's name, and digests of the list and of the own wheel."""
    (own,) = (CONTEXT / "wheels").glob("fibstream-*.whl")
    yield from ("--build-arg", f"IMAGE={name}")
    yield from ("--build-arg", f"PACKAGES={sha256(packages.encode()).hexdigest()}")
    yield from ("--build-arg", f"OWN={sha256(own.read_bytes()).hexdigest()}")


def prepare(images: Sequence[str]) -> None:
    """Have the context hold the wheels of these images, their lists and the own wheel."""
    wheels = CONTEXT / "wheels"
    wheels.mkdir(parents=True, exist_ok=True)
    (CONTEXT / "lock").mkdir(exist_ok=True)
    for old in wheels.glob("fibstream-*.whl"):
        old.unlink()
    texts = {name: (LOCK / f"{name}.txt").read_text() for name in images}
    pinned = CONTEXT / "pinned.txt"
    pinned.write_text("".join(sorted({p for t in texts.values() for p in t.splitlines(True)})))
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    listed = ("--no-deps", "--require-hashes", "--requirement", pinned)
    run(*pip, "wheel", "--wheel-dir", wheels, *listed)  # the few without a wheel get one
    for name, text in texts.items():
        (CONTEXT / "lock" / f"{name}.txt").write_text(unhashed(text))
    run(*pip, "download", "--no-deps", "--dest", wheels, f"pip=={version('pip')}")
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)  # else files that are gone come along
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
    for words in (kernels(), *map(arguments, images)):
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
