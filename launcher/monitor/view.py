"""What is known right now?

From the scoreboard what is, from the event channel what happened. A monitor that was started again knows the first at
once, and of the second what `notes` has left on the scoreboard.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from launcher.scoreboard import SLOTS, Board, BoardState, Slot, SlotState, Stage

State = Literal["booting", "serving", "draining"]

LOOP_S = 15.0  # the arbiter's loop turns once a second; longer than a fork of a large preloaded arbiter takes
# A worker tells once a second that its event loop turns. Longer than a slow synchronous call, and far from the hang
# deadline (30 s), after which the arbiter ends it.
SILENT_S = 5.0
BEAT_S = 1.0  # how often both are told
_LATE_S = 3.0  # our own loop, which turns once a second, was not scheduled: then nobody's heartbeat means anything


@dataclass(frozen=True, slots=True)
class Boot:
    """What the launcher does before there is a server: the step, whom or what it waits for, since when (monotonic)."""

    step: str = ""
    waiting_for: str = ""
    since: float = 0.0


class View:
    """What the monitor knows.

    boot: what is done before the server.
    deaths: how many workers have died of which verdict. incidents: how many were reported, by kind.
    limits: what `monitor.limits` has seen of them.
    lost: slot -> how many of its workers have died, of whatever.
    recycles: how many workers were replaced, by why.
    started, reloads: how many workers were started, how often all were replaced.
    facts: what was decided after the monitor had been started: app, server, listen, memory.
    steps: step -> seconds it took. lock_waited_s: for the lock; None while none was taken.
    """

    def __init__(self, board: Board, clock: Callable[[], float] = time.monotonic) -> None:
        """Look at `board`; `clock` is the one that its instants are of."""
        self.board, self.clock = board, clock
        self.deaths: Counter[str] = Counter()
        self.incidents: Counter[str] = Counter()
        self.lost: Counter[int] = Counter()
        self.recycles: Counter[str] = Counter()
        self.started = self.reloads = 0
        self.steps: dict[str, float] = {}
        self.lock_waited_s: float | None = None
        self.limits: dict[str, Any] = {}
        self.facts: dict[str, Any] = {}
        self._boot = Boot()
        self._slots_by_pid = {state.pid: state.index for state in board.states()}
        self._awake = self._looked = clock()
        self._was_asleep = False

    def look(self) -> None:
        """Note that our own loop turns; call it at least once a second."""
        now = self.clock()
        if now - self._looked > _LATE_S:  # a frozen group, a suspended host
            self._awake, self._was_asleep = now, True
        self._looked = now

    def hear(self, event: Mapping[str, Any]) -> None:
        """Take note of an event. Raises ValueError or TypeError when its facts are not what they should be."""
        match event:
            case {"event": "plan"}:
                self.facts |= {name: value for name, value in event.items() if name != "event"}
            case {"event": "boot"}:
                step, waiting_for = str(event.get("step", "")), str(event.get("waiting_for", ""))
                self._boot = Boot(step, waiting_for, float(event.get("since", self.clock())))
            case {"event": str(name)} if name.startswith("launcher.worker_"):
                self._hear_of_worker(name, event)
            case {"event": "launcher.pool_reloaded"}:
                self.reloads += 1
            case {"event": "launcher.step_done", "step": step, "seconds": seconds}:
                self.steps[str(step)] = float(seconds)
            case {"event": "launcher.lock_acquired", "waited_s": waited_s}:
                self.lock_waited_s = float(waited_s)
            case _:  # nothing that is counted, or an answer
                pass

    def _hear_of_worker(self, name: str, event: Mapping[str, Any]) -> None:
        match name, event:
            case "launcher.worker_started", {"pid": int(pid)}:
                self.started += 1
                self._slots_by_pid[pid] = int(event.get("slot", 0))
            case "launcher.worker_died" | "launcher.worker_boot_failed", {"verdict": verdict}:
                self.deaths[str(verdict)] += 1
                if (slot := self._slots_by_pid.pop(event.get("pid", 0), None)) is not None:
                    self.lost[slot] += 1
            case "launcher.worker_recycled", {"because": str(because)}:
                self.recycles[because] += 1
            case "launcher.worker_stopped" | "launcher.worker_killed", {"pid": int(pid)}:
                self._slots_by_pid.pop(pid, None)
            case _:  # nothing that is counted
                pass

    @property
    def boot(self) -> Boot:
        """What the launcher does before there is a server; empty once there is one."""
        return Boot() if self.has_server else self._boot

    @property
    def has_server(self) -> bool:
        """Whether the server has begun, so that it can be asked for something."""
        return bool(self.board.arbiter_pid)

    @property
    def state(self) -> State:
        """How far the pool is. Serving from the first worker that was ready."""
        state = self.board.state
        if state is BoardState.BOOTING:
            return "booting"
        return "serving" if state is BoardState.SERVING else "draining"

    @property
    def wanted(self) -> int:
        """How many workers there are to be; 0 before the server has said so."""
        return self.board.wanted

    @property
    def given_up(self) -> int:
        """How many workers the pool does without for want of memory."""
        return self.board.given_up

    @property
    def restarts(self) -> int:
        """How many workers have died that nobody wanted to end."""
        return self.board.restarts

    @property
    def ready(self) -> int:
        """How many workers are ready, are not asked to leave, and have an event loop that turns."""
        return sum(self._is_ready(slot) for slot in self._slots())

    @property
    def silent(self) -> int:
        """How many workers would be ready if their event loops turned."""
        return sum(self._stays(slot) and not self._is_ready(slot) for slot in self._slots())

    def workers(self) -> list[SlotState]:
        """Return what the workers do."""
        return self.board.states()

    def silence_s(self, heartbeat: float) -> float:
        """Return for how many seconds nothing was heard from whoever gave this sign of life."""
        since = max(heartbeat, self._awake) if self._was_asleep else heartbeat
        return max(0.0, self.clock() - since)

    def alive(self) -> tuple[bool, str]:
        """Tell whether the loop of the server turns, and what is known of it. Without a server: the launcher lives."""
        if not (heartbeat := self.board.heartbeat):
            return True, "booting"
        silent_s = self.silence_s(heartbeat)
        return silent_s <= LOOP_S, f"the loop turned {silent_s:.1f} s ago"

    def _slots(self) -> Iterator[Slot]:
        return map(self.board.slot, range(min(self.board.used, SLOTS)))

    def _is_ready(self, slot: Slot) -> bool:
        return self._stays(slot) and self.silence_s(max(slot.heartbeat, slot.stage_since)) <= SILENT_S

    def _stays(self, slot: Slot) -> bool:
        return slot.stage is Stage.READY and not slot.asked and not slot.unhealthy
