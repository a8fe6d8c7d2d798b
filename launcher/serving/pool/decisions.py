"""What happens to the pool next?

The same for every server: workers are started, watched, replaced and stopped by one machine of states. A server's
loop calls `step` and sleeps for `pause_s`; nothing in here waits. What a server does differently is in its `Hands`.
"""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Sequence

from launcher.errors import ExitCode, LauncherError
from launcher.scoreboard import SLOTS, Board, BoardState, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.pool.deaths import Death
from launcher.serving.pool.hands import Hands
from launcher.serving.pool.hangs import Hangs, strike
from launcher.serving.pool.inquests import Inquests
from launcher.serving.pool.killings import Killings, OomCounter
from launcher.serving.pool.members import Intent, Member, Members
from launcher.serving.pool.obituaries import Obituaries
from launcher.serving.pool.pilot import Pilot
from launcher.serving.pool.restarts import Restarts
from launcher.serving.pool.rolling import Rolling
from launcher.serving.pool.space import Space
from launcher.serving.pool.stopping import Stopping, kind_of
from launcher.serving.pool.voice import Voice
from launcher.serving.pool.wanted import Answer, Wanted, no_answer
from launcher.serving.pool.wave import Wave
from launcher.serving.rules import Rules
from launcher.serving.workers.haste import Asked

_BUSY_S, _IDLE_S = 0.05, 1.0  # between two turns of the loop


class Pool:
    """The workers of one server."""

    def __init__(
        self,
        rules: Rules,
        board: Board,
        hands: Hands,
        voice: Voice,
        oom: OomCounter,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin without workers; `step` starts them."""
        self.rules, self.board, self.hands, self.voice = rules, board, hands, voice
        self.size = Wanted(rules.workers)
        self.generation = 1
        self.members = Members()
        self.restarts = Restarts(first=rules.workers, intensity=rules.intensity(rules.workers))
        self.rolling = Rolling()
        self.hangs = Hangs(rules)
        self.stopping: Stopping | None = None
        self.outcome: ExitCode | None = None
        self.clock = clock
        self.now = clock()
        self._started = 0
        self._pause = _BUSY_S
        self.obituaries = Obituaries(voice)
        self.inquests = Inquests(self.obituaries, Killings(oom, lambda: self.members))
        self.pilot: Pilot | None = None
        self.space: Space | None = None
        self.wave = Wave(lambda: math.inf)

    @property
    def wanted(self) -> int:
        """How many workers there are to be."""
        return self.size.number

    # What the loop does.

    def step(self) -> None:
        """Look at every worker, and do what can be done now."""
        self.now = self.clock()
        self.hangs.look(self.now, self._pause)
        for member in self.members:
            self._observe(member)
            self._check_hang(member)
        self.inquests.look(self)
        if self.stopping is not None:
            self.stopping.step(self, self.now)
        elif not self.inquests.open:  # for a tenth of a second: whether to give up depends on it, and how long to pause
            self._keep_up()
        self._publish()

    def look_at_sizes(self) -> None:
        """Let the pilot look how large the workers are, and have as many as fit."""
        if self.pilot is not None:
            self.pilot.step(self)

    def pause_s(self) -> float:
        """Return how long the loop may sleep."""
        self._pause = self._next_pause()
        if self.pilot is not None:
            self._pause = min(self._pause, self.pilot.due_in_s(self))
        return self._pause

    def died(self, pid: int, status: int) -> Member | None:
        """Take note of a worker that was reaped with this wait status; None for other children: no concern of ours."""
        if (member := self.members.find(pid)) is None:
            self.inquests.other(pid, status)
            return None
        self.now = self.clock()
        self._observe(member)
        self.members.remove(pid)
        death = Death.of(member, status, self.now)
        self.inquests.take(self, death)
        if self.stopping is None:
            self.rolling.member_died(self, member, f"the new worker could not start ({death.how})", death.written)
        return member

    # What people and the monitor ask for.

    def reload(self, answer: Answer = no_answer) -> None:
        """Replace every worker by one with the new code and configuration."""
        if self.stopping is None:
            self.rolling.begin_reload(self, answer)
        else:
            answer(ExitCode.BUG, "the pool stops")

    def scale(self, wanted: int, answer: Answer = no_answer) -> None:
        """Have so many workers, at least one, as somebody wants it; `answer` is called when so many are ready."""
        self.size.scale(self, wanted, answer)

    def resize(self, wanted: int, first_to_leave: Sequence[int] = ()) -> None:
        """Have so many workers, at least one, as the pilot has found; `first_to_leave`: pids, before others."""
        self.size.found(self, wanted, first_to_leave)

    def adopt(self, rules: Rules) -> None:
        """Go by other rules from now on; their number of workers is `scale`'s to take."""
        self.rules = self.hangs.rules = rules
        self.size_changed()

    def size_changed(self) -> None:
        """Go by the larger of both: more workers have more deaths, and fewer than were begun with prove nothing new."""
        self.restarts.first = max(self.rules.workers, self.wanted)
        self.restarts.intensity = self.rules.intensity(self.restarts.first)

    def remeasure(self, because: str, answer: Answer) -> None:
        """Have as many workers as fit by what they take now, unless somebody has said how many."""
        if self.pilot is not None:
            self.pilot.remeasure(self, because, answer)
        else:
            answer(ExitCode.USAGE, "the number of workers was said by somebody")

    def recycle(self, pid: int, because: str, answer: Answer = no_answer) -> None:
        """Replace one worker, its replacement ready first."""
        member = self.members.find(pid)
        if member is None or member.intent is not None or self.stopping is not None:
            answer(ExitCode.USAGE, f"{pid} is no worker that could be replaced")
        else:
            self.rolling.enqueue(member, Intent.RECYCLE, because, answer)

    def stop(self, because: str, *, quick: bool = False, delayed: bool = True) -> None:
        """Begin to stop, after the drain delay unless told otherwise; called again after a moment, hurry."""
        self.now = self.clock()
        if self.stopping is not None:
            self.stopping.hasten(self, self.now, because, quick=quick)
            return
        delay = self.rules.drain_delay_s if delayed and not quick and self.members.serving else 0.0
        self.voice.say("launcher.pool_draining", because=because, delay_s=delay)
        asked = Asked(kind_of(because), self.now)
        self._begin_to_stop(Stopping(until=self.now + delay, quick=quick, asked=asked))

    def lacking_for_one(self) -> str:
        """Return why one more worker would not fit beside these; empty: it does."""
        return "" if self.space is None else self.space.lacking_for_one(self)

    def may_start(self) -> bool:
        """Tell whether a worker may be started now. A start that hung is under way until it is reaped."""
        under_way = [member for member in self.members if member.booting or member.intent is Intent.BOOT_HANG]
        return self.restarts.may_start(self.now, len(under_way))

    def can_start(self) -> bool:
        """Tell whether workers can be started yet; what keeps them from it for good is said, and tried again later."""
        try:
            return self.hands.can_start()
        except LauncherError as error:
            self.obituaries.could_not_start(error.message, error.detail, self.restarts.nothing_boots(self.now))
            self.rolling.cannot_start(self, error.message, error.detail)
        except OSError as error:
            self.obituaries.could_not_start(str(error), "", self.restarts.boot_failed(self.now))
        return False

    def start_worker(self) -> Member | None:
        """Start a worker; None: the system, or a hook of the user's, would not (said, and tried again later)."""
        slot = self.board.slot(self.members.free_index(SLOTS))
        evidence: Evidence | None = None
        self._started += 1
        try:
            slot.clear(generation=self.generation, number=self._started)
            evidence = Evidence.create()
            pid = self.hands.start_worker(slot, evidence, self.generation)
        except Exception as error:  # noqa: BLE001 - `pre_fork` is the user's
            if evidence is not None:
                evidence.close()
            slot.free()
            self.obituaries.could_not_start(str(error), "", self.restarts.boot_failed(self.now))
            return None
        slot.pid = pid
        member = Member(pid, slot, evidence, self.generation, self._started, self.now)
        self.members.add(member)
        self.voice.say("launcher.worker_started", pid=pid, slot=slot.index, generation=self.generation)
        return member

    def ask_to_leave(self, member: Member, intent: Intent, *, quick: bool = False) -> None:
        """Ask a worker to finish what it has and end; asked again with `quick`, to end now."""
        if member.doomed is not None or (member.leaving is not None and member.quick >= quick):
            return
        member.intent = intent if member.intent is None else member.intent
        member.leaving, member.quick = self.now, quick
        member.slot.asked = 2 if quick else 1
        self.hands.send(member.pid, signal.SIGTERM)

    def _observe(self, member: Member) -> None:
        slot = member.slot
        if not member.ready and slot.stage >= Stage.READY:
            member.ready = True
            self.restarts.became_ready()
            self.obituaries.became_ready()
            self.board.state = max(self.board.state, BoardState.SERVING)
            took = round(slot.stage_since - member.started, 3)
            self.voice.say("launcher.worker_ready", pid=member.pid, slot=slot.index, boot_s=took)
        longest_s = self.rules.max_worker_lifetime_s
        if member.ready and member.intent is None and (because := member.worn_out(self.now, longest_s)):
            self.rolling.enqueue(member, Intent.RECYCLE, because, no_answer)

    def _check_hang(self, member: Member) -> None:
        if member.doomed is None and (found := self.hangs.hanging(member, self.now)):
            intent, silent = found
            member.silent_s, member.seen = silent, member.slot.read()
            member.intent = intent if member.intent is None else member.intent
            stage = "draining" if member.leaving is not None else member.stage.name.lower()
            self.voice.warn("launcher.worker_hung", pid=member.pid, stage=stage, silent_s=round(silent, 1))
            strike(member, self.now, self.hands.send)
        elif member.doomed is not None:
            strike(member, self.now, self.hands.send)

    def _keep_up(self) -> None:
        ready, booting = len(self.members.serving), len(self.members.booting)
        if (end := self.restarts.giving_up(self.now, ready=ready, booting=booting)) is not None:
            self.obituaries.gave_up(end)
            self._begin_to_stop(Stopping(until=self.now, code=end.code))
            return
        self.rolling.step(self)
        self._fit()

    def _fit(self) -> None:
        """Start what is missing, retire the oldest of what is too many; one process above the number at most."""
        missing = self.wanted + self.rolling.surplus(self.members) - len(self.members.active)
        # A start that hung is a failure when it is reaped: until then its successor would start without the pause.
        dying = sum(member.intent is Intent.BOOT_HANG for member in self.members)
        held, owed = self.wave.look(self, missing)
        while missing > dying + held and self.may_overlap() and (owed > 0 or self.may_start()) and self.can_start():
            if self.start_worker() is None:
                break
            missing, owed = missing - 1, owed - 1
        if missing < 0 and not self.members.booting and len(self.members.active) > self.wanted:
            self.size.let_go(self)

    def may_overlap(self) -> bool:
        """Tell whether one may be started beside those that are there, those that leave among them."""
        there = len(self.members)
        return there < self.wanted or (there == self.wanted and not self.lacking_for_one())

    def _publish(self) -> None:
        self.board.heartbeat, self.board.wanted, self.board.generation = self.now, self.wanted, self.generation
        ready = len(self.members.serving)
        self.size.answer(ready, len(self.members))

    def _next_pause(self) -> float:
        if (
            self.stopping is not None
            or self.inquests.busy
            or self.members.booting
            or any(member.intent for member in self.members)
        ):
            return _BUSY_S
        short = len(self.members.active) < self.wanted
        if (short or self.rolling.busy or self.size.is_waited_for) and self.restarts.resumes_at > self.now:
            return min(_IDLE_S, max(_BUSY_S, self.restarts.resumes_at - self.now))
        return _BUSY_S if short or self.rolling.busy or self.size.is_waited_for else _IDLE_S

    def _begin_to_stop(self, stopping: Stopping) -> None:
        self.stopping = stopping
        self.rolling.drop()
        if self.pilot is not None:
            self.pilot.drop()
        stopping.step(self, self.now)
