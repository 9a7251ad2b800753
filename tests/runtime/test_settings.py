"""Flag before environment before file before default; whatever is wrong is one clear line."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fibstream.core.errors import WrongUse
from fibstream.runtime.settings import FILE, Settings, load

LAYERS = ("--workers", "FIBSTREAM_WORKERS", FILE, "default")


@pytest.mark.parametrize("highest", range(4))
def test_precedence(tmp_path: Path, highest: int) -> None:
    flags = {"workers": 5 if highest == 0 else None}
    environment = {"FIBSTREAM_WORKERS": "4", "OTHER": "9"} if highest <= 1 else {"OTHER": "9"}
    if highest <= 2:
        (tmp_path / FILE).write_text("workers = 3\n")
    settings, sources = load(flags or {}, environment, tmp_path)
    assert settings.workers == (5, 4, 3, 1)[highest]
    assert sources["workers"].source.endswith(LAYERS[highest])


def test_each_setting_has_its_own_source(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text('threads = 2\nlog_level = "info"\n')
    settings, sources = load({"lease_s": 7.5}, {"FIBSTREAM_LOG_LEVEL": "debug"}, tmp_path)
    wanted = Settings(
        workers=1, threads=2, lease_s=7.5, reconcile_s=30, log_level="debug", log_format="text"
    )
    assert settings == wanted
    found = {n: v.source for n, v in sources.items()}
    assert found == dict.fromkeys(Settings.model_fields, "default") | {
        "workers": "default", "threads": str(tmp_path / FILE), "lease_s": "--lease-s",
        "reconcile_s": "default", "log_level": "FIBSTREAM_LOG_LEVEL", "log_format": "default",
    }  # fmt: skip


def refusal(
    tmp_path: Path,
    flags: Mapping[str, Any] | None = None,
    environment: Mapping[str, str] | None = None,
    file: str | None = None,
) -> str:
    if file is not None:
        (tmp_path / FILE).write_text(file)
    with pytest.raises(WrongUse) as wrong:
        load(flags or {}, environment or {}, tmp_path)
    message = str(wrong.value)
    assert "\n" not in message
    return message


def test_unknown_words_name_those_that_are_known(tmp_path: Path) -> None:
    for message in (
        refusal(tmp_path, environment={"FIBSTREAM_WORKER": "1"}),
        refusal(tmp_path, file="worker = 1\n"),
        refusal(tmp_path, file="[fibstream]\nworkers = 1\n"),
    ):
        assert "unknown setting" in message
        assert all(name in message for name in Settings.model_fields)


def test_what_the_whole_check_sets_is_no_setting(tmp_path: Path) -> None:
    text = (Path(__file__).resolve().parents[2] / ".ci/run").read_text()
    names = re.findall(r"\bFIBSTREAM_\w+(?==)", text)
    assert len(names) > 3
    load({}, dict.fromkeys(names, "1"), tmp_path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("workers", "0"), ("workers", "many"), ("workers", "1.5"), ("workers", ""),
        ("threads", "257"), ("lease_s", "0"), ("lease_s", "nan"), ("lease_s", "inf"),
        ("reconcile_s", "-1"), ("log_level", "loud"), ("workers", "1\n2"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_named_with_where_it_came_from(
    tmp_path: Path, name: str, value: str
) -> None:
    variable = f"FIBSTREAM_{name.upper()}"
    message = refusal(tmp_path, environment={variable: value})
    assert all(word in message for word in (name, repr(value), variable))
    assert f"--{name.replace('_', '-')}" in refusal(tmp_path, flags={name: value})


@pytest.mark.parametrize("text", ["workers = ", "workers == 1", "\x00"])
def test_a_file_that_is_not_toml_is_named(tmp_path: Path, text: str) -> None:
    assert FILE in refusal(tmp_path, file=text)


def test_a_file_that_is_not_text_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"\xff\xfe")
    assert FILE in refusal(tmp_path)


def test_variables_that_are_no_settings_are_left_alone(tmp_path: Path) -> None:
    assert load({}, {"FIBSTREAM_SHARED": "x"}, tmp_path)[0] == Settings.model_validate({})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("workers = " + "[" * 5000, "not readable as TOML"),
        ("workers = " + "9" * 5000, "not readable as TOML"),
        ("#" * 70_000, "more than 65536 bytes"),
        ('workers = "' + "x" * 5000 + '"', "workers = 'xxx"),
    ],
)
def test_a_file_that_costs_more_than_it_weighs_is_refused(
    tmp_path: Path, text: str, says: str
) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(WrongUse, match=says) as caught:
        load({}, {}, tmp_path)
    assert len(str(caught.value)) < 200 + 2 * len(str(tmp_path))
