"""Settings of a run, from flag, environment ``FIBSTREAM_*``, ``fibstream.toml``, default."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from fibstream.core.dataset import Frozen
from fibstream.core.echo import cut, echo
from fibstream.core.errors import WrongUse
from fibstream.telemetry.logs import SERVICE_VARIABLE

FILE = "fibstream.toml"
PREFIX = "FIBSTREAM_"
CALLS, CLIENT_CALLS = 64, 32  # of a service at a time, and of one client; watching streams as many
MAX_FILE = 64 * 1024  # bytes of settings
ADDRESS = re.compile(r"(\[[0-9a-fA-F:]+\]|[\w.-]+)(:\d{1,5})?")
MAX_WORKERS = 256  # processes of one service on one machine
# Read by tests or by single commands, not settings of a run.
OTHER = {"FIBSTREAM_SHARED", "FIBSTREAM_SERVER", SERVICE_VARIABLE}
OF_TESTS = "FIBSTREAM_REQUIRE_"  # what must not be missing, one name each


class Settings(Frozen):
    """What a user may set besides the input itself; each field's description is its help."""

    workers: int = Field(
        default=1, ge=1, le=MAX_WORKERS, description="worker processes per service"
    )
    threads: int = Field(
        default=1, ge=1, le=256, description="network threads per inference worker"
    )
    backend: str = Field(
        default="auto", max_length=40,
        description="runtime of networks: auto, onnxruntime, openvino, cuda, tensorrt",
    )  # fmt: skip
    precision: str = Field(
        default="auto", max_length=40,
        description="of networks: auto, fp32, or what the backend has besides",
    )  # fmt: skip
    tile: str = Field(
        default="model", max_length=40,
        description="input of networks: model (its own), auto (the largest), or Z,Y,X in voxels",
    )  # fmt: skip
    tile_memory_gb: float = Field(
        default=2.5, gt=0, le=1000, description="of a worker, for a tile that is not the model's"
    )
    inference: str = Field(
        default="", max_length=255,
        description="HOST:PORT of inference, which ingest asks how networks are computed",
    )  # fmt: skip
    lease_s: float = Field(
        default=30.0, gt=0, le=3600, description="a task not renewed so long is free"
    )
    reconcile_s: float = Field(
        default=30.0, gt=0, le=86400, description="how often store and log compare"
    )
    calls: int = Field(
        default=CALLS, ge=1, le=1024, description="gRPC calls at a time; each holds a thread"
    )
    client_calls: int = Field(
        default=CLIENT_CALLS, ge=1, le=1024, description="of them, of one client"
    )
    watches: int = Field(
        default=CALLS, ge=1, le=1024, description="streams that are watched at a time"
    )
    client_watches: int = Field(
        default=CLIENT_CALLS, ge=1, le=1024, description="of them, of one client"
    )
    first_message_s: float = Field(
        default=10.0, gt=0, le=3600, description="a call that sends nothing for so long ends"
    )
    next_message_s: float = Field(
        default=30.0, gt=0, le=3600, description="so does one between its messages, or answers"
    )
    upload_s: float = Field(
        default=600.0, gt=0, le=86400, description="all messages of a call have come by then"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="warning", description="least severity that is printed"
    )
    log_format: Literal["text", "json"] = Field(
        default="text", description="how log lines are printed"
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_flag(cls, value: object) -> object:
        """Refuse ``workers = true``, which Python takes for 1."""
        if isinstance(value, bool):
            raise ValueError("expected a number or a word, not true or false")
        return value

    @field_validator("inference")
    @classmethod
    def _is_an_address(cls, value: str) -> str:
        if value and not ADDRESS.fullmatch(value):
            raise ValueError("expected HOST, or HOST:PORT")
        return value


class Value(NamedTuple):
    """A setting with where it came from."""

    value: Any
    source: str


def load(
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> tuple[Settings, dict[str, Value]]:
    """Return the settings in force, and where each came from; raise WrongUse on a wrong one."""
    environment = os.environ if environment is None else environment
    found = {n: Value(f.default, "default") for n, f in Settings.model_fields.items()}
    found |= _from_file((folder or Path()) / FILE)
    found |= _from_environment(environment)
    found |= {
        n: Value(v, f"--{n.replace('_', '-')}") for n, v in (flags or {}).items() if v is not None
    }
    try:
        return Settings(**{n: v.value for n, v in found.items()}), found
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        at = found[name]
        wrong = first["msg"].removeprefix("Value error, ")
        raise WrongUse(f"{name} = {echo(at.value)} (from {at.source}): {wrong}") from error


def _from_file(path: Path) -> dict[str, Value]:
    if not path.is_file():
        return {}
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE + 1)
        if len(text) > MAX_FILE:
            raise WrongUse(f"{path}: more than {MAX_FILE} bytes; expected a few settings")
        values = tomllib.loads(text.decode())
    except (ValueError, RecursionError, OSError) as error:  # of numbers, too, and of lists in lists
        raise WrongUse(f"{path}: not readable as TOML: {cut(str(error))}") from error
    return {name: Value(value, str(path)) for name, value in _known(values, str(path)).items()}


def _from_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    given = {
        name.removeprefix(PREFIX).lower(): value
        for name, value in environment.items()
        if name.startswith(PREFIX) and name not in OTHER and not name.startswith(OF_TESTS)
    }
    return {
        name: Value(value, PREFIX + name.upper())
        for name, value in _known(given, "the environment").items()
    }


def _known(values: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    for name in values:
        if name not in Settings.model_fields:
            allowed = ", ".join(Settings.model_fields)
            raise WrongUse(f"unknown setting {echo(name)} in {where}; known: {allowed}")
    return values
