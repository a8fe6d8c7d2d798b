"""Which numbers does a scraper get?

Their names, kinds and values, as docs/reference/metrics.md lists them; `rendering` makes text of them. Names and units
as Prometheus and OpenMetrics want them. No label has more values than the host has workers: a slot is used again, a
pid is not.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Literal, NamedTuple, get_args

from launcher.incidents.kinds import Kind as Incidents
from launcher.limits.stalls import MACHINE
from launcher.monitor.view import View
from launcher.scoreboard import Stage
from launcher.tally import BOUNDS_S, CLASSES, Durations, Tallied

Kind = Literal["counter", "gauge", "histogram", "info", "stateset"]

STAGES = tuple(stage.name.lower() for stage in Stage if stage is not Stage.EMPTY)
STATES = ("booting", "serving", "draining")
# Those of the pool's verdicts that are deaths: each is there from the start, so that its first increase is seen.
VERDICTS = ("oom", "killed", "native-crash", "hang", "boot-failed", "boot-hang", "exited", "unknown")
RECYCLED = ("asked", "max-requests", "max-worker-lifetime", "memory")  # why workers are replaced, likewise
INCIDENTS: tuple[str, ...] = get_args(Incidents)
_ENDS = (*map(str, BOUNDS_S), "+Inf")
_UNITS = ("seconds", "bytes", "ratio")
# Keys of the document's memory, and what becomes of them.
_WATCHED = {
    "needed_bytes": ("memory_needed_bytes", "What the group that has least left cannot give back: no page cache."),
    "free_bytes": ("memory_free_bytes", "What is left of its limit; below 0 where that was lowered."),
    "worker_limit_bytes": ("memory_worker_limit_bytes", "What a worker may have for itself before it is replaced."),
    "pool_bytes": ("memory_pool_bytes", "What the pool's own processes have of what --memory allows."),
    "over_budget": ("memory_over_budget", "Whether that is more than it allows."),
    "pressed": ("memory_pressed", "Whether the limit is nearly reached."),
    "share_ratio": (
        "memory_share_ratio",
        "Proportional by resident size of all workers together: 1 shares nothing.",
    ),
    "given_up": ("workers_given_up", "Workers that the pool does without for want of memory."),
}


class Sample(NamedTuple):
    """One number of a metric: what is added to its name, labels, value."""

    suffix: str
    labels: dict[str, str]
    value: float


@dataclass(frozen=True, slots=True)
class Metric:
    """Numbers of one name. `name` without the ending that its kind brings (`_total`, `_info`, `_bucket`)."""

    name: str
    kind: Kind
    help: str
    samples: Sequence[Sample]

    @property
    def unit(self) -> str:
        """Return the unit that the name ends with; empty when it is a number of things."""
        return next((unit for unit in _UNITS if self.name.endswith(f"_{unit}")), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known at one instant.

    status: what /status shows. tallied: what was answered. by_status: it is to be told by the class of the status.
    started, reloads, deaths, incidents, recycles, steps, lock_waited_s: as `View` has them.
    monitors: how many were started.
    """

    status: Mapping[str, Any]
    tallied: Tallied
    by_status: bool
    started: int
    reloads: int
    deaths: Mapping[str, int]
    steps: Mapping[str, float]
    lock_waited_s: float | None
    in_flight: Mapping[str, int]
    silent: int
    monitors: int
    incidents: Mapping[str, int] = field(default_factory=dict)
    recycles: Mapping[str, int] = field(default_factory=dict)


def measured(status: Mapping[str, Any], view: View, monitors: int, *, by_status: bool) -> Measured:
    """Return what is known now."""
    states = view.workers()
    tallied = view.board.tallied()
    websockets = sum(one.method == "WS" for state in states for one in state.in_flight)
    noted = sum(len(state.in_flight) for state in states)
    return Measured(
        status=status,
        tallied=tallied,
        by_status=by_status or any(any(durations.counts) for durations in tallied.by_class[1:]),
        started=view.board.started,
        reloads=view.reloads,
        deaths=dict(view.deaths),
        incidents=dict(view.incidents),
        recycles=dict(view.recycles),
        steps=dict(view.steps),
        lock_waited_s=view.lock_waited_s,
        in_flight={
            "requests": noted - websockets + sum(state.more_requests for state in states),
            "websockets": websockets + sum(state.more_websockets for state in states),
        },
        silent=view.silent,
        monitors=monitors,
    )


def metrics(now: Measured) -> list[Metric]:
    """Return all of them; one of which nothing is known yet has no sample and is left out."""
    everything = (*_launcher(now), *_pool(now), *_memory(now), *_loops(now), *_requests(now), *_start(now))
    return [metric for metric in everything if metric.samples]


def _launcher(now: Measured) -> Iterator[Metric]:
    status = now.status
    build = {
        "version": str(status.get("version", "")),
        "python": platform.python_version(),
        "server": str(status.get("server", "")),
    }
    yield Metric("launcher_build", "info", "What runs here.", [Sample("_info", build, 1)])
    if "started_at" in status:
        yield _gauge("launcher_start_time_seconds", "When the launcher was started, Unix time.", status["started_at"])
    states = [Sample("", {"launcher_state": state}, state == status["state"]) for state in STATES]
    yield Metric("launcher_state", "stateset", "How far the pool is.", states)
    text = "Monitors that were started again after their end."
    yield _counter("launcher_monitor_restarts", text, now.monitors - 1)
    if cpus := status.get("cpus"):
        yield _gauge("launcher_cpus_usable", "CPUs that may be used; a quota may be a part of one.", cpus["usable"])


def _pool(now: Measured) -> Iterator[Metric]:
    status = now.status
    stages = [worker["stage"] for worker in status["workers"]]
    by_stage = {stage: stages.count(stage) for stage in STAGES}
    yield _by("launcher_workers", "stage", "Worker processes by how far they are.", by_stage)
    yield _gauge("launcher_workers_wanted", "Workers that there are to be.", status["wanted"])
    yield _gauge("launcher_workers_ready", "Workers that are ready, stay, and whose event loops turn.", status["ready"])
    yield _gauge("launcher_workers_silent", "Workers that would be ready if their event loops turned.", now.silent)
    yield _counter("launcher_workers_started", "Worker processes that were started.", now.started)
    deaths = dict.fromkeys(VERDICTS, 0) | dict(now.deaths)
    samples = [Sample("_total", {"verdict": verdict}, count) for verdict, count in deaths.items()]
    yield Metric("launcher_worker_deaths", "counter", "Workers that nobody wanted to end, by what ended them.", samples)
    counts = dict.fromkeys(INCIDENTS, 0) | dict(now.incidents)
    samples = [Sample("_total", {"kind": kind}, count) for kind, count in counts.items()]
    yield Metric("launcher_incidents", "counter", "What was reported, by its kind.", samples)
    yield _counter("launcher_worker_restarts", "Workers that nobody wanted to end.", status["restarts"])
    counts = dict.fromkeys(RECYCLED, 0) | dict(now.recycles)
    samples = [Sample("_total", {"because": why}, count) for why, count in counts.items()]
    yield Metric("launcher_worker_recycles", "counter", "Workers that were replaced one by one, by why.", samples)
    yield _counter("launcher_reloads", "Reloads that replaced every worker.", now.reloads)
    yield _gauge("launcher_generation", "Of the code; it grows with each reload.", status["generation"])


def _memory(now: Measured) -> Iterator[Metric]:
    status, memory = now.status, now.status["memory"]
    workers = status["workers"]
    alone = any(worker["pid"] == status.get("pid") for worker in workers)  # one uvicorn: it is the worker
    processes = {"arbiter": [] if alone else [status["arbiter"]], "monitor": [status["monitor"]], "workers": workers}
    private = {name: sum(one["private_bytes"] for one in ones) for name, ones in processes.items()}
    shared = {name: max((one["shared_bytes"] for one in ones), default=0) for name, ones in processes.items()}
    text = "Memory that their end would free."
    yield _by("launcher_memory_private_bytes", "process", text, private)
    text = "Memory of files, or of a preloaded arbiter; of workers, the largest: they have it in common."
    yield _by("launcher_memory_shared_bytes", "process", text, shared)
    yield _gauge("launcher_memory_used_bytes", "What all of them use together.", memory["used_bytes"])
    limit, budget = memory.get("limit_bytes"), memory.get("budget_bytes")
    if limit is not None:
        yield _gauge("launcher_memory_limit_bytes", "What the container or host allows.", limit)
    if budget is not None:
        yield _gauge("launcher_memory_budget_bytes", "What the pool was sized for.", budget)
    if limit is not None and budget is not None:
        yield _gauge("launcher_memory_headroom_bytes", "The part of the limit that is no budget.", limit - budget)
    yield from _watched(memory)


def _watched(memory: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield what the watch of the memory knows; what it does not know (yet) is absent."""
    for key, (name, text) in _WATCHED.items():
        if (value := memory.get(key)) is not None:
            yield _gauge(f"launcher_{name}", text, value)
    if stalls := memory.get("stalls"):
        of = "machine" if stalls["source"] == MACHINE else "group"
        shares = [(who, stalls[f"{who}_avg10"] / 100) for who in ("some", "full")]
        samples = [Sample("", {"who": who, "of": of}, round(share, 6)) for who, share in shares]
        text = "The part of the last ten seconds in which some, or all, waited for memory."
        yield Metric("launcher_memory_stall_ratio", "gauge", text, samples)


def _loops(now: Measured) -> Iterator[Metric]:
    lags = {str(worker["slot"]): worker["loop_lag_s"] for worker in now.status["workers"] if worker["stage"] == "ready"}
    yield _by("launcher_event_loop_lag_seconds", "slot", "How late the event loop was, at worst, last second.", lags)
    text = "The worst of them."
    yield _gauge("launcher_event_loop_lag_max_seconds", text, max(lags.values(), default=0.0))


def _requests(now: Measured) -> Iterator[Metric]:
    tallied = now.tallied
    yield _counter("launcher_requests", "Requests and WebSockets that have ended.", tallied.requests)
    yield _gauge("launcher_requests_in_flight", "Requests under way.", now.in_flight["requests"])
    yield _gauge("launcher_websockets_open", "WebSockets under way.", now.in_flight["websockets"])
    rows: Iterable[tuple[dict[str, str], Durations]] = [({}, tallied.durations)]
    if now.by_status:
        named = zip(CLASSES, tallied.by_class, strict=True)
        rows = [({"status": name}, row) for name, row in named if name == "2xx" or any(row.counts)]
    samples = [sample for labels, row in rows for sample in _histogram(labels, row)]
    text = "How long requests took, from the application's call to its return."
    yield Metric("launcher_request_duration_seconds", "histogram", text, samples)


def _start(now: Measured) -> Iterator[Metric]:
    yield _by("launcher_step_duration_seconds", "step", "How long a pre-start step took.", now.steps)
    if now.lock_waited_s is not None:
        yield _gauge("launcher_lock_wait_seconds", "How long the lock was waited for.", now.lock_waited_s)


def _gauge(name: str, text: str, value: float) -> Metric:
    return Metric(name, "gauge", text, [Sample("", {}, value)])


def _counter(name: str, text: str, value: float) -> Metric:
    return Metric(name, "counter", text, [Sample("_total", {}, value)])


def _by(name: str, label: str, text: str, values: Mapping[str, float]) -> Metric:
    return Metric(name, "gauge", text, [Sample("", {label: key}, value) for key, value in values.items()])


def _histogram(labels: dict[str, str], durations: Durations) -> Iterator[Sample]:
    cumulative = list(accumulate(durations.counts))
    for end, count in zip(_ENDS, cumulative, strict=True):
        yield Sample("_bucket", {**labels, "le": end}, count)
    yield Sample("_count", labels, cumulative[-1])
    yield Sample("_sum", labels, durations.sum_s)
