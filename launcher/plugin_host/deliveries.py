"""Who still has to be told?

One call at a time, in a thread: who does not return in time is left behind with that thread, and the others are told by
the next one. Events are told once, incidents until the call returns.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from launcher.hook_calls import CONTAINED, Implementation
from launcher.plugin_host.culprits import Culprits

HANG_S = 10.0
_MOST_WAITING = 1000
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
class _Teller:
    """One thread; `left` once it was left behind."""

    current: Delivery | None = None
    began: float = 0.0
    left: bool = False


@dataclass(slots=True)
class Deliveries:
    """Tells plugins."""

    culprits: Culprits
    clock: Callable[[], float] = time.monotonic
    lost: int = 0
    _waiting: deque[Delivery] = field(default_factory=deque)
    _again: list[Delivery] = field(default_factory=list)
    _teller: _Teller | None = None
    _left: list[_Teller] = field(default_factory=list)
    _change: threading.Condition = field(default_factory=threading.Condition)

    def put(self, deliveries: Sequence[Delivery]) -> None:
        """Tell these; the oldest events are lost when too many wait."""
        with self._change:
            for delivery in deliveries:
                if len(self._waiting) >= _MOST_WAITING:
                    self._lose()
                self._waiting.append(delivery)
            self._change.notify()

    def look(self) -> None:
        """Do what is due: tell again, leave behind who hangs. Call it once a second."""
        now = self.clock()
        with self._change:
            due = [delivery for delivery in self._again if delivery.due <= now]
            self._again = [delivery for delivery in self._again if delivery.due > now]
            self._waiting.extend(due)
            self._left = [teller for teller in self._left if teller.current is not None]
            teller = self._teller
            hung = teller.current if teller and now - teller.began > HANG_S else None
            if teller and hung:
                teller.left, self._teller = True, None
                self._left.append(teller)
            if self._teller is None and self._waiting:
                self._begin()
            self._change.notify()
        if hung:
            self.culprits.failed(hung.call.who, hung.call.hook, f"it has not returned within {HANG_S:g} s")

    def hung(self) -> dict[str, float]:
        """Return the plugins that have not returned, and for how long they should have."""
        now = self.clock()
        left = [(teller.current, teller.began) for teller in self._left]
        return {current.call.who: now - began - HANG_S for current, began in left if current is not None}

    @property
    def idle(self) -> bool:
        """Whether `look` has nothing to do."""
        return not (self._waiting or self._again or self._left or (self._teller and self._teller.current))

    def _lose(self) -> None:
        events = (delivery for delivery in self._waiting if delivery.taken is None)
        if (oldest := next(events, None)) is not None:
            self._waiting.remove(oldest)
            self.lost += 1

    def _begin(self) -> None:
        self._teller = teller = _Teller()
        threading.Thread(target=self._tell, args=(teller,), name="hooks", daemon=True).start()

    def _tell(self, teller: _Teller) -> None:
        while True:
            with self._change:
                teller.current = None
                self._change.wait_for(lambda: teller.left or self._pick() is not None)
                if teller.left:
                    return
                delivery = self._pick()
                if delivery is None:  # never: it was there a moment ago, and the lock is ours
                    continue
                self._waiting.remove(delivery)
                teller.current, teller.began = delivery, self.clock()
            self._deliver(delivery)

    def _pick(self) -> Delivery | None:
        """Return the next one, of a plugin that does not hang."""
        hanging = {teller.current.call.who for teller in self._left if teller.current}
        return next((delivery for delivery in self._waiting if delivery.call.who not in hanging), None)

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
        with self._change:
            self._again.append(delivery)
