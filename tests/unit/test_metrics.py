"""Do the numbers have the names, kinds and values that their page promises?"""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from launcher.monitor.metrics import VERDICTS, Measured, Metric, measured, metrics
from launcher.monitor.notes import Notes
from launcher.monitor.view import View
from launcher.scoreboard import Board, Stage
from launcher.serving.pool.deaths import Verdict
from launcher.tally import BUCKETS, Durations, Tallied

if TYPE_CHECKING:
    from collections.abc import Iterator

PAGE = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text(encoding="utf-8")
COST = {"private_bytes": 10, "shared_bytes": 3, "cpu_s": 1.0}
WORKER = {**COST, "pid": 4711, "slot": 0, "stage": "ready", "loop_lag_s": 0.25}
STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "server": "uvicorn",
    "started_at": 1e9,
    "state": "serving",
    "workers": [WORKER, WORKER | {"slot": 1, "shared_bytes": 4, "loop_lag_s": 0.5}, WORKER | {"stage": "importing"}],
    "wanted": 3,
    "ready": 2,
    "generation": 1,
    "restarts": 5,
    "memory": {
        "limit_bytes": 100,
        "budget_bytes": 80,
        "used_bytes": 50,
        "source": "a test",
        "worker_limit_bytes": 40,
        "needed_bytes": 45,
        "free_bytes": 15,
        "pressed": True,
        "pool_bytes": 90,
        "over_budget": True,
        "share_ratio": 0.75,
        "given_up": 2,
        "stalls": {"some_avg10": 12.5, "full_avg10": 1.25, "source": "/sys/fs/cgroup/web/memory.pressure"},
    },
    "cpus": {"usable": 1.5, "source": "a test"},
    "arbiter": COST,
    "monitor": COST,
}
QUICK, SLOW = (Durations(tuple(int(index == at) * 2 for index in range(BUCKETS)), 0.5) for at in (0, BUCKETS - 1))
NOW = Measured(
    status=STATUS,
    tallied=Tallied((Durations(), Durations(), QUICK, Durations(), Durations(), SLOW), 3),
    by_status=True,
    started=8,
    reloads=1,
    deaths={"oom": 2, "of-tomorrow": 1},
    steps={"migrate": 1.5},
    lock_waited_s=2.5,
    in_flight={"requests": 30, "websockets": 2},
    silent=0,
    monitors=1,
)


@pytest.fixture
def board() -> Iterator[Board]:
    """Return a new board; its descriptor is closed in the end."""
    made = Board.create()
    yield made
    os.close(made.fd)


def by_name(now: Measured = NOW) -> dict[str, Metric]:
    """Return the metrics by name."""
    return {metric.name: metric for metric in metrics(now)}


def values(metric: Metric) -> dict[tuple[str, ...], float]:
    """Return the values by suffix and the values of the labels."""
    return {(sample.suffix, *sample.labels.values()): sample.value for sample in metric.samples}


def test_every_metric_is_documented() -> None:
    """The page's table has each metric with its kind and its labels, and no other."""
    rows = re.findall(r"^\| `(launcher_\w+)` \| ([\w ]+) \| (.*?) \|", PAGE, re.MULTILINE)
    documented = {
        name: (kind.replace(" ", ""), set(re.findall(r"`(\w+)`(?=,|:|$| \|)", labels))) for name, kind, labels in rows
    }
    ending = {"counter": "_total", "info": "_info"}
    ours = {metric.name + ending.get(metric.kind, ""): metric for metric in metrics(NOW)}

    assert documented.keys() == ours.keys()
    assert {name: metric.kind for name, metric in ours.items()} == {
        name: kind for name, (kind, _) in documented.items()
    }
    for name, metric in ours.items():
        labels = {label for sample in metric.samples for label in sample.labels} - {"le"}
        assert labels <= documented[name][1], name


def test_names_are_as_prometheus_wants_them() -> None:
    """Words of small letters, no unit but base units, no ending that is of a kind; help is one sentence."""
    for metric in metrics(NOW):
        assert re.fullmatch(r"launcher(_[a-z]+)+", metric.name)
        assert not re.search(r"_(total|info|count|sum|bucket|created|ms|mb|kb|percent)$", metric.name)
        assert metric.help.endswith(".")
        assert "\n" not in metric.help


def test_no_label_is_a_pid() -> None:
    """A pid would make new series with each worker."""
    assert [] == [
        metric.name for metric in metrics(NOW) for sample in metric.samples if "4711" in sample.labels.values()
    ]


def test_verdicts_are_the_pools() -> None:
    """Each verdict that is a death is there from the start; one that is not known yet is told as it is."""
    deaths = by_name()["launcher_worker_deaths"]

    assert set(VERDICTS) == {str(verdict) for verdict in Verdict if verdict is not Verdict.STOPPED}
    assert {("_total", verdict): 0 for verdict in VERDICTS} | {
        ("_total", "oom"): 2,
        ("_total", "of-tomorrow"): 1,
    } == values(deaths)


def test_workers_are_counted_by_stage() -> None:
    """Each stage has its number, also 0; lag is of ready workers only."""
    found = by_name()

    assert {
        ("", "ready"): 2,
        ("", "importing"): 1,
        ("", "forked"): 0,
        ("", "lifespan"): 0,
        ("", "draining"): 0,
    } == values(found["launcher_workers"])
    assert {("", "0"): 0.25, ("", "1"): 0.5} == values(found["launcher_event_loop_lag_seconds"])
    assert {("",): 0.5} == values(found["launcher_event_loop_lag_max_seconds"])


def test_memory() -> None:
    """What is private is summed, what is shared is there once; what is not known is not told."""
    found = by_name()
    unlimited = by_name(replace(NOW, status=STATUS | {"memory": {"used_bytes": 1, "limit_bytes": None}}))
    alone = by_name(replace(NOW, status=STATUS | {"pid": WORKER["pid"]}))  # one uvicorn: server and worker

    assert {("", "arbiter"): 10, ("", "monitor"): 10, ("", "workers"): 30} == values(
        found["launcher_memory_private_bytes"]
    )
    assert {("", "arbiter"): 3, ("", "monitor"): 3, ("", "workers"): 4} == values(found["launcher_memory_shared_bytes"])
    assert {("",): 20} == values(found["launcher_memory_headroom_bytes"])
    assert {("", "arbiter"): 0, ("", "monitor"): 10, ("", "workers"): 30} == values(
        alone["launcher_memory_private_bytes"]
    )
    assert set() == {f"launcher_memory_{name}_bytes" for name in ("limit", "budget", "headroom")} & unlimited.keys()


def test_the_watch_of_the_memory() -> None:
    """What is left, pressed, shared, given up and waited for is told; zeros are told, what nobody knows is absent."""
    found = by_name()
    stalls = {"some_avg10": 0.0, "full_avg10": 0.0, "source": "/proc/pressure/memory"}
    calm = {"used_bytes": 1, "free_bytes": 0, "pressed": False, "given_up": 0, "share_ratio": None, "stalls": stalls}
    quiet = by_name(replace(NOW, status=STATUS | {"memory": calm, "cpus": {}}))
    unknown = by_name(replace(NOW, status=STATUS | {"memory": {"used_bytes": 1, "stalls": None}}))
    watched = {f"launcher_memory_{name}" for name in ("free_bytes", "pressed", "share_ratio", "stall_ratio")}
    watched.add("launcher_workers_given_up")

    assert [15, 1, 90, 1, 0.75] == [
        values(found[f"launcher_memory_{name}"])[("",)]
        for name in ("free_bytes", "pressed", "pool_bytes", "over_budget", "share_ratio")
    ]
    assert [2, 1.5] == [values(found[f"launcher_{name}"])[("",)] for name in ("workers_given_up", "cpus_usable")]
    assert {("", "some", "group"): 0.125, ("", "full", "group"): 0.0125} == values(found["launcher_memory_stall_ratio"])
    assert {("", "some", "machine"): 0, ("", "full", "machine"): 0} == values(quiet["launcher_memory_stall_ratio"])
    assert [0, 0, 0] == [
        values(quiet[f"launcher_{name}"])[("",)] for name in ("memory_free_bytes", "memory_pressed", "workers_given_up")
    ]
    unsaid = {f"launcher_memory_{name}" for name in ("share_ratio", "pool_bytes", "over_budget")}
    assert set() == {*unsaid, "launcher_cpus_usable"} & quiet.keys()
    assert set() == watched & unknown.keys()


def test_the_histogram() -> None:
    """Buckets add up; with the class of the status when that is switched on, without it all together."""
    by_class = values(by_name()["launcher_request_duration_seconds"])
    together = values(by_name(replace(NOW, by_status=False))["launcher_request_duration_seconds"])

    assert (2, 2, 2, 0.5) == tuple(
        by_class[key]
        for key in (("_bucket", "2xx", "0.001"), ("_bucket", "2xx", "+Inf"), ("_count", "2xx"), ("_sum", "2xx"))
    )
    assert (0, 2) == (by_class["_bucket", "5xx", "60.0"], by_class["_bucket", "5xx", "+Inf"])
    assert {"2xx", "5xx"} == {key[1] for key in by_class}
    assert (2, 4, 4, 1.0) == tuple(
        together[key] for key in (("_bucket", "60.0"), ("_bucket", "+Inf"), ("_count",), ("_sum",))
    )
    assert {("_total",): 7} == values(by_name()["launcher_requests"])


def test_before_there_is_a_pool(board: Board) -> None:
    """While the launcher boots there is an answer, in which nothing is that is not known yet."""
    status = STATUS | {"workers": [], "state": "booting", "memory": {"used_bytes": 0}}
    del status["started_at"]
    found = by_name(measured(status, View(board), 1, by_status=False))

    assert 0 == sum(values(found["launcher_workers"]).values())
    assert {("", "booting"): 1, ("", "serving"): 0, ("", "draining"): 0} == values(found["launcher_state"])
    assert set() == {
        "launcher_start_time_seconds",
        "launcher_step_duration_seconds",
        "launcher_lock_wait_seconds",
    } & set(found)


def test_requests_in_flight_are_all(board: Board) -> None:
    """Those for which the table has no room are counted, and WebSockets are not among them."""
    slot = board.slot(0)
    slot.clear(generation=1, number=1)
    slot.stage = Stage.READY
    slot.more_requests, slot.more_websockets = 12, 3
    now = measured(STATUS, View(board), 1, by_status=False)

    assert {"requests": 12, "websockets": 3} == now.in_flight
    assert 1 == now.started


def test_what_was_heard_outlives_the_monitor(board: Board) -> None:
    """The next monitor knows deaths, reloads, steps and the lock; one that was killed while writing lost one event."""
    first = View(board)
    notes = Notes(first)
    for event in (
        {"event": "launcher.worker_died", "verdict": "oom"},
        {"event": "launcher.pool_reloaded"},
        {"event": "launcher.step_done", "step": "größe", "seconds": 1.5},
        {"event": "launcher.lock_acquired", "waited_s": 0.5},
        {"event": "launcher.worker_died", "verdict": "hang"},
    ):
        first.hear(event)
        notes.keep(event)
    second = View(board)
    again = Notes(second)
    half = len(board.notes) // 2
    latest = max((0, half), key=lambda at: int.from_bytes(board.notes[at : at + 8], "little"))
    board.notes[latest + 20] ^= 0xFF
    third = View(board)
    once_more = Notes(third)

    assert (1, 2, 2) == (notes.monitors, again.monitors, once_more.monitors)
    assert (first.deaths, 1, {"größe": 1.5}, 0.5) == (
        second.deaths,
        second.reloads,
        second.steps,
        second.lock_waited_s,
    )
    assert (first.deaths, 1) == (third.deaths, third.reloads)


def test_losses_by_slot_have_an_end(board: Board) -> None:
    """They outlive the monitor; with more slots than there is room for, the other counts do."""
    view = View(board)
    notes = Notes(view)
    view.deaths["oom"], view.lost[3] = 3, 2
    notes.keep()
    few = View(board)
    Notes(few)
    view.lost.update(dict.fromkeys(range(256), 1000))
    notes.keep()
    many = View(board)
    Notes(many)

    assert ({"oom": 3}, {3: 2}) == (few.deaths, few.lost)
    assert ({"oom": 3}, {}) == (many.deaths, many.lost)


def test_notes_have_an_end(board: Board) -> None:
    """With more steps than there is room for the last are kept, and all that is counted."""
    view = View(board)
    notes = Notes(view)
    view.deaths["oom"] = 3
    view.steps = {f"step {number} {'x' * 50}": 1.0 for number in range(100)}
    notes.keep()
    after = View(board)
    Notes(after)

    assert {"oom": 3} == after.deaths
    assert 5 < len(after.steps) < 100
    assert list(view.steps)[-1] == list(after.steps)[-1]
