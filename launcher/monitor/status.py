"""What does `launcher status` show?

The shape of `status --json`, to which keys may be added and from which none is taken away.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from launcher.monitor.processes import Cost, Processes
from launcher.monitor.view import BEAT_S, View
from launcher.scoreboard import SlotState

_NOTHING = Cost(0, 0, 0.0)
_FROM_PLAN = ("app", "cwd", "version", "started_at", "listen", "runtime_dir", "socket")


class Status:
    """Puts it together.

    others: key -> what else is asked for its facts. memory, limits: the same, for what goes to the memory's; of what
        both tell, `limits` has the last word.
    """

    def __init__(self, plan: Mapping[str, Any], view: View, processes: Processes) -> None:
        """Take what does not change from `plan`."""
        self._given, self._view, self._processes = plan, view, processes
        self.others: dict[str, Callable[[], object]] = {}
        self.memory: Callable[[], Mapping[str, object]] = dict
        self.limits: Callable[[], Mapping[str, object]] = dict

    @property
    def _plan(self) -> Mapping[str, Any]:
        return {**self._given, **self._view.facts}

    def facts(self) -> dict[str, Any]:
        """Return what is now. Times in seconds (`_s`), memory in bytes."""
        view, states = self._view, self._view.workers()
        pid, own_pid = int(self._plan["parent"]), os.getpid()
        others = {name: facts() for name, facts in self.others.items()}
        host_pid = _pid(others.get("plugins"))
        asked = [one for one in (pid, own_pid, host_pid) if one]
        costs = self._processes.costs([*asked, *(state.pid for state in states)])
        boot = view.boot
        return {
            "pid": pid,
            "state": view.state,
            "boot": {"step": boot.step, "waiting_for": boot.waiting_for, "for_s": _since(view, boot.since)},
            "server": self._plan.get("server", ""),
            "workers": [self._worker(state, costs.get(state.pid, _NOTHING)) for state in states],
            "ready": view.ready,
            "wanted": view.wanted,
            "generation": view.board.generation,
            "restarts": view.restarts,
            "reloads": view.reloads,
            "deaths": dict(view.deaths),
            "memory": self._memory(list(costs.values())),
            "arbiter": _cost(costs.get(pid, _NOTHING)),
            "monitor": {"pid": own_pid, **_cost(costs.get(own_pid, _NOTHING))},
            "uptime_s": round(max(0.0, time.time() - float(self._plan.get("started_at", time.time()))), 1),
            **{name: self._plan[name] for name in _FROM_PLAN if name in self._plan},
            **others,
            **({"plugin_host": {"pid": host_pid, **_cost(costs.get(host_pid, _NOTHING))}} if host_pid else {}),
        }

    def _memory(self, costs: Sequence[Cost]) -> dict[str, Any]:
        return {
            **self._plan.get("memory", {}),
            "used_bytes": _used(costs),
            "worker_limit_bytes": self._plan.get("worker_memory_limit_bytes"),
            "recycled": self._view.recycles["memory"],
            **self.memory(),
            **self.limits(),
        }

    def _worker(self, state: SlotState, cost: Cost) -> dict[str, Any]:
        silent_s = self._view.silence_s(state.heartbeat) if state.heartbeat else 0.0
        return {
            "pid": state.pid,
            "slot": state.index,
            "number": state.number,
            "generation": state.generation,
            "stage": state.stage.name.lower(),
            "asked_to_leave": bool(state.asked),
            "age_s": _since(self._view, state.forked_at),
            **_cost(cost),
            # What it told last, or, when it tells nothing any more, for how long it should have.
            "loop_lag_s": round(max(state.lag_s, silent_s - 2 * BEAT_S), 3),
            "silent_s": round(silent_s, 1),
            "restarts": self._view.lost[state.index],
            "requests": state.requests,
            "in_flight": [
                {"method": one.method, "path": one.path, "age_s": round(one.age_s, 3)} for one in state.in_flight
            ],
        }


def _pid(plugins: object) -> int:
    """Return the plugin host's; 0 when none runs."""
    pid = plugins.get("pid") if isinstance(plugins, dict) else None
    return pid if isinstance(pid, int) else 0


def _cost(cost: Cost) -> dict[str, Any]:
    return {
        "private_bytes": cost.private_bytes,
        "shared_bytes": cost.shared_bytes,
        "cpu_s": round(cost.cpu_s, 2),
    }


def _used(costs: Sequence[Cost]) -> int:
    """Return what all use together: what is shared (of files, of a preloaded arbiter) is there once."""
    return sum(cost.private_bytes for cost in costs) + max((cost.shared_bytes for cost in costs), default=0)


def _since(view: View, instant: float) -> float:
    return round(max(0.0, view.clock() - instant), 1) if instant else 0.0
