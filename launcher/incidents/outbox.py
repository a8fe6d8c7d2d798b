"""Has the report reached somebody who keeps it?

The sending side, of a start and of a server. The monitor keeps reports and hands them to plugins; what it does not keep
in time, or what there is no monitor for, is kept here. Nothing waits but `wait`.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from launcher.channel import MOST_BYTES, Channel
from launcher.incidents.report import fitted, size_bytes

MOST = 200  # reports; a burst of deaths is some fifty
KEPT_WITHIN_S = 2.0  # by the monitor: it is milliseconds, unless it has just died
# A monitor that was started again may not have what its predecessor had read; what it keeps on disk it does have.
AGAIN_S, _KEPT_HERE_S, _KEPT_THERE_S = 1.0, 5.0, 60.0
DELIVERED_WITHIN_S = 5.0  # the end of a process waits so long for the plugins
_ENVELOPE = 64  # bytes around the report in its message
# Bytes that are on their way at once: the channel holds some 200 KiB, and events go over it, too.
_ON_THE_WAY = 2 * MOST_BYTES
_LOOK_S = 0.05


class Keeps(Protocol):
    """Where reports are kept: `launcher.incidents.store.Store`, or what stands before one."""

    def keep(self, report: Mapping[str, Any]) -> object:
        """Keep it. Never raises."""


class _Letter:
    """A report on its way. Instants are the clock's."""

    __slots__ = ("again_s", "at", "kept", "report", "sent", "size", "tried")

    def __init__(self, report: dict[str, Any], at: float) -> None:
        self.report, self.at = report, at
        self.size = size_bytes(report) + _ENVELOPE
        self.tried: float | None = None  # when the channel last took it
        self.sent = False  # and nobody has answered yet
        self.kept = False  # by the monitor or by us
        self.again_s = AGAIN_S  # after which it is sent again

    def is_kept(self, again_s: float) -> None:
        """Somebody keeps it."""
        self.kept, self.sent, self.again_s = True, False, again_s


class Outbox:
    """Reports that the monitor has not taken care of yet.

    merged: reports that were dropped because too many waited; the newest one says so.
    """

    def __init__(self, channel: Channel | None, store: Keeps, clock: Callable[[], float] = time.monotonic) -> None:
        """Send over `channel`; without one everything is kept in `store` at once."""
        self._channel, self._store, self._clock = channel, store, clock
        self._letters: dict[str, _Letter] = {}
        self.merged = 0

    @property
    def pending(self) -> bool:
        """Whether the plugins have not had all of it yet."""
        return bool(self._letters)

    @property
    def unkept(self) -> bool:
        """Whether there is something that nobody keeps yet."""
        return any(not letter.kept for letter in self._letters.values())

    def send(self, report: Mapping[str, Any]) -> None:
        """Take a report and send it as soon as that goes. Never raises for the other side, never waits for it."""
        letter = _Letter(fitted(report, MOST_BYTES - _ENVELOPE), self._clock())
        if self._channel is None:
            self._store.keep(report)
            return
        self._letters[str(report["id"])] = letter
        while len(self._letters) > MOST:
            self._drop()
        self._push()

    def hear(self, message: Mapping[str, Any]) -> None:
        """Take the monitor's answers; other messages are none of our concern."""
        match message:
            case {"kept": str(number)} if number in self._letters:
                self._letters[number].is_kept(_KEPT_THERE_S)
                self._push()
            case {"delivered": str(number)} if number in self._letters:
                del self._letters[number]
                self._push()
            case _:
                pass

    def look(self) -> None:
        """Send what could not be sent; keep here what nobody has kept in time. Call it about once a second."""
        now = self._clock()
        for letter in self._letters.values():
            if letter.tried is not None and now - letter.tried >= letter.again_s:
                letter.tried, letter.sent = None, False
            if not letter.kept and now - letter.at >= KEPT_WITHIN_S:
                self._keep(letter)
        self._push()

    def due_in_s(self) -> float:
        """Return in how many seconds `look` has something to do."""
        if not self._letters:
            return float("inf")
        return AGAIN_S if all(letter.kept or letter.sent for letter in self._letters.values()) else _LOOK_S

    def flush(self) -> None:
        """Keep here what nobody has kept yet: the process ends."""
        for letter in self._letters.values():
            if not letter.kept:
                self._keep(letter)

    def wait(self, deadline_s: float = DELIVERED_WITHIN_S) -> None:
        """Return when all is delivered, or after `deadline_s`; then everything is kept. For the end of a process.

        Reads the channel, whose other messages are lost. A signal's handler that raises ends it.
        """
        until = self._clock() + deadline_s
        try:
            while self._letters and self._channel is not None and self._clock() < until:
                self._hear_for(self._channel, min(_LOOK_S, max(0.0, until - self._clock())))
                self.look()
        finally:
            self.flush()

    def _hear_for(self, channel: Channel, seconds: float) -> None:
        if channel.gone:
            time.sleep(seconds)
            return
        select.select((channel,), (), (), seconds)
        for message in channel.receive():
            self.hear(message)

    def _push(self) -> None:
        """Send what fits; in the order of the reports, and those that nobody keeps first."""
        if self._channel is None:
            return
        on_the_way = sum(letter.size for letter in self._letters.values() if letter.sent)
        for letter in sorted(self._letters.values(), key=lambda one: one.kept):
            if letter.tried is not None or (on_the_way and on_the_way + letter.size > _ON_THE_WAY):
                continue
            if not self._channel.send({"incident": letter.report}):
                return
            letter.tried, letter.sent = self._clock(), not letter.kept
            on_the_way += letter.size

    def _keep(self, letter: _Letter) -> None:
        self._store.keep(letter.report)
        letter.is_kept(_KEPT_HERE_S)

    def _drop(self) -> None:
        """Let go of the oldest: of one that is kept only the sending, of another the newest says that there was one."""
        number, letter = next(iter(self._letters.items()))
        del self._letters[number]
        if letter.kept:
            return
        dropped = 1 + int(letter.report.get("merged", 0))
        self.merged += 1
        heir = next(reversed(self._letters.values()))  # it has not been sent yet
        heir.report["merged"] = int(heir.report.get("merged", 0)) + dropped
