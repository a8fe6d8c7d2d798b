"""Does the plugin host get to know what each check has found, whatever the check does?"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING

import pytest

from launcher.plugin_host.checks import LONGEST_DETAIL, Checks, Found
from launcher.records import HealthCheck

if TYPE_CHECKING:
    from collections.abc import Callable


class Unspeakable(Exception):
    """An error that cannot be said."""

    def __str__(self) -> str:
        """Fail."""
        raise RuntimeError("on purpose")


def found(probe: Callable[[], object]) -> Found:
    """Return what one run finds."""
    told = threading.Event()
    checks = Checks(told.set)
    checks.add(HealthCheck("one", probe))
    checks.start_due()
    assert told.wait(10)
    return next(iter(checks.collect()))


def raising(error: BaseException) -> Callable[[], None]:
    """Return a probe that raises it."""

    def probe() -> None:
        raise error

    return probe


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (asyncio.CancelledError(), "CancelledError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (SystemExit(3), "3"),
        (GeneratorExit("done"), "done"),
        (Unspeakable(), "Unspeakable"),
        (OSError("no\n\x1b[31manswer"), "no ?[31manswer"),
        (OSError("x" * 10_000), "x" * LONGEST_DETAIL),
        (OSError("postgresql://app:geheim@db/x"), "postgresql://app:***@db/x"),
    ],
    ids=repr,
)
def test_whatever_a_probe_raises_is_its_failure(error: BaseException, detail: str) -> None:
    """None of it looks as if the check hung, which would cost the plugin host its life."""
    assert Found("one", ok=False, detail=detail) == found(raising(error))


def test_a_probe_that_returns_passes() -> None:
    """There is nothing to say about it."""
    assert Found("one", ok=True, detail="") == found(lambda: None)
