"""Which worker is replaced now?

One at a time, its replacement ready before it goes, and gone before the next one begins: never more than N + 1
processes. Where there is no memory for N + 1 it goes first, and connections wait for the others, or for the one that
comes. A machine of states that the server's loop steps; it never waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from launcher.serving.pool.members import Intent, Member, Members
from launcher.serving.pool.wanted import Answer, no_answer

if TYPE_CHECKING:
    from launcher.serving.pool.decisions import Pool


@dataclass(slots=True, eq=False)
class Replacing:
    """One replacement. `new` is None until it is started; `answer` is called with (exit code, reason) at its end.

    goes_first: the old one is asked to leave before the new one is started; by then `newest` was the latest worker.
    """

    old: Member
    intent: Intent
    because: str
    answer: Answer
    new: Member | None = None
    goes_first: bool = False
    newest: int = 0


@dataclass(slots=True)
class Reload:
    """A reload under way; `answer` is called with (exit code, reason) when it is over."""

    answer: Answer
    prepared: bool = False
    replaced: int = 0


@dataclass(slots=True)
class Rolling:
    """What is replaced, and what waits for its turn."""

    queue: deque[Replacing] = field(default_factory=deque)
    current: Replacing | None = None
    reload: Reload | None = None
    again: Answer | None = None  # a reload was asked for during a reload: the code may have changed once more
    begun: int = 0  # reloads, those that failed at once too

    @property
    def busy(self) -> bool:
        """Whether something is under way or waits."""
        return bool(self.current or self.queue or self.reload)

    def surplus(self, members: Members) -> int:
        """Return how many workers there may be above the wanted number: a replacement, while the old one is to stay.

        One below it, while the old one goes first.
        """
        one = self.current
        if one is not None and one.goes_first:
            return -int(one.old in members)
        return int(one is not None and one.new is not None and one.old in members and one.old.intent is None)

    def enqueue(self, old: Member, intent: Intent, because: str, answer: Answer) -> None:
        """Let a worker be replaced when its turn comes; one that waits already is not replaced twice."""
        waiting = (*self.queue, *([self.current] if self.current else []))
        if (same := next((one for one in waiting if one.old is old), None)) is not None:
            same.answer = _both(same.answer, answer)
            if intent is Intent.RELOAD:  # it must not wait for a worker that cannot boot, as a recycle does
                same.intent = intent
        else:
            self.queue.append(Replacing(old, intent, because, answer))

    def begin_reload(self, pool: Pool, answer: Answer) -> None:
        """Load what is new and replace every worker; a reload under way is followed by another one."""
        if self.reload is not None:
            self.again = answer if self.again is None else _both(self.again, answer)
            return
        pool.voice.say("launcher.pool_reloading", generation=pool.generation + 1)
        self.reload = Reload(answer)
        self.begun += 1
        pool.restarts.end_pauses()  # whoever reloads has changed something
        if pool.space is not None and (lacking := pool.space.lacking_for_copy(pool.hands.copy_bytes())):
            self._refuse(pool, f"there is no room for it: {lacking}; start the launcher anew instead")
            return
        try:
            pool.hands.load_new()
        except Exception as error:  # noqa: BLE001 - whatever the user's configuration raises
            self._fail(pool, f"the new configuration cannot be used: {error}", "")

    def step(self, pool: Pool) -> None:
        """Do what can be done now."""
        if self.reload is not None and not self.reload.prepared and not self._prepare(pool, self.reload):
            return
        while self.current is None and self.queue:
            one = self.queue.popleft()
            if one.old in pool.members and one.old.intent is None:
                self.current = one
            else:
                one.answer(ExitCode.OK, "it was gone already")
        if self.current is not None:
            self._replace(pool, self.current)
        elif self.reload is not None and pool.members.serving:
            self._finish(pool, self.reload)

    def member_died(self, pool: Pool, member: Member, why: str, exception: str) -> None:
        """Take note: a replacement that could not boot ends a reload, and is tried again otherwise."""
        one = self.current
        is_successor = one is not None and one.new is member
        if one is not None and is_successor:
            one.new = None
        if member.ready:
            return
        could_not_boot = is_successor or member.intent in {None, Intent.BOOT_HANG}
        is_reloading = self.reload is not None and self.reload.prepared
        if is_reloading and could_not_boot and member.generation == pool.generation:
            self._fail(pool, why, exception)  # also one that filled a gap: it is the new code that cannot boot
        elif one is not None and is_successor:
            self.current = None
            if one.goes_first:  # there is nobody to go back to; the pool fills the gap when it can
                one.answer(ExitCode.NEVER_READY, why)
            else:
                self.queue.append(one)

    def cannot_start(self, pool: Pool, why: str, exception: str) -> None:
        """Take note: what workers are to be started from cannot be had. A reload is over; others wait."""
        if self.reload is not None and self.reload.prepared:
            self._fail(pool, why, exception)

    def drop(self) -> None:
        """Forget everything: the pool stops."""
        pending = [*self.queue, *([self.current] if self.current else [])]
        answers = [one.answer for one in pending] + [
            *([self.reload.answer] if self.reload else []),
            *([self.again] if self.again else []),
        ]
        self.queue.clear()
        self.current = self.reload = self.again = None
        for answer in answers:
            answer(ExitCode.BUG, "the pool stops")

    def _prepare(self, pool: Pool, reload: Reload) -> bool:
        try:
            reload.prepared = pool.hands.new_is_ready()
        except Exception as error:  # noqa: BLE001 - whatever the application raises
            self._fail(pool, f"the new code cannot be loaded: {error}", getattr(error, "detail", ""))
            return False
        if reload.prepared:
            pool.generation += 1
            for old in pool.members.active:
                self.enqueue(old, Intent.RELOAD, "reload", no_answer)
        return reload.prepared

    def _replace(self, pool: Pool, one: Replacing) -> None:
        gone = one.old not in pool.members
        if one.new is None and one.goes_first:
            self._follow(pool, one, gone=gone)
        elif one.new is None:
            if gone or one.old.intent is not None:
                self._done(pool, one)  # it died meanwhile: the pool fills the gap by itself
            elif len(pool.members) <= pool.wanted and pool.may_start() and pool.can_start():
                self._begin(pool, one)
        elif one.new.ready:  # one whose old has died meanwhile still has to show that the new code works
            if gone:
                self._done(pool, one)
            elif one.old.intent is None:
                one.old.because = one.because
                pool.ask_to_leave(one.old, one.intent)

    def _begin(self, pool: Pool, one: Replacing) -> None:
        """Start the new one or, where both do not fit, have the old one leave."""
        if not (lacking := pool.lacking_for_one()):
            one.new = pool.start_worker()
            return
        if one.old.ready and len(pool.members.serving) < pool.wanted:
            return  # somebody is missing already: one at a time
        one.goes_first, one.newest = True, max(member.number for member in pool.members)
        one.old.because = one.because
        pool.voice.say("launcher.worker_drained_first", pid=one.old.pid, because=lacking)
        pool.ask_to_leave(one.old, one.intent)

    def _follow(self, pool: Pool, one: Replacing, *, gone: bool) -> None:
        """When the old one has gone, start the new one, unless the pool has done so already or wants none any more."""
        if not gone:
            return
        active = pool.members.active
        if len(active) < pool.wanted:
            if pool.may_overlap() and pool.may_start() and pool.can_start():
                one.new = pool.start_worker()
        elif (newest := active[-1]).number > one.newest:
            one.new = newest
        else:
            self._done(pool, one)

    def _done(self, pool: Pool, one: Replacing) -> None:
        self.current = None
        if one.new is not None and self.reload is not None and one.intent is Intent.RELOAD:
            self.reload.replaced += 1
        elif one.new is not None:
            pool.voice.say("launcher.worker_recycled", pid=one.old.pid, because=one.because, by=one.new.pid)
        one.answer(ExitCode.OK, "")

    def _finish(self, pool: Pool, reload: Reload) -> None:
        pool.hands.keep_new()
        pool.size.reloaded(pool)
        pool.voice.say("launcher.pool_reloaded", generation=pool.generation, replaced=reload.replaced)
        self._end(pool, reload, ExitCode.OK, "")

    def _refuse(self, pool: Pool, because: str) -> None:
        """End a reload that nothing was done for yet."""
        reload = self.reload or Reload(no_answer)
        kept = len(pool.members.serving)
        pool.voice.warn("launcher.reload_failed", because=because, replaced=0, kept=kept)
        self._end(pool, reload, ExitCode.NEVER_READY, because)

    def _fail(self, pool: Pool, because: str, exception: str) -> None:
        reload = self.reload or Reload(no_answer)
        current = pool.generation + (not reload.prepared)
        kept = [member for member in pool.members.serving if member.generation < current]
        (pool.hands.keep_new if reload.replaced else pool.hands.keep_old)()
        self._drop_reloads(because)
        facts = {"exception": exception} if exception else {}
        pool.voice.warn("launcher.reload_failed", because=because, replaced=reload.replaced, kept=len(kept), **facts)
        last = exception.strip().rpartition("\n")[2]
        self._end(pool, reload, ExitCode.NEVER_READY, f"{because}: {last}" if last else because)

    def _drop_reloads(self, because: str) -> None:
        """Forget what was to be replaced for the reload; who asked for the same worker before is told."""
        dropped = [one for one in (self.current, *self.queue) if one is not None and one.intent is Intent.RELOAD]
        self.queue = deque(one for one in self.queue if one not in dropped)
        self.current = None if self.current in dropped else self.current
        for one in dropped:
            one.answer(ExitCode.NEVER_READY, because)

    def _end(self, pool: Pool, reload: Reload, code: ExitCode, because: str) -> None:
        self.reload = None
        reload.answer(code, because)
        if (again := self.again) is not None:
            self.again = None
            self.begin_reload(pool, again)


def _both(first: Answer, second: Answer) -> Answer:
    def answer(code: int, because: str) -> None:
        first(code, because)
        second(code, because)

    return answer
