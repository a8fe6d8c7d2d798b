"""How are the workers of a pool, and the memory of their group, played without processes?

Time is what the scene says, a look a second; sizes in MiB are functions of a worker's age.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher.errors import ExitCode
from launcher.limits.room import Room
from launcher.limits.usage import GroupUsage
from launcher.monitor.pressure import Pressure
from launcher.monitor.watch import Watch
from launcher.monitor.watched import Ready
from launcher.monitor.yielding import Yielding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from launcher.monitor.control import Outcome

MIB = 1 << 20
LIMIT = 120
BOOTING = 9_000_000  # the number of one that boots
FRESH = 30  # MiB, what a worker of most scenes begins with
Size = Callable[[float], float | None]  # age in seconds -> MiB


def leaks(per_s: float, most: float = 10_000) -> Size:
    """Return the size of a worker that grows by so many MiB each second."""
    return lambda age_s: min(most, FRESH + per_s * age_s)


def always(size: float) -> Size:
    """Return the size of a worker that never grows."""
    return lambda _: size


def made_room(needed: int, limit: int, *, is_limited: bool = True) -> Room:
    """Return the room of a group that needs so many bytes, a tenth of it in each of two other kinds."""
    tenth = needed // 10
    return Room(limit, "a test", is_limited, GroupUsage(needed - 2 * tenth, tenth, tenth, "/group"))


@dataclass
class Scene:
    """A pool whose workers have sizes in MiB, and the watch over it; what is asked for takes `takes_s` seconds.

    size: of a worker of this number. shared: MiB that the cheap figure has besides. old_s: how old the first are.
    resident: MiB of the cheap figure where that does not grow: what they have is un-shared.
    per_s: requests that each answers. in_flight_s: of those under way.
    drains_first: the old one goes at once, its successor comes when the ask is carried out.
    """

    size: Callable[[int], Size]
    workers: int = 2
    shared: float = 0
    flutter: Callable[[float], float] = lambda _: 0  # seconds -> MiB that come and go in the cheap figure
    old_s: float = 0
    resident: float | None = None
    takes_s: int = 2
    drains_first: bool = False
    per_s: float = 10.0
    in_flight_s: Callable[[float], Sequence[float]] = lambda _: ()  # age in seconds -> for how long requests are there
    answer: tuple[int, str] | None = (0, "")  # None: nobody answers
    now: float = 1000.0
    born: dict[int, float] = field(default_factory=dict)
    asked: list[tuple[float, int]] = field(default_factory=list)  # recycles: when, number
    resized: list[tuple[float, str, int]] = field(default_factory=list)  # when, what was asked for, workers then
    said: list[tuple[str, Mapping[str, Any]]] = field(default_factory=list)
    walks: int = 0
    screams: bool = False
    limit: int | None = LIMIT
    most_needed: int = 0
    booting: float = 0  # MiB of one that does not serve yet
    given_up: int = 0
    _most: float = 0
    _due: list[tuple[float, Mapping[str, Any], Outcome]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.begun = self.now
        self.wanted = self.workers
        self.born = dict.fromkeys(range(1, self.workers + 1), self.now - self.old_s)
        limit = None if self.limit is None else self.limit * MIB
        self.watch = Watch(limit, self.ready, self, self.ask, self.warn, lambda: self.now)
        self.watch.in_flight_s = lambda pid: self.in_flight_s(self.now - self.born.get(pid, self.now))
        self.yielding = Yielding(
            self.ask, lambda: self.wanted, lambda: self.given_up, self.watch.largest, lambda: self.now
        )

    def ready(self) -> list[Ready]:
        """Return the workers that serve, and the one that boots."""
        boots = [Ready(BOOTING, BOOTING, self.now, boots=True)] if self.booting else []
        answered = {number: int((self.now - since) * self.per_s) for number, since in self.born.items()}
        there = (Ready(number, number, since, requests=answered[number]) for number, since in self.born.items())
        return [*boots, *there]

    def cheap(self, pid: int) -> int | None:
        """Return what statm would have."""
        own = self._size(pid)
        resident = own if self.resident is None else self.resident
        return None if own is None or resident is None else int((resident + self.shared + self.flutter(self.now)) * MIB)

    def own(self, pid: int) -> int | None:
        """Return what smaps_rollup would have."""
        self.walks += 1
        own = self._size(pid)
        return None if own is None else int(own * MIB)

    def _size(self, pid: int) -> float | None:
        if self.screams:
            return LIMIT * 2 + (self.now - self.begun)
        if pid == BOOTING:
            return self.booting or None
        return self.size(pid)(self.now - self.born[pid]) if pid in self.born else None

    def ask(self, message: Mapping[str, Any], outcome: Outcome) -> None:
        """Carry out an ask after a while."""
        assert message["ask"] not in [one["ask"] for _, one, _ in self._due], "one at a time"
        at = self.now - self.begun
        match message:
            case {"ask": "recycle", "pid": pid, "because": "memory"}:
                self.asked.append((at, pid))
                if self.drains_first:
                    self.born.pop(pid, None)
            case {"ask": "shrink", "workers": workers, "because": str()}:
                assert 1 <= workers < self.wanted
                self.resized.append((at, "shrink", workers))
            case {"ask": "grow_back", "because": str()}:
                self.resized.append((at, "grow_back", self.wanted + 1))
            case _:
                raise AssertionError(message)
        self._due.append((self.now + self.takes_s, message, outcome))

    def warn(self, event: str, **facts: object) -> None:
        """Keep what is said."""
        self.said.append((event, facts))

    def dies(self, number: int) -> None:
        """End a worker; the pool puts another one in its place."""
        del self.born[number]
        self._starts(number)

    def _starts(self, least: int = 0) -> None:
        self.born[max([least, *self.born]) + 1] = self.now

    def run(self, seconds: int) -> Scene:
        """Let time pass, a look each second."""
        for _ in range(seconds):
            self.now += 1
            self._carry_out()
            self.watch.look()
        return self

    def run_in(self, read: Callable[[], Room | None], seconds: int) -> Scene:
        """Let time pass in a group with this room."""
        pressure = Pressure(read, self.watch, self.yielding, self.warn, lambda: self.now)
        if self.resident is not None:
            pressure.unshared = self._unshared
        for _ in range(seconds):
            self.run(1)
            pressure.look()
        return self

    def _unshared(self, _anon_bytes: int | None) -> int | None:
        owns = [self._size(pid) or 0 for pid in self.born]
        self._most = max([*owns, self._most])
        return int(sum(self._most - own for own in owns) * MIB) if self._most > FRESH else None

    def run_in_group(self, limit: int, base: float | Callable[[float], float], seconds: int) -> Scene:
        """Let time pass in a group with so many MiB, of which `base` are nobody's."""
        return self.run_in(self.room_of(limit, base), seconds)

    def room_of(
        self, limit: int, base: float | Callable[[float], float], *, is_limited: bool = True
    ) -> Callable[[], Room]:
        """Return what reads the room of that group."""

        def read() -> Room:
            others = base(self.now - self.begun) if callable(base) else base
            needed = int(others * MIB) + sum(int((self._size(pid) or 0) * MIB) for pid in self.born)
            self.most_needed = max(self.most_needed, needed)
            return made_room(needed, limit * MIB, is_limited=is_limited)

        return read

    def _carry_out(self) -> None:
        for due in [one for one in self._due if one[0] <= self.now and self.answer is not None]:
            self._due.remove(due)
            _, message, outcome = due
            code, because = self.answer or (0, "")
            if code == 0:
                code = getattr(self, f"_{message['ask']}")(message)
            outcome(code, because)

    def _recycle(self, message: Mapping[str, Any]) -> int:
        pid = message["pid"]
        if pid in self.born:
            self.dies(pid)
        elif self.drains_first:
            self._starts(pid)
        return ExitCode.OK

    def _shrink(self, message: Mapping[str, Any]) -> int:
        pid, workers = message["pid"], message["workers"]
        self.given_up += self.wanted - workers
        self.wanted = workers
        while len(self.born) > workers:
            self.born.pop(pid if pid in self.born else min(self.born))
        return ExitCode.OK

    def _grow_back(self, _message: Mapping[str, Any]) -> int:
        if not self.given_up:
            return ExitCode.USAGE
        self.wanted, self.given_up = self.wanted + 1, self.given_up - 1
        self._starts()
        return ExitCode.OK

    def events(self, name: str) -> list[Mapping[str, Any]]:
        """Return the facts of each event of this name."""
        return [facts for event, facts in self.said if event == f"launcher.{name}"]

    def most_in(self, window_s: float) -> int:
        """Return how many recycles there were in the worst window of this length."""
        return max((sum(at <= other < at + window_s for other, _ in self.asked) for at, _ in self.asked), default=0)
