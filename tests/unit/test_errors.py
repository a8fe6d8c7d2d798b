"""Does every error say a sentence and end with the exit code of the contract?"""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from launcher import errors
from launcher.errors import ExitCode, Interrupted, LauncherError

if TYPE_CHECKING:
    from collections.abc import Iterator


def every_error() -> Iterator[type[LauncherError]]:
    """Return all subclasses of the one base class, however deep."""
    pending = LauncherError.__subclasses__()
    while pending:
        kind = pending.pop()
        pending += kind.__subclasses__()
        yield kind


def own_errors() -> list[type[LauncherError]]:
    """Return the classes of the module, by name: plugins and tests may define others."""
    return sorted(
        (kind for kind in every_error() if kind.__module__ == errors.__name__), key=lambda kind: kind.__name__
    )


def test_codes_of_the_contract() -> None:
    """The numbers are those users' scripts compare with: they never change."""
    actual = {code.name: int(code) for code in ExitCode}

    assert {
        "OK": 0,
        "BUG": 1,
        "USAGE": 2,
        "NEVER_READY": 3,
        "STEP_FAILED": 10,
        "NO_WORKER_FITS": 12,
        "DEPENDENCY_DOWN": 69,
        "CRASH_LOOP": 70,
        "LOCK_NOT_OBTAINED": 75,
        "NOT_EXECUTABLE": 126,
        "NOT_FOUND": 127,
        "SIGNALLED": 128,
    } == actual


@pytest.mark.parametrize("kind", [kind for kind in own_errors() if kind is not Interrupted])
def test_docstring_is_the_default_message(kind: type[LauncherError]) -> None:
    """An error raised without words says its docstring, a sentence, and carries no cure it was not given."""
    error = kind()

    assert kind.__doc__ == str(error) == error.message
    assert error.message.endswith(".")
    assert ("", "") == (error.cure, error.detail)


@pytest.mark.parametrize("kind", own_errors())
def test_every_error_has_a_code_of_its_own_kind(kind: type[LauncherError]) -> None:
    """No subclass ends as a bug of the launcher, or as success."""
    error = Interrupted(signal.SIGTERM) if kind is Interrupted else kind("what happened")

    assert error.exit_code not in (ExitCode.OK, ExitCode.BUG)


def test_facts_are_kept() -> None:
    """Message, cure and detail come out as they went in; the text is the message alone."""
    error = errors.UsageError("port 80000 is no port", cure="--port 8000", detail="Traceback ...")

    assert "port 80000 is no port" == str(error)
    assert ("--port 8000", "Traceback ...") == (error.cure, error.detail)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_end_as_in_a_shell(signum: signal.Signals) -> None:
    """A start ended by a signal exits with 128 + its number and names it."""
    error = Interrupted(signum)

    assert 128 + signum == error.exit_code
    assert signum.name in str(error)
