"""Which reports are not on disk yet?

They are in memory until the child (`launcher.monitor.disk`) has written them. What it has not written in time counts as
kept there, and is written when the disk answers; what memory has no room for is counted by the newest.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

from launcher.incidents.store import Store
from launcher.monitor.disk import Do, Done

LATE_S = 5.0  # a disk needs milliseconds

Kept = Callable[[str, str], None]  # path, else "" and why it is in memory


class _Letter:
    """A report that is not written: since when, and whom to tell that it is kept, None: that was done."""

    __slots__ = ("at", "kept")

    def __init__(self, at: float, kept: Kept) -> None:
        self.at = at
        self.kept: Kept | None = kept


class Unwritten:
    """Has them written. `look` has to be called about once a second.

    hangs: the disk did not answer in time, and has not answered since.
    """

    def __init__(self, store: Store, do: Do, hangs: Callable[[], None], clock: Callable[[], float]) -> None:
        """Write to `store`; `do` is `Disk.do`, `hangs` is called once when the disk does not answer in time."""
        self._store, self._do, self._say_hangs, self._clock = store, do, hangs, clock
        self._letters: dict[str, _Letter] = {}
        self._writing: frozenset[str] = frozenset()
        self.hangs = False

    def __contains__(self, number: object) -> bool:
        """Tell whether it is not kept yet, neither on disk nor, as the disk hangs, in memory."""
        letter = self._letters.get(str(number))
        return letter is not None and letter.kept is not None

    def add(self, report: Mapping[str, Any], kept: Kept) -> None:
        """Have a report written, and `kept` called once it is, or once that has taken too long."""
        gone = self._store.remember(report)
        self._letters[report["id"]] = _Letter(self._clock(), kept)
        self._merge(report["id"], [one for one in gone if one["id"] in self._letters.keys() - self._writing])
        self._write()

    def look(self) -> None:
        """Say of what is not written in time that it waits in memory; try again what could not be tried."""
        due = self._clock() - LATE_S
        late = [number for number in self._letters if number in self and self._letters[number].at <= due]
        if late:
            self._store.because = f"{self._store.folder} does not answer"
            if not self.hangs:
                self.hangs = True
                self._say_hangs()
        for number in late:
            self._is_kept(number, "", self._store.because)
        self._write()

    def flush(self) -> None:
        """Leave nothing for a child after the next one."""
        self._ask(self._of(self._letters.keys() - self._writing))

    def _write(self) -> None:
        """Have it done by one child at a time: what comes meanwhile is for the next one."""
        if self._writing or not self._letters:
            return
        reports = self._of(self._letters)
        self._writing = frozenset(report["id"] for report in reports)
        self._letters = {number: letter for number, letter in self._letters.items() if number in self._writing}
        self._ask(reports)

    def _ask(self, reports: Sequence[Mapping[str, Any]]) -> None:
        if reports:
            self._do(lambda: Done([self._written(report) for report in reports]), self._has_written)

    def _of(self, numbers: Container[str]) -> list[dict[str, Any]]:
        """Return the reports with these ids, the oldest first."""
        return [report for report in reversed(self._store.remembered()) if report["id"] in numbers]

    def _written(self, report: Mapping[str, Any]) -> tuple[str, str, str]:
        """In the child: write it, and return its id, its path, or why it has none."""
        try:
            path, because = self._store.keep(report), self._store.because
        except Exception as error:  # noqa: BLE001 - a fault of ours: the others are none the worse
            path, because = None, repr(error)
        return str(report["id"]), str(path or ""), because

    def _has_written(self, done: Done) -> None:
        self._writing = frozenset()
        if done.said is None:  # the child was killed: the next look tries again
            return
        self.hangs = False
        for number, path, because in done.said:
            self._store.because = because
            if path:
                self._store.forget(number)
            self._is_kept(number, path, because)
            self._letters.pop(number, None)
        self._write()

    def _is_kept(self, number: str, path: str, because: str) -> None:
        letter = self._letters.get(number)
        if letter is not None and (kept := letter.kept) is not None:
            letter.kept = None
            kept(path, because)

    def _merge(self, number: str, lost: Sequence[Mapping[str, Any]]) -> None:
        """Have the newest count those that had to give way before anybody was to write them."""
        heir = next((report for report in self._store.remembered() if report["id"] == number), None)
        if heir is not None:
            heir["merged"] = _merged(heir) + sum(1 + _merged(one) for one in lost)
        for one in lost:
            self._is_kept(one["id"], "", f"{self._store.folder} does not answer, and memory is full")
            self._letters.pop(one["id"], None)


def _merged(report: Mapping[str, Any]) -> int:
    merged = report.get("merged")
    return merged if isinstance(merged, int) else 0
