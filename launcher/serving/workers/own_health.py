"""Does this worker find itself well?

`health_worker = "module:function"`: called in a thread of the worker, now and then; the worker counts as ready while
it returns. Nothing is killed for it: what a hang is, the event loop tells.
"""

from __future__ import annotations

import importlib
import threading
import time
from collections.abc import Callable
from typing import Protocol

from launcher.errors import PluginError
from launcher.log import log
from launcher.masking import masked
from launcher.records import is_async

INTERVAL_S, TIMEOUT_S = 5.0, 5.0
_LONGEST_DETAIL = 300  # characters


class Marked(Protocol):
    """What of a slot is written here."""

    unhealthy: bool


class OwnHealth:
    """Calls the function and writes what it found into the slot; until the first time it is not well.

    Raises PluginError when the function cannot be imported, or is `async def`.
    """

    def __init__(self, target: str, slot: Marked, clock: Callable[[], float] = time.monotonic) -> None:
        """Import `target` (`module:function`); make it in the worker, once the application is imported."""
        self._target, self._slot, self._clock = target, slot, clock
        self._function = _imported(target)
        self._due = clock()
        self._thread: threading.Thread | None = None
        self._because: str | None = "it was not asked yet"
        self._said: str | None = None
        slot.unhealthy = True

    def tick(self) -> None:
        """Start a call that is due, end the patience with one that takes too long. Call it often; it never blocks."""
        now = self._clock()
        if self._thread is not None and self._thread.is_alive():
            if now >= self._due - INTERVAL_S + TIMEOUT_S:
                self._tell(f"{self._target} has not returned within {TIMEOUT_S:g} s")
        elif self._thread is not None:
            self._thread = None
            self._tell(self._because)
        elif now >= self._due:
            self._due = now + INTERVAL_S
            self._start()

    def _start(self) -> None:
        thread = threading.Thread(target=self._call, name="health", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # no thread to be had: the system's limit
            self._tell(str(error))
        else:
            self._thread = thread

    def _call(self) -> None:
        try:
            self._function()
        except (Exception, SystemExit) as error:  # noqa: BLE001 - it may raise what it likes; the text is for people
            text = " ".join(masked(str(error)).split())
            self._because = (text or type(error).__name__)[:_LONGEST_DETAIL]
        else:
            self._because = None

    def _tell(self, because: str | None) -> None:
        self._slot.unhealthy = because is not None
        if because and self._said is None:
            log.warning("launcher.worker_unhealthy", because=because)
        elif self._said and because is None:
            log.info("launcher.worker_healthy")
        self._said = because


def _imported(target: str) -> Callable[[], object]:
    module, _, name = target.partition(":")
    try:
        value: object = importlib.import_module(module)
        for part in name.split("."):
            value = getattr(value, part)
    except (Exception, SystemExit) as error:  # the import of an application may raise anything
        raise PluginError(f"health_worker: {target}: {type(error).__name__}: {error}") from error
    if not callable(value):
        raise PluginError(f"health_worker: {target} cannot be called")
    if is_async(value):
        raise PluginError(f"health_worker: {target} is `async def`", cure="an ordinary function; it runs in a thread")
    return value
