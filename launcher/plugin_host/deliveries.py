"""Who still has to be told?

Each plugin has a queue, and a thread as long as there is something in it: who hangs or raises delays nobody else.
Events are told once, incidents until the call returns.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.hook_calls import CONTAINED, Implementation
from launcher.plugin_host.culprits import Culprits

HANG_S = 10.0
_MOST_WAITING = 1000  # events of one plugin
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 300.0
_FACTOR = 2.0


@dataclass(slots=True, eq=False)
class Delivery:
    """One record for one plugin. `taken`: called when it has it; None for what is told once only."""

    call: Implementation
    given: Mapping[str, Any]
    taken: Callable[[], object] | None = None
    due: float = 0.0
    pause_s: float = _FIRST_PAUSE_S


@dataclass(slots=True, eq=False)
class _Queue:
    """What one plugin has to be told. `runs`: its thread does. `hangs`: that was said of the present call."""

    waiting: deque[Delivery] = field(default_factory=deque)
    current: Delivery | None = None
    began: float = 0.0
    runs: bool = False
    hangs: bool = False


@dataclass(slots=True)
class Deliveries:
    """Tells plugins.

    told_now: called with the plugins that are being told something, whenever these change.
    suspects: perhaps they take the process down: they are told while nobody else is. lost: events, for want of room.
    """

    culprits: Culprits
    told_now: Callable[[list[str]], object]
    suspects: Collection[str] = ()
    clock: Callable[[], float] = time.monotonic
    lost: int = 0
    _queues: dict[str, _Queue] = field(default_factory=dict)
    _again: list[Delivery] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Tell these; a plugin's oldest events are lost when too many wait."""
        with self._lock:
            for delivery in deliveries:
                self._queue(delivery)
            self._begin()

    def look(self) -> None:
        """Do what is due: tell again, say who hangs. Call it once a second."""
        now = self.clock()
        with self._lock:
            due = [delivery for delivery in self._again if delivery.due <= now]
            self._again = [delivery for delivery in self._again if delivery.due > now]
            for delivery in due:
                self._queue(delivery)
            hung = [queue for queue in self._queues.values() if self._over_s(queue, now) > 0 and not queue.hangs]
            calls = [queue.current.call for queue in hung if queue.current is not None]
            for queue in hung:
                queue.hangs = True
            self._begin()
        for call in calls:
            self.culprits.failed(call.who, call.hook, f"it has not returned within {HANG_S:g} s")

    def hung(self) -> dict[str, float]:
        """Return the plugins that have not returned, and for how long they should have."""
        now = self.clock()
        with self._lock:
            return {who: over_s for who, queue in self._queues.items() if (over_s := self._over_s(queue, now)) > 0}

    @property
    def idle(self) -> bool:
        """Whether `look` has nothing to do."""
        return not (self._again or any(queue.runs or queue.waiting for queue in self._queues.values()))

    def _queue(self, delivery: Delivery) -> None:
        waiting = self._queues.setdefault(delivery.call.who, _Queue()).waiting
        waiting.append(delivery)
        if len(waiting) > _MOST_WAITING and (oldest := next((one for one in waiting if one.taken is None), None)):
            waiting.remove(oldest)
            self.lost += 1

    def _over_s(self, queue: _Queue, now: float) -> float:
        return now - queue.began - HANG_S if queue.current is not None else 0.0

    def _begin(self) -> None:
        """Give a thread to each plugin that has to be told something; to a suspect only while it would be alone."""
        for who, queue in self._queues.items():
            others = (other for other in self._queues.values() if other is not queue)
            alone = not any(other.runs and not other.hangs for other in others)
            if queue.waiting and not queue.runs and (alone or who not in self.suspects):
                queue.runs = True
                threading.Thread(target=self._tell, args=(queue,), name=f"hooks {who}", daemon=True).start()

    def _tell(self, queue: _Queue) -> None:
        while (delivery := self._next(queue)) is not None:
            self._deliver(delivery)

    def _next(self, queue: _Queue) -> Delivery | None:
        """Take the next one, if there is one; the thread ends when there is none."""
        with self._lock:
            queue.current = delivery = queue.waiting.popleft() if queue.waiting else None
            queue.began, queue.hangs, queue.runs = self.clock(), False, delivery is not None
            self.told_now([one.current.call.who for one in self._queues.values() if one.current is not None])
            if delivery is None:
                self._begin()
            return delivery

    def _deliver(self, delivery: Delivery) -> None:
        try:
            delivery.call(**delivery.given)
        except CONTAINED as error:
            because = f"{type(error).__name__}: {error}"
            self.culprits.failed(delivery.call.who, delivery.call.hook, because, traceback.format_exc())
            if delivery.taken is not None:
                self._put_off(delivery)
        else:
            if delivery.taken is not None:
                delivery.taken()

    def _put_off(self, delivery: Delivery) -> None:
        delivery.due = self.clock() + delivery.pause_s
        delivery.pause_s = min(delivery.pause_s * _FACTOR, _LONGEST_PAUSE_S)
        with self._lock:
            self._again.append(delivery)
