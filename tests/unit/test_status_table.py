"""Does the table show what the document says, and nothing that would steer a terminal?"""

from __future__ import annotations

from typing import Any

import pytest

from launcher.cli.status_table import COLUMNS, bar, short_of_memory, summary, without_empty, worker_rows

MIB = 1 << 20
WORKER = {
    "pid": 11,
    "slot": 0,
    "generation": 2,
    "stage": "ready",
    "age_s": 185.4,
    "private_bytes": 50 * MIB,
    "shared_bytes": 20 * MIB,
    "cpu_s": 10.0,
    "loop_lag_s": 0.0024,
    "requests": 123,
    "in_flight": [],
}
DOCUMENT: dict[str, Any] = {
    "pid": 7,
    "app": "main:app",
    "state": "serving",
    "boot": {"step": "", "waiting_for": ""},
    "server": "gunicorn",
    "workers": [WORKER],
    "ready": 1,
    "wanted": 2,
    "restarts": 3,
    "uptime_s": 100.0,
    "memory": {"used_bytes": 100 * MIB, "budget_bytes": 400 * MIB, "limit_bytes": 500 * MIB, "source": "memory.max"},
}


def cells(now: dict[str, Any], before: dict[str, Any] | None = None, passed_s: float = 0.0) -> dict[str, str]:
    """Return the first worker's row by column."""
    return dict(zip(COLUMNS, worker_rows(now, before, passed_s)[0], strict=True))


def worker(**changes: object) -> dict[str, Any]:
    """Return the document with one worker, changed."""
    return {**DOCUMENT, "workers": [{**WORKER, **changes}]}


def test_a_worker() -> None:
    """Every figure of a worker has its column, in units a person reads."""
    assert {
        "slot": "0",
        "pid": "11",
        "stage": "ready",
        "age": "3m 05s",
        "gen": "2",
        "private": "50 MiB",
        "shared": "20 MiB",
        "cpu": "10.0 s",
        "lag": "2 ms",
        "requests": "123",
        "in flight": "0",
        "restarts": "",
    } == cells(DOCUMENT)


@pytest.mark.parametrize(
    ("age_s", "expected"), [(0.9, "0s"), (59.9, "59s"), (60, "1m 00s"), (7260, "2h 01m"), (266400, "3d 2h")]
)
def test_ages(age_s: float, expected: str) -> None:
    """An age has its two largest units."""
    assert expected == cells(worker(age_s=age_s))["age"]


def test_cpu_between_two_looks() -> None:
    """With an earlier document the CPU is a share of one since then; of a new worker it is what it has used."""
    now = worker(cpu_s=10.5)

    assert "25%" == cells(now, DOCUMENT, 2.0)["cpu"]
    assert "10.5 s" == cells(now, worker(pid=12), 2.0)["cpu"]
    assert "10.5 s" == cells(now, now, 0.0)["cpu"]


def test_requests_in_flight() -> None:
    """The oldest is shown when it is old; what a client has sent cannot steer the terminal."""
    young = {"method": "GET", "path": "/a", "age_s": 0.1}
    old = {"method": "POST", "path": "/\x1b[2J\u202eb", "age_s": 12.3}

    assert "1" == cells(worker(in_flight=[young]))["in flight"]
    assert "2: 12s POST /?[2J?b" == cells(worker(in_flight=[young, old]))["in flight"]


def test_one_who_leaves() -> None:
    """A worker that was asked to leave is seen to."""
    assert "ready, leaving" == cells(worker(asked_to_leave=True))["stage"]


def test_server_and_monitor() -> None:
    """The processes beside the workers have rows of their own when the document has them."""
    costs = {"private_bytes": MIB, "shared_bytes": 0, "cpu_s": 1.0}
    others = {"arbiter": costs, "monitor": {"pid": 9, **costs}, "plugin_host": {"pid": 8, **costs}}
    rows = worker_rows({**DOCUMENT, **others})
    alone = worker_rows({**worker(pid=7), **others})

    assert [("server", "7"), ("monitor", "9"), ("plugins", "8")] == [row[:2] for row in rows[1:]]
    assert [("monitor", "9"), ("plugins", "8")] == [row[:2] for row in alone[1:]]
    assert {len(COLUMNS)} == {len(row) for row in rows}


def test_the_summary() -> None:
    """One line says what it is and how it is; while it boots another one says what it waits for."""
    boot = {"step": "migrate", "waiting_for": "web-2 pid 1", "for_s": 75}

    assert ["main:app (pid 7) · gunicorn · serving · 1 of 2 ready · 3 restarts · up 1m 40s"] == summary(DOCUMENT)
    assert summary({**DOCUMENT, "boot": boot})[1:] == ["step migrate, waiting for web-2 pid 1, for 1m 15s"]


def test_what_plugins_find() -> None:
    """A check that fails and a plugin that is not used have a line each: they may be why nothing is ready."""
    checks = [{"name": "db", "ok": False, "detail": "no\x1banswer"}, {"name": "disk", "ok": True, "detail": ""}]
    told = summary({**DOCUMENT, "plugins": {"checks": checks, "broken": {"module ops": "on purpose"}}})

    assert ["check db failed: no?answer", "module ops: on purpose"] == told[1:]


SHORT = {"pressed": True, "needed_bytes": 480 * MIB, "room_limit_bytes": 512 * MIB, "free_bytes": 32 * MIB}
SHORTLY = "memory is short: 480 MiB of 512 MiB cannot be given back"


@pytest.mark.parametrize(
    ("memory", "line"),
    [
        (SHORT, f"{SHORTLY}, 32 MiB left"),
        (
            SHORT | {"given_up": 2, "stalls": {"some_avg10": 12.4}},
            f"{SHORTLY}, 2 workers given up for memory, 32 MiB left, waited for memory 12% of the time",
        ),
        (
            SHORT | {"free_bytes": -8 * MIB, "stalls": None},
            f"{SHORTLY}, 8 MiB above the limit",
        ),
        (SHORT | {"pressed": False, "given_up": 1}, "1 worker given up for memory, 32 MiB left"),
        ({"given_up": 1}, "1 worker given up for memory"),
        (
            {"over_budget": True, "pool_bytes": 90 * MIB, "budget_bytes": 80 * MIB},
            "the pool has 90 MiB, and --memory allows it 80 MiB",
        ),
    ],
)
def test_short_of_memory(memory: dict[str, Any], line: str) -> None:
    """One line says that the limit is nearly reached, or that there are fewer workers for it."""
    assert [line] == summary({**DOCUMENT, "memory": memory})[1:]


def test_not_short_of_memory() -> None:
    """Nothing is said of it while there is enough, or where nothing tells."""
    enough: list[dict[str, Any]] = [
        SHORT | {"pressed": False, "given_up": 0},
        {},
        {"given_up": None, "over_budget": False, "pool_bytes": None},
    ]

    assert [""] * 3 == [short_of_memory(memory) for memory in enough]


@pytest.mark.parametrize(("used", "full"), [(0, 0), (100, 10), (400, 40), (900, 40)])
def test_the_bar(used: int, full: int) -> None:
    """The bar is as long as ever; what is more than the budget fills it."""
    drawn, _, share = bar({"used_bytes": used * MIB, "budget_bytes": 400 * MIB})

    assert "█" * full + "░" * (40 - full) == drawn
    assert used / 400 == share


def test_the_budget_in_words() -> None:
    """Used, budget, limit and its source are said; without a budget there is no bar."""
    assert "100 MiB of 400 MiB budget, 25%, limit 500 MiB (memory.max)" == bar(DOCUMENT["memory"])[1]
    assert ("", "memory: 1 MiB, no budget", 0.0) == bar({"used_bytes": MIB})
    assert ("", "", 0.0) == bar({})


def test_a_document_with_nothing() -> None:
    """Keys that are missing, or null while there is no server, are shown as nothing."""
    assert ["launcher (pid ?) · 0 of 0 ready · 0 restarts"] == summary({"boot": None, "server": None})
    assert [] == worker_rows({"workers": None})
    assert {"0", ""} == set(worker_rows({"workers": [{}]})[0])


def test_empty_columns_are_left_out() -> None:
    """A column in which nobody has anything takes no room."""
    assert (["a", "c"], [["1", ""], ["2", "3"]]) == without_empty(("a", "b", "c"), [("1", "", ""), ("2", "", "3")])
    assert ([], []) == without_empty(("a",), [])
