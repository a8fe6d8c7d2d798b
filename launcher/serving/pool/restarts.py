"""When is a worker started again, and when does the pool give up?

Arithmetic only; times are monotonic seconds that come in. The figures are DESIGN §5's: a failed re-boot is retried for
ever while somebody serves, `max(3, N)` unexplained deaths of ready workers within a minute are a crash loop.
"""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field

from launcher.errors import ExitCode
from launcher.serving.rules import LEAST_INTENSITY

WINDOW_S = 60.0
OOM_WINDOW_S = 600.0  # in which kills for memory are counted: with the longest pauses there are few a minute
LONGEST_S = 30.0  # between two attempts; DESIGN §5
_FIRST_S = 0.5
_JITTER = 0.25  # of the pause: replicas that lost one database come back one after the other


@dataclass(frozen=True, slots=True)
class GivingUp:
    """The end of the pool: the exit code and the reason for people."""

    code: ExitCode
    because: str


@dataclass(slots=True)
class Restarts:
    """The pool's memory of what went wrong.

    first: workers that there are to be; started together at the beginning.
    intensity: unexplained deaths of ready workers within WINDOW_S that end the pool.
    """

    first: int
    intensity: int
    rng: random.Random = field(default_factory=random.Random)
    ever_ready: bool = False
    failures: int = 0  # boots that failed since a worker last became ready
    not_before: float = 0.0
    _memory_until: float = 0.0  # the pause after a kill for memory, which a worker that becomes ready does not end
    _served: bool = False  # somebody did when we last looked
    _deaths: deque[float] = field(default_factory=deque)
    _ooms: deque[float] = field(default_factory=deque)

    def became_ready(self) -> None:
        """Forget the failed boots: the application works."""
        self.ever_ready = True
        self.failures = 0
        self.not_before = 0.0

    def boot_failed(self, now: float) -> float:
        """Count a boot that failed; return the pause in seconds until the next attempt."""
        self.failures += 1
        return self._pause(now, self.failures - 1)

    def nothing_boots(self, now: float) -> float:
        """Count a failure that is every worker's (the preloaded import); return the pause in seconds."""
        self.failures = max(self.failures, 0 if self.ever_ready else self.first - 1)
        return self.boot_failed(now)

    def died(self, now: float) -> float:
        """Count an unexplained death of a ready worker; return the pause in seconds: none after the first."""
        self._deaths.append(now)
        recent = self.recent_deaths(now)
        return self._pause(now, recent - 2) if recent > 1 else 0.0

    def killed_for_memory(self, now: float) -> float:
        """Count a ready worker that the kernel killed for memory; return the pause in seconds.

        It is explained, and the same elsewhere: no reason to give up, but to go easy.
        """
        self._ooms.append(now)
        _forget(self._ooms, now, OOM_WINDOW_S)
        pause = self._drawn(len(self._ooms) - 1)
        self._memory_until = max(self._memory_until, now + pause)
        return pause

    @property
    def resumes_at(self) -> float:
        """When the pause is over, monotonic."""
        return max(self.not_before, self._memory_until)

    def end_pauses(self) -> None:
        """Let the next attempt be made at once: somebody has changed something."""
        self.not_before = self._memory_until = 0.0

    def recent_deaths(self, now: float) -> int:
        """Return how many ready workers died unexplained within the window."""
        _forget(self._deaths, now, WINDOW_S)
        return len(self._deaths)

    def may_start(self, now: float, booting: int) -> bool:
        """Tell whether a worker may be started: one at a time while boots fail, all at once otherwise."""
        return now >= self.resumes_at and (not self.failures or not booting)

    def giving_up(self, now: float, *, ready: int, booting: int) -> GivingUp | None:
        """Return why the pool ends, if it has to."""
        if (deaths := self.recent_deaths(now)) >= self.intensity:
            return GivingUp(ExitCode.CRASH_LOOP, f"{deaths} workers died within {WINDOW_S:.0f} s")
        if self._served and not ready:  # what failed while others served, and its pauses, count no more
            self.failures, self.not_before = 0, now
        self._served = ready > 0
        if ready or booting:
            return None
        if not self.ever_ready and self.failures >= self.first:
            return GivingUp(ExitCode.NEVER_READY, "no worker ever became ready")
        if self.ever_ready and self.failures >= max(LEAST_INTENSITY, self.first):
            return GivingUp(ExitCode.CRASH_LOOP, f"no worker is ready any more, and {self.failures} starts failed")
        return None

    def _pause(self, now: float, doublings: int) -> float:
        pause = self._drawn(doublings)
        self.not_before = max(self.not_before, now + pause)
        return pause

    def _drawn(self, doublings: int) -> float:
        jitter = 1 + self.rng.uniform(-_JITTER, _JITTER)
        return min(LONGEST_S, _FIRST_S * 2.0 ** min(doublings, 16) * jitter)


def _forget(times: deque[float], now: float, window_s: float) -> None:
    while times and now - times[0] > window_s:
        times.popleft()
