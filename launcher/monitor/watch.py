"""Has a worker, or the pool, grown too large?

Each second by one line of /proc for each worker, in which pages that a fork shares are its own, too: only when that is
above the limit are its pages walked, which costs a hundred times as much. One that stays above the limit and either
goes on growing or has more than it had when it was new is recycled: a new one in its place would be smaller. What loads
much with its first requests looks like a leak; that it stops is known ten seconds after the start.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable

from launcher.monitor.pace import HASTY_S
from launcher.monitor.recycling import PAUSE_S, WORTH, Ask, Asked, Recycling
from launcher.monitor.watched import FRESH_S, LARGER, LOOKS, SOON_S, Ready, Relief, Sizes, Watched

_YOUNG_S = 3.0
_AT_ONCE_S = 0.05  # spent on walking pages before the next answer is due
_LEFT_S = 4.0  # until the limit is reached, where no worker is known to leak: what loads much may be done by then
# Without a relief but of a leak or in haste, when the last one's successor has soon been as large as the one before it.
CALM_S = 600.0
_DOUBTS = 3  # successors in a row that need no longer to the limit than `SOON_S` make it doubtful
_FAR_ABOVE = 1.5  # the limit: a doubtful one is still there to bound a leak
_KNOWN_S = 10.0  # as long as a walk holds for who only wants to know how large the largest is
_LEAKS_S = 600.0  # as long as one that leaked is taken for what its like will do, too
# As models are at their first use. To recycle it would wait for that request, and the next worker do the same; so would
# one that loads without any.
_LOADS = Relief("what grows loads something: to recycle it would not end that", is_passing=True)


class Watch:
    """Recycles whoever has grown above the limit. `look` has to be called about once a second.

    boots: one does not serve yet, and takes memory. in_flight_s: for how long the requests of a process have been under
    way.
    """

    def __init__(
        self,
        limit_bytes: int | None,
        ready: Callable[[], Iterable[Ready]],
        sizes: Sizes,
        ask: Ask,
        warn: Callable[..., None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Let no worker have more than `limit_bytes` for itself for long; None: as much as it wants.

        ready: returns the workers that serve and are meant to stay, and those that boot. ask: of the pool.
        warn: to the log.
        """
        self._limit = sys.maxsize if limit_bytes is None else limit_bytes
        self._ready, self._sizes, self._warn, self._clock = ready, sizes, warn, clock
        self._recycling = Recycling(ask)
        self._workers: dict[int, Watched] = {}
        self._newest = 0
        self._is_doubted = False
        self._leaked_at = self._begun_at = self._calm_until = float("-inf")
        self._calm: Asked | None = None  # the last relief of a worker that did not grow
        self._soon = 0  # successors in a row that were soon above the limit
        self.boots = False
        self.in_flight_s: Callable[[int], Iterable[float]] = lambda _: ()

    def look(self) -> None:
        """Weigh every worker, and do what can be done now."""
        now = self._clock()
        found = list(self._ready())
        self.boots = any(one.boots and self._sizes.cheap(one.pid) is not None for one in found)
        there = {one.number: one for one in found if not one.boots}
        self._workers = {number: self._workers.get(number) or self._met(one, now) for number, one in there.items()}
        self._newest = max(self._newest, *there, 0)
        # Those that were not walked for longest first: of many, the others have their turn in the next look.
        for worker in sorted(self._workers.values(), key=lambda worker: worker.walked_at):
            self._weigh(worker, there[worker.ready.number].requests, now, is_free=self._clock() - now < _AT_ONCE_S)
        if self._recycling.over:
            self._judge(now)
        if self._recycling.may_begin(now):
            self._recycle(now)

    def relieve(self, left_s: float, *, is_short: bool) -> Relief:
        """Recycle the largest, if it is larger than it needs to be; return what is done about it.

        Whether its successor fits beside it is the pool's to see: where it does not the old one goes first.
        left_s: until the group will have reached its limit, as it grows now. is_short: it has little left, however it
        grows.
        """
        now = self._clock()
        if (asked := self._recycling.asked) is not None:
            return Relief("a worker is being recycled", is_enough=True, for_s=now - asked.at)
        is_hasty = self._is_hasty(left_s, now)
        if not (is_short or is_hasty):
            return Relief("", is_enough=True)
        if not self._recycling.may_begin(now):
            return Relief("the last recycle freed less than predicted: the next one waits")
        return self._relieve_largest(now, is_hasty=is_hasty, is_short=is_short)

    def _relieve_largest(self, now: float, *, is_hasty: bool, is_short: bool) -> Relief:
        self._walk(now)
        known = [worker for worker in self._workers.values() if worker.own_bytes and (is_short or worker.grows)]
        to_blame = known if is_short else [worker for worker in known if self._is_to_blame(worker, now)]
        if not to_blame:
            return _LOADS if known else Relief("no worker could be recycled")
        worker = max(to_blame, key=lambda worker: worker.own_bytes)
        if worker.own_bytes <= self._least(worker, now) * LARGER:
            return Relief("the workers are equally large, and as large as they were when they were new")
        return self._relieve_by(worker, now, is_hasty=is_hasty)

    def largest(self) -> Watched | None:
        """Return who has most for itself, by a walk that is not old; None: nobody could be walked yet."""
        now = self._clock()
        self._walk(now, older_than_s=_KNOWN_S)
        known = [worker for worker in self._workers.values() if worker.own_bytes]
        return max(known, key=lambda worker: worker.own_bytes, default=None)

    def _relieve_by(self, worker: Watched, now: float, *, is_hasty: bool) -> Relief:
        """Recycle it; where it is not known to leak, one a minute: it may need that much now and then."""
        grows = worker.grows and worker.has_gained
        if (worker.leaks(now) or (grows and (is_hasty or self._leaks(now)))) and self._is_to_blame(worker, now):
            return self._relieve(worker, now)
        if now < self._calm_until:
            return Relief("no worker leaks, and one was recycled a short time ago: the next one waits")
        said = self._relieve(worker, now)
        self._calm, self._calm_until = self._recycling.asked, now + PAUSE_S
        return said

    def _is_to_blame(self, worker: Watched, now: float) -> bool:
        """Tell whether it leaks, rather than loads something: where workers have leaked the next ones do, too."""
        return self._leaks(now) or worker.grows_by_requests(now)

    def _is_hasty(self, left_s: float, now: float) -> bool:
        """Tell whether what grows are workers that serve: those that boot are done in a moment."""
        met = self._workers.values()
        if self.boots or any(one.age_s(now) < _YOUNG_S and not one.is_successor for one in met):
            return False
        return left_s <= (HASTY_S if self._leaks(now) else _LEFT_S)

    def _relieve(self, worker: Watched, now: float) -> Relief:
        pid, own = worker.ready.pid, worker.own_bytes
        because = "the pool is short of memory, and this worker is larger than it needs to be"
        self._warn("launcher.worker_oversized", because=because, pid=pid, private_bytes=own)
        self._begin(worker, now, own)
        return Relief(f"worker {pid} is recycled", is_enough=True)

    def _walk(self, now: float, older_than_s: float = 0.0) -> None:
        """Look how large they are: who seems to be largest first, then, of many, those whose turn it is."""
        met = [worker for worker in self._workers.values() if now - worker.walked_at >= older_than_s]
        most = max(met, key=lambda worker: worker.last[-1] if worker.last else 0, default=None)
        for worker in sorted(met, key=lambda worker: (worker is not most, worker.walked_at)):
            if self._clock() - now < _AT_ONCE_S and (own := self._sizes.own(worker.ready.pid)) is not None:
                worker.note(own, own, now)
            if worker.is_back(now):
                worker.replaced_bytes, self._calm_until = None, now + CALM_S

    def _least(self, worker: Watched, now: float) -> int:
        """Return what a new one in its place would have: what it had itself, the first moments only if it leaks.

        Or what the smallest has, but for those that are new: they have not loaded yet what all load.
        """
        first = worker.born_bytes if worker.grows or self._leaks(now) else None
        if worker.leaks(now) and worker.born_bytes is None and worker.fresh_bytes is None:
            return 0  # it was there before we were: a new one is smaller for certain
        others = [one.own_bytes for one in self._workers.values() if one.own_bytes and one.age_s(now) >= FRESH_S]
        return min([worker.own_bytes, *others, first or sys.maxsize, worker.fresh_bytes or sys.maxsize])

    def _leaks(self, now: float) -> bool:
        return now - self._leaked_at < _LEAKS_S

    def _met(self, ready: Ready, now: float) -> Watched:
        asked, worker = self._recycling.asked, Watched(ready)
        is_successor = asked is not None and ready.number > asked.newest
        if is_successor or worker.age_s(now) < _YOUNG_S:  # now: until the one before it has gone, it may have grown
            worker.born_bytes, worker.born_cheap_bytes = self._sizes.own(ready.pid), self._sizes.cheap(ready.pid)
        if is_successor and asked is not None:
            worker.not_before, worker.is_successor = asked.at + PAUSE_S, True
            worker.replaced_bytes = asked.own_bytes if asked is self._calm else None
        return worker

    def _weigh(self, worker: Watched, requests: int, now: float, *, is_free: bool) -> None:
        if (cheap := self._sizes.cheap(worker.ready.pid)) is None:
            return
        worker.seen(cheap, requests, now)
        worker.asked(self.in_flight_s(worker.ready.pid) if worker.rises[-1] else (), now)
        if worker.leaks(now):
            self._leaked_at = now
        is_fresh = worker.is_due_as_fresh(now)
        if cheap <= self._limit:
            worker.above = 0
        elif not is_fresh and not worker.must_be_walked(cheap, self._limit, now):
            return
        if not (is_free and (is_fresh or cheap > self._limit)) or (own := self._sizes.own(worker.ready.pid)) is None:
            return
        worker.note(own, cheap, now)
        worker.above = worker.above + 1 if own > self._limit else 0
        if worker.above >= LOOKS and not worker.has_reached:
            self._reached(worker, now)
        if is_fresh:
            self._know_fresh(worker, own, now)

    def _know_fresh(self, worker: Watched, own_bytes: int, now: float) -> None:
        worker.fresh_bytes = own_bytes
        if own_bytes > self._limit and not worker.grows:
            self._doubt(worker, now, "a worker has more than --worker-memory-limit soon after its start")

    def _reached(self, worker: Watched, now: float) -> None:
        worker.has_reached = True
        if worker.is_successor:
            self._soon = self._soon + 1 if worker.age_s(now) <= SOON_S else 0
        if self._soon >= _DOUBTS:
            because = f"{_DOUBTS} new workers in a row were above --worker-memory-limit within {SOON_S:.0f} s"
            self._doubt(worker, now, because)

    def _doubt(self, worker: Watched, now: float, because: str) -> None:
        if self._is_doubted:
            return
        self._is_doubted = True
        self._warn(
            "launcher.worker_limit_doubtful",
            because=f"{because}: to recycle it is no use",
            pid=worker.ready.pid,
            private_bytes=worker.own_bytes,
            limit_bytes=self._limit,
            age_s=round(worker.age_s(now), 1),
        )

    def _judge(self, now: float) -> None:
        asked = self._recycling.asked
        if asked is None:
            return
        if not self._recycling.was_done:
            self._recycling.refused(now)
            return
        newer = [number for number in self._workers if number > asked.newest]
        if not newer:
            self._recycling.nothing_to_judge()
            return
        self._recycling.judge(self._workers[min(newer)].born_bytes)

    def _recycle(self, now: float) -> None:
        above = [worker for worker in self._workers.values() if worker.above >= LOOKS]
        worth = [worker for worker in above if self._is_worth(worker, now) and self._is_due(worker, now)]
        if not worth:
            return
        worker = max(worth, key=lambda worker: worker.own_bytes)
        facts = {"pid": worker.ready.pid, "private_bytes": worker.own_bytes, "limit_bytes": self._limit}
        self._warn("launcher.worker_oversized", because="it stays above --worker-memory-limit", **facts)
        self._begin(worker, now, self._limit)

    def _is_due(self, worker: Watched, now: float) -> bool:
        """Tell whether a limit that all reach soon has waited for a minute, or would not bound this one any more."""
        has_paused = self._soon < _DOUBTS or now >= self._begun_at + PAUSE_S
        return has_paused or worker.own_bytes > self._limit * _FAR_ABOVE

    def _begin(self, worker: Watched, now: float, most_bytes: int) -> None:
        predicted = self._predicted(worker)
        worker.above, self._begun_at = 0, now
        asked = Asked(worker.ready.pid, now, worker.own_bytes, predicted, most_bytes, self._newest)
        self._recycling.begin(asked)

    def _is_worth(self, worker: Watched, now: float) -> bool:
        """Tell whether a new worker in its place would be smaller, as far as can be known."""
        is_new, has_paused = worker.age_s(now) < FRESH_S, now >= worker.not_before
        if worker.grows:  # at 50 MB/s the first ten seconds may be the container's last: the first one has not to wait
            return has_paused or self._leaks(now)
        if is_new or not has_paused:
            return False
        return worker.fresh_bytes is None or worker.own_bytes - worker.fresh_bytes >= worker.own_bytes * WORTH

    def _predicted(self, worker: Watched) -> int:
        """Return what its end should free: what it has above its like, or above itself when it was new."""
        others = [one.own_bytes for one in self._workers.values() if one is not worker and one.own_bytes]
        less = [self._limit, *sorted(others)[(len(others) - 1) // 2 : len(others) // 2 + 1]]
        return worker.own_bytes - min([*less, *([worker.fresh_bytes] if worker.fresh_bytes is not None else [])])
