"""Which incident has which plugin still to be told?

By its id: what it says is read where it is kept when its turn comes. It is told to each plugin host anew, until every
plugin that listens has taken it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from typing import Any, Protocol

Send = Callable[[Mapping[str, Any]], bool]

MOST = 200  # more than are kept on disk
_MOST_BYTES = 60_000  # of a report, so that a message of the channel has room for it
_UNFIT = (TypeError, ValueError, KeyError, AttributeError, RecursionError)


class Book(Protocol):
    """Who has the reports."""

    def at_hand(self, number: str) -> Mapping[str, Any] | None:
        """Return a report that is in memory."""

    def find(self, number: str, then: Callable[[Any], None], late: Callable[[], None]) -> None:
        """Look for a report that is not, None: there is none; `late`: its folder does not answer."""

    def noted(self, number: str, taken_by: Sequence[str]) -> None:
        """Keep in mind who has taken it."""

    def delivered(self, number: str) -> None:
        """Everybody has."""


class Telling:
    """What has to be told. lost: how many were given up, since too many waited."""

    def __init__(self, book: Book) -> None:
        """Tell what is in `book`."""
        self._book = book
        self._waiting: dict[str, list[str]] = {}  # id -> who has taken it
        self._told: set[str] = set()  # to the present host
        self._sought = ""  # in the folder; one, since a report may be large
        self._send: Send | None = None
        self.lost = 0

    def __len__(self) -> int:
        """Return how many are not taken yet."""
        return len(self._waiting)

    def add(self, number: str, taken_by: Sequence[str] = ()) -> None:
        """Have one told to everybody but those who have it."""
        self._waiting[number] = list(taken_by)
        self._book.noted(number, taken_by)
        while len(self._waiting) > MOST:
            self.lost += 1
            self._end(next(iter(self._waiting)))

    def anew(self) -> None:
        """Begin with another host, which has heard nothing yet."""
        self._told.clear()
        self._send = None

    def tell(self, send: Send) -> None:
        """Tell what this host has not heard, as much as it has room for."""
        self._send = send
        for number in list(self._waiting):
            if number in self._told or number not in self._waiting:
                continue
            if (report := self._book.at_hand(number)) is not None:
                if not self._offer(number, report, send):
                    return
            elif not self._sought:
                self._sought = number
                self._book.find(number, partial(self._found, number), self._not_found)

    def _not_found(self) -> None:
        self._sought = ""  # it is sought again

    def _found(self, number: str, report: Mapping[str, Any] | None) -> None:
        self._sought = ""
        if (send := self._send) is None or number not in self._waiting:  # it is sought again
            return
        if self._offer(number, report, send):
            self.tell(send)

    def _offer(self, number: str, report: Mapping[str, Any] | None, send: Send) -> bool:
        """Tell one, or give it up; False: there is no room for it."""
        fit = _fitting(report)
        if fit is None:
            self.lost += 1
            self._end(number)
        elif send({"incident": fit, "not": self._waiting[number]}):
            self._told.add(number)
        else:
            return False
        return True

    def taken(self, number: str, who: str, listeners: Collection[str]) -> None:
        """Take note of who has it; `listeners`: who is to have it."""
        if (taken_by := self._waiting.get(number)) is not None and who not in taken_by:
            taken_by.append(who)
            if not self._settle(number, listeners):
                self._book.noted(number, taken_by)

    def unfit(self, number: str) -> None:
        """Give up on what the host can tell nobody."""
        if number in self._waiting:
            self._end(number)

    def settle(self, listeners: Collection[str]) -> None:
        """End what all who listen have taken: perhaps nobody listens any more."""
        for number in list(self._waiting):
            self._settle(number, listeners)

    def _settle(self, number: str, listeners: Collection[str]) -> bool:
        if all(who in self._waiting[number] for who in listeners):
            self._end(number)
            return True
        return False

    def _end(self, number: str) -> None:
        del self._waiting[number]
        self._told.discard(number)
        self._book.delivered(number)


def _fitting(report: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what fits into a message; None when there were so many that it had to make room, or it is no report."""
    from launcher.incidents.report import fitted, size_bytes  # its memory only once there is something to tell

    try:
        fit = fitted(report, _MOST_BYTES) if report is not None else None
        return fit if fit is not None and size_bytes(fit) <= _MOST_BYTES else None
    except _UNFIT:  # a file that somebody else has put there
        return None
