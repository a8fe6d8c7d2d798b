"""Is it said before anything is started what fits into memory, and is that what a person works out?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support.commands import APPENDS, serving, toml
from support.serving import APP
from support.waiting import free_port

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch

# A machine of 3 GiB, as Fly.io says it; CPUs for at least four workers, so that memory is the narrow part.
SMALL = {"FLY_VM_MEMORY_MB": "3072", "WORKERS_PER_CORE": "4"}
MODEL = ("--worker-memory-estimate", "1GiB")
PROJECT = {"main.py": APP, "seed.py": APPENDS, "launcher.toml": toml('name = "seed"\nrun = "{python} seed.py"')}
DO_NOT_FIT = (
    "4 workers (--workers) × 1 GiB (--worker-memory-estimate) do not fit 3 GiB ({source}), with {left} left for "  # noqa: RUF001 - the sign of the sum
    "workers: 2 fit; --preload could make 4 possible, if the workers share all but {own} MiB of it"
)


def plan(launch: Launch, folder: Path, *words: str, env: dict[str, str]) -> str:
    """Return what `launcher plan` prints; it always exits with 0."""
    launched = launch("plan", *words, cwd=folder, env=env)
    assert launched.wait() == 0, launched
    return launched.stdout


def document(launch: Launch, folder: Path, *words: str) -> dict[str, Any]:
    """Return what it prints for a program."""
    return dict(json.loads(plan(launch, folder, "--json", *words, env=SMALL)))


def table(text: str, title: str) -> dict[str, list[str]]:
    """Return the rows of a printed table by their first cell, without its head."""
    lines = text.partition(f"{title}:\n")[2].partition("\n\n")[0].splitlines()[1:]
    rows = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {name: rest for name, *rest in rows}


def events(names: list[str], wanted: str) -> int:
    """Return where an event came in the log."""
    return names.index(f"launcher.{wanted}")


@pytest.mark.parametrize(
    ("words", "env", "said"),
    [
        ((), SMALL, {"source": "FLY_VM_MEMORY_MB=3072", "left": "2.3 GiB", "own": 83}),
        (("--memory", "3GiB"), {}, {"source": "--memory", "left": "2.9 GiB", "own": 237}),
    ],
    ids=["a limit", "a size"],
)
def test_a_plan_for_more_than_fits(
    launch: Launch, project: MakeProject, words: tuple[str, ...], env: dict[str, str], said: dict[str, str]
) -> None:
    """A model of 1 GiB, four workers asked for, 3 GiB: the numbers, how many fit, and what could make four possible."""
    printed = plan(launch, project({"main.py": APP}), *MODEL, "--workers", "4", *words, env=env)

    assert DO_NOT_FIT.format(**said) in printed
    assert ["4", "--workers asks for 4"] == table(printed, "plan")["workers"]
    assert ["2", f"{said['left']} ÷ 1 GiB, rounded down"] == table(printed, "memory")["fit"]


def test_a_plan_of_its_own(launch: Launch, project: MakeProject) -> None:
    """The same model and memory with no number asked for: two, with the sum as a table that is done by hand again."""
    printed = plan(launch, project({"main.py": APP}), *MODEL, env=SMALL)
    memory = table(printed, "memory")

    assert "2" == table(printed, "plan")["workers"][0]
    assert "2 fit in memory, fewer than " in table(printed, "plan")["workers"][1]
    assert "warnings:" not in printed
    assert {
        "limit": "3 GiB",
        "headroom": "− 614.4 MiB",  # noqa: RUF001 - the sign of the sum
        "arbiter": "− 64 MiB",  # noqa: RUF001 - as above
        "monitor": "− 12 MiB",  # noqa: RUF001 - as above
        "for workers": "= 2.3 GiB",
        "worker": "1 GiB",
        "fit": "2",
    } == {name: row[0] for name, row in memory.items()}
    assert all(len(row) == 2 for row in memory.values())


def test_a_plan_for_a_program(launch: Launch, project: MakeProject) -> None:
    """The document has the same regions, their sum in one line, how many fit, and whether what starts does."""
    folder = project({"main.py": APP})
    free, asked = document(launch, folder, *MODEL), document(launch, folder, *MODEL, "--workers", "4")
    regions = {region["name"]: region["bytes"] for region in free["memory"]["regions"]}
    limit, headroom, arbiter, monitor, worker = regions.values()

    assert (2, 2, True) == (free["workers"]["count"], free["memory"]["fitting"], free["memory"]["fits"])
    assert (4, 2, False) == (asked["workers"]["count"], asked["memory"]["fitting"], asked["memory"]["fits"])
    assert ["limit", "headroom", "arbiter", "monitor", "worker"] == list(regions)
    assert (limit - headroom - arbiter - monitor) // worker == free["memory"]["fitting"]
    assert free["memory"]["sum"].endswith("= 2.3 GiB ÷ 1 GiB per worker (--worker-memory-estimate) = 2")


def test_a_start_with_more_than_fits(launch: Launch, project: MakeProject) -> None:
    """It is said before the first step, and the four that were asked for are started."""
    port = free_port()
    launched = launch("run", *MODEL, "--workers", "4", "--port", str(port), cwd=project(PROJECT), env=SMALL)
    serving(launched, port)
    launched.wait_event("launcher.handed_over")
    names = [record["event"] for record in launched.events]
    (doubt,) = [record["because"] for record in launched.events if record["event"] == "launcher.budget_doubtful"]

    assert DO_NOT_FIT.format(source="FLY_VM_MEMORY_MB=3072", left="2.3 GiB", own=83) == doubt
    assert events(names, "budget_doubtful") < events(names, "step_started") < events(names, "handed_over")
    assert 4 == launched.wait_event("launcher.workers_chosen")["workers"]


def test_a_start_of_its_own(launch: Launch, project: MakeProject) -> None:
    """Two are chosen, the log has the sum, and nothing is doubtful."""
    port = free_port()
    launched = launch("run", *MODEL, "--port", str(port), cwd=project({"main.py": APP}), env=SMALL)
    serving(launched, port)

    assert 2 == launched.wait_event("launcher.workers_chosen")["workers"]
    assert launched.wait_event("launcher.memory_summed")["sum"].endswith(" = 2")
    assert launched.event("launcher.budget_doubtful") is None


def test_a_refusal_is_itemised(launch: Launch, project: MakeProject) -> None:
    """Where not one fits `run` ends with 12 and each region with its source; `plan` shows the same."""
    folder = project({"main.py": APP})
    words = (*MODEL, "--memory", "1GiB")
    launched = launch("run", *words, "--port", str(free_port()), cwd=folder, env=SMALL)
    code, printed = launched.wait(), plan(launch, folder, *words, env=SMALL)
    items = (
        "limit: 3 GiB (FLY_VM_MEMORY_MB=3072)",
        "headroom: 2 GiB (--memory, all but 1 GiB)",
        "arbiter: 64 MiB (",
        "monitor: 12 MiB (",
        "worker: 1 GiB (--worker-memory-estimate)",
    )

    assert 12 == code
    assert [] == [item for item in items if item not in launched.stderr]
    assert [] == [item for item in items if item not in printed]
