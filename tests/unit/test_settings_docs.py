"""Does the reference of settings name all of them?"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.settings.gunicorn_conventions import IMAGE_FILES, NAMES
from launcher.settings.option import Option
from launcher.settings.options import TABLE
from launcher.settings.platform_variables import VARIABLES
from launcher.settings.uvicorn_variables import TWINS

REFERENCE = (Path(__file__).parents[2] / "docs/reference/settings.md").read_text()
CONVENTIONS = [
    *VARIABLES,
    *(f"UVICORN_{name}" for name in TWINS),
    *NAMES,
    "BIND",
    "WEB_CONCURRENCY",
    "WEB_CONCURRENCY_SET_BY",
    "ACCESS_LOG",
    "ERROR_LOG",
    "APP_MODULE",
    "MODULE_NAME",
    "VARIABLE_NAME",
    "PRE_START_PATH",
    "GUNICORN_CMD_ARGS",
    *(f"/{path}" for path in IMAGE_FILES),
]


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_option(option: Option) -> None:
    """Every option, its flags and its words stand in docs/reference/settings.md."""
    flags = [option.flag, *option.flags, *(flag for alias in option.aliases for flag in alias.flags)]
    words = [option.name, *option.words, *flags]

    assert [word for word in words if f"`{word}`" not in REFERENCE and word != "APP"] == []


@pytest.mark.parametrize("option", TABLE, ids=lambda option: option.name)
def test_help(option: Option) -> None:
    """What --help says of an option and of its default, the reference says too, in its row."""
    row = next(line for line in REFERENCE.splitlines() if line.startswith(f"| `{option.name}` | `"))

    assert f"| {option.shown_default}" in row
    assert f"| {option.help}" in row


def test_nothing_is_promised_that_is_not_there() -> None:
    """No help text speaks of event hooks, of a shared database or of a measured worker, which this version lacks."""
    said = " ".join(f"{option.help} {option.metavar} {option.shown_default}" for option in TABLE)

    assert [word for word in ("hook", "share a database", "measured") if word in said] == []


@pytest.mark.parametrize("name", sorted(set(CONVENTIONS)))
def test_convention(name: str) -> None:
    """Every convention that is kept stands there."""
    assert f"`{name}`" in REFERENCE
