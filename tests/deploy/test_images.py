"""The recipe of the images, and that the manifests name what it builds; no engine is needed."""

import importlib
import itertools
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from fibstream import registry

from .conftest import OVERLAYS, ROOT

sys.path.insert(0, str(ROOT))  # `deploy` lies beside the package, not in it

build: Any = importlib.import_module("deploy.images.build")

RECIPE = ROOT / "services" / "Dockerfile"
ENTRY = ROOT / "deploy" / "images" / "entry"


def stages() -> dict[str, list[list[str]]]:
    """Return the instructions of each stage, its own and those of the stages it is made from."""
    found: dict[str, list[list[str]]] = {}
    text = re.sub(r"\\\n", " ", re.sub(r"^#.*\n", "", RECIPE.read_text(), flags=re.M))
    name = ""
    for line in text.splitlines():
        words = line.split(maxsplit=1)
        if not words:
            continue
        if words[0] == "FROM":
            base, _, name = words[1].partition(" AS ")
            found[name] = list(found.get(base, []))
        found.setdefault(name, []).append(words)
    return found


def given(instruction: str) -> list[str]:
    return [rest for word, rest in stages()["service"] if word == instruction]


def test_what_runs_is_nobody_that_a_pod_forbids() -> None:
    (user,) = given("USER")
    uid, gid = user.split(":")
    pod = yaml.safe_load((ROOT / "deploy/k8s/service/workload.yaml").read_text().split("\n---")[0]
                         .replace("@", "at-"))["spec"]["template"]["spec"]  # fmt: skip
    asked = pod["securityContext"]
    assert (int(uid), int(gid)) == (asked["runAsUser"], asked["runAsGroup"])
    assert int(uid) >= 10000  # of no account on a node


def test_nothing_that_installs_or_compiles_stays() -> None:
    final = "\n".join(" ".join(words) for words in stages()["service"])
    assert not re.search(r"pip|gcc|build-essential|python3-dev|python3-venv|curl|wget", final)
    for stage in ("packages", "own"):
        words = "\n".join(" ".join(words) for words in stages()[stage])
        assert words.count("--no-index") == words.count("pip install") == 1
    assert build.unhashed("a==1 --hash=sha256:0\nb==2 --hash=sha256:1\n") == "a==1\nb==2\n"
    copied = [words for words in given("COPY") if words.startswith("--from=")]
    assert {c.split()[1] for c in copied} == {
        "/opt/packages",
        "/opt/fibstream",
        "/opt/kernels",
    }


def test_the_base_is_an_argument_and_no_stage_has_another() -> None:
    bases = re.findall(r"^FROM (\S+)", RECIPE.read_text(), flags=re.M)
    assert set(bases) <= {"${BASE}", "${KERNELS}", "scratch", *stages()}
    assert "${BASE}" in bases


def test_packages_are_found_by_a_process_that_is_told_of_no_variable() -> None:
    """As those that run queries are started."""
    (paths,) = [rest for rest in given("RUN") if "fibstream.pth" in rest]
    assert re.findall(r"/opt/\w+", paths) == ["/opt/fibstream", "/opt/packages"]
    assert any(
        'PYTHONPATH=""' in words for words in given("ENV")
    )  # else nobody sees what the file lacks


def test_signals_reach_the_program_and_health_is_asked_for() -> None:
    assert given("STOPSIGNAL") == ["SIGTERM"]
    (entry,) = given("ENTRYPOINT")
    assert entry.startswith("[")  # no shell between
    assert ENTRY.read_text().rstrip().endswith('exec $MAIN "$@"')
    assert ENTRY.stat().st_mode & 0o111
    (health,) = given("HEALTHCHECK")
    assert "fibstream.runtime.healthy" in health
    assert "HEALTHCHECK" not in dict(stages()["final"])  # the command answers nobody


def entered(folder: Path, *, kernels: str) -> subprocess.CompletedProcess[str]:
    script = ENTRY.read_text().replace("/opt/kernels", kernels)
    return subprocess.run(
        ["sh", "-c", script, "entry", str(folder / "cache" / "a")],
        env={"NUMBA_CACHE_DIR": str(folder / "cache"), "PATH": "/usr/bin:/bin", "MAIN": "cat --"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_kernels_are_copied_whole_once(tmp_path: Path) -> None:
    (tmp_path / "built").mkdir()
    (tmp_path / "built" / "a").write_text("code")
    (tmp_path / "cache.part").mkdir()
    (tmp_path / "cache.part" / "a").write_text("half")  # left by a container that was killed
    assert entered(tmp_path, kernels=str(tmp_path / "built")).stdout == "code"
    (tmp_path / "cache" / "a").write_text("newer")  # a container started again keeps its own
    assert entered(tmp_path, kernels=str(tmp_path / "built")).stdout == "newer"


def test_without_kernels_the_container_does_not_start(tmp_path: Path) -> None:
    assert entered(tmp_path, kernels=str(tmp_path / "none")).returncode


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_name_images_that_are_built(rendered, overlay) -> None:
    found = {
        container["image"]
        for document in rendered[overlay] if document["kind"] == "Deployment"
        for container in document["spec"]["template"]["spec"]["containers"]
    }  # fmt: skip
    assert found <= {build.tag(name) for name in build.names()}
    assert found >= {build.tag(name) for name in registry.names()}
    assert (build.tag(build.CUDA) in found) == (overlay != "local")


@pytest.fixture
def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A context with lists that differ in whether they have the compiler."""
    (tmp_path / "lock").mkdir()
    (tmp_path / "wheels").mkdir()
    (tmp_path / "wheels" / "fibstream-1-py3-none-any.whl").write_bytes(b"own")
    (tmp_path / "warm.py").write_text("compile()")
    for name, packages in (("refine", "numba==1\n"), (build.CUDA, "numpy==2\n"), ("cli", "")):
        (tmp_path / "lock" / f"{name}.txt").write_text(packages)
    monkeypatch.setattr(build, "CONTEXT", tmp_path)
    return tmp_path


def told(words: list[str]) -> dict[str, str]:
    """Return the arguments of a build."""
    return dict(after.split("=", 1) for before, after in itertools.pairwise(words)
                if before == "--build-arg")  # fmt: skip


@pytest.mark.usefixtures("context")
def test_every_image_is_told_its_program_and_port_and_takes_kernels_if_it_compiles() -> None:
    refine = told(list(build.arguments("refine")))
    assert refine["PORT"] == str(registry.ports()["refine"])
    assert refine["MAIN"] == "python3 -m fibstream.services.refine"
    assert refine["KERNELS"] == build.tag("kernels")
    cuda = told(list(build.arguments(build.CUDA)))
    assert cuda["PORT"] == str(registry.ports()["inference"])
    assert cuda["MAIN"] == "python3 -m fibstream.services.inference"
    assert (cuda["KERNELS"], cuda["IMAGE"]) == ("none", build.CUDA)
    command = told(list(build.arguments(build.COMMAND)))
    assert "PORT" not in command
    assert command["MAIN"] == "fibstream"


def test_whatever_is_installed_is_part_of_what_a_layer_is_known_by(context) -> None:
    seen = set()
    for change in (
        lambda: None,
        lambda: (context / "lock" / "cli.txt").write_text("numpy==3\n"),
        lambda: (context / "wheels" / "fibstream-1-py3-none-any.whl").write_bytes(b"newer"),
        lambda: (context / "warm.py").write_text("compile(more)"),
    ):
        change()
        seen.add(tuple(build.kernels()))
    assert len(seen) == 4
    for stage, argument in (("packages", "PACKAGES"), ("own", "OWN"), ("compiled", "WARM")):
        line = [rest for word, rest in stages()[stage] if word == "RUN"][-1]
        assert f"${{{argument}}}" in line


def test_an_argument_that_is_given_is_one_of_the_recipe(context) -> None:
    declared = {rest.partition("=")[0] for words in stages().values()
                for word, rest in words if word == "ARG"}  # fmt: skip
    assert told([*build.kernels(), *build.arguments("refine")]).keys() <= declared


def test_an_engine_without_its_server_is_passed_over(tmp_path, monkeypatch) -> None:
    for name, code in (("docker", 1), ("podman", 0), ("buildah", 0)):
        (tmp_path / name).write_text(f"#!/bin/sh\nexit {code}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert build.engine(None) == "podman"
    assert build.engine("docker") == "docker"  # whoever names it is told what it says


def test_a_wrong_image_or_engine_is_one_line() -> None:
    for wrong in (["nothing"], ["--engine", "lxc", "refine"]):
        ended = subprocess.run(
            [sys.executable, "-m", "deploy.images.build", *wrong],
            cwd=ROOT, capture_output=True, text=True, check=False,
            env={"PATH": "/nonexistent", "ENGINE": "podman"},
        )  # fmt: skip
        assert ended.returncode == 2
        assert ended.stderr.count("\n") == 1, ended.stderr
        assert shlex.quote(wrong[-1] if wrong[0] == "nothing" else "lxc") in ended.stderr
