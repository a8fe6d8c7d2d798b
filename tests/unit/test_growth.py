"""With how many workers does the pool begin, and may it find its size by itself?"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from launcher.boot.decide import app_or_none, demand_of
from launcher.boot.growth import Asked, may_measure, sized, sized_before
from launcher.budget import MIB, Budget, Measured, Supply, plan_workers
from launcher.growth import Growth
from launcher.remembered import NAME, keep
from launcher.settings.load import load
from launcher.state import FOLDER

NOW = dt.datetime(2026, 11, 22, tzinfo=dt.UTC)
HOST = Supply(
    memory_bytes=4096 * MIB,
    memory_source="a test",
    memory_is_limited=True,
    cpus=4,
    cpus_source="a test",
    cpus_are_limited=True,
    platform="container",
)
MEASURED = Measured(
    worker_bytes=1000 * MIB,
    shared_bytes=40 * MIB,
    peak_bytes=1000 * MIB,
    files_bytes=0,
    shmem_bytes=0,
    source="",
    provisional=False,
)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with an application."""
    (tmp_path / "main.py").write_text("app = None\n")
    (tmp_path / FOLDER).mkdir()
    return tmp_path


def begun(project: Path, words: Mapping[str, str] | None = None, supply: Supply = HOST) -> tuple[Budget, Growth | None]:
    """Return the sum and the growth of a start with these words; upper case: of the environment."""
    start = asked(project, words or {}, supply)
    return sized(start, plan_workers(start.demand, supply), lambda: True)


def asked(project: Path, words: Mapping[str, str], supply: Supply) -> Asked:
    """Return what is asked for with these words."""
    environ = {name: value for name, value in words.items() if name.isupper()}
    given = {name: value for name, value in words.items() if not name.isupper()}
    settings = load({"app": "main:app", **given}, cwd=project, environ=environ, root=project / "root")
    demand, app = demand_of(settings.pool), app_or_none(settings)
    return Asked(settings=settings, demand=demand, supply=supply, app=app, server=words.get("server", "gunicorn"))


def remember(project: Path, words: Mapping[str, str] | None = None) -> None:
    """Let an earlier start have measured it."""
    _, growth = begun(project, words)
    assert growth is not None
    keep(Path(growth.remember), growth.key, MEASURED, NOW)


def test_what_nobody_knows_begins_with_one(project: Path) -> None:
    """It may become as many as there are CPUs, and the guess is kept for where nothing can be read."""
    budget, growth = begun(project)

    assert budget.workers == 1
    assert budget.because.startswith("to begin with, measured while it serves, then as many as fit, at most 4")
    assert growth is not None
    assert (4, 4, True, None) == (growth.most_workers, growth.guessed_workers, growth.is_pilot, growth.measured)
    assert growth.remember == str(project / FOLDER / NAME)


def test_the_guess_for_a_worker_is_no_ceiling(project: Path) -> None:
    """One fits by the guess; small ones may be four."""
    budget, growth = begun(project, supply=replace(HOST, memory_bytes=512 * MIB))

    assert growth is not None
    assert (1, 4, 1) == (budget.workers, growth.most_workers, growth.guessed_workers)


@pytest.mark.parametrize(
    ("words", "workers"),
    [
        ({"workers": "3"}, 3),
        ({"WEB_CONCURRENCY": "3"}, 3),
        ({"worker_memory_estimate": "1GiB"}, 3),
        ({"reload": "true", "server": "uvicorn"}, 1),
        ({"plain": "true"}, 4),
    ],
)
def test_whoever_says_a_number_or_a_size_has_decided(project: Path, words: dict[str, str], workers: int) -> None:
    """There is no pilot then, and the number is there at once; so it is with a server that nobody of us watches."""
    budget, growth = begun(project, words)

    assert (workers, None) == (budget.workers, growth)


def test_a_ceiling_is_kept(project: Path) -> None:
    """--max-workers, too."""
    _, growth = begun(project, {"max_workers": "2"})

    assert growth is not None
    assert growth.most_workers == 2


def test_with_a_ceiling_of_one_there_is_nothing_to_choose(project: Path) -> None:
    """It is measured, and the sum is what it was."""
    budget, growth = begun(project, {"max_workers": "1"})

    assert growth is not None
    assert (1, False) == (growth.most_workers, growth.is_pilot)
    assert budget.because.startswith("capped at 1")


def test_the_cluster_replicates(project: Path) -> None:
    """In Kubernetes without any limit there is one worker, and no pilot."""
    nothing = replace(HOST, memory_is_limited=False, cpus_are_limited=False, platform="kubernetes")
    budget, growth = begun(project, supply=nothing)

    assert (1, None) == (budget.workers, growth)


def test_what_was_measured_is_where_the_next_start_begins(project: Path) -> None:
    """1.25 GiB each, with room to grow: two at once, in the sum by the day."""
    remember(project)
    budget, growth = begun(project)

    assert budget.workers == 2
    assert "measured 2026-11-22 by an earlier start" in budget.sum_line()
    assert growth is not None
    assert (False, 4) == (growth.is_pilot, growth.most_workers)
    assert growth.measured is not None


@pytest.mark.parametrize(
    "other", [{"server": "uvicorn"}, {"preload": "true"}, {"release": "r2"}, {"factory": "true"}], ids=str
)
def test_what_was_measured_of_something_else_is_of_no_use(project: Path, other: dict[str, str]) -> None:
    """Another server, mode, release or application: a cold start."""
    remember(project)
    budget, growth = begun(project, other)

    assert budget.workers == 1
    assert growth is not None
    assert growth.is_pilot


def test_without_a_release_the_source_is_one(project: Path) -> None:
    """A change of the code is a cold start, and a log file is not; with a release id neither is."""
    remember(project)
    (project / "app.log").write_text("x")
    assert begun(project)[0].workers == 2
    os.utime(project / "main.py", ns=(1, 1))
    assert begun(project)[0].workers == 1
    remember(project, {"release": "r1"})
    os.utime(project / "main.py", ns=(2, 2))

    assert begun(project, {"release": "r1"})[0].workers == 2


def test_what_does_not_fit_at_all_is_measured_anew(project: Path) -> None:
    """A measurement is no reason to refuse: the limit is another one now."""
    remember(project)
    budget, growth = begun(project, supply=replace(HOST, memory_bytes=1024 * MIB))

    assert budget.workers == 1
    assert growth is not None
    assert growth.is_pilot


def test_a_folder_is_not_made_for_a_hint(project: Path) -> None:
    """It would be the place of the project's lock, and refuse it to another user."""
    (project / FOLDER).rmdir()
    _, growth = begun(project)

    assert growth is not None
    assert growth.remember == ""
    assert not (project / FOLDER).exists()


def test_what_was_measured_goes_before_the_guess(project: Path) -> None:
    """No worker of 256 MiB fits, but one of 70 MiB was measured: it is no reason to refuse."""
    words = {"release": "r1"}
    _, growth = begun(project, words)
    assert growth is not None
    small = replace(HOST, memory_bytes=350 * MIB)
    assert sized_before(asked(project, words, small), lambda: True) is None
    keep(Path(growth.remember), growth.key, replace(MEASURED, worker_bytes=70 * MIB, peak_bytes=70 * MIB), NOW)
    found = sized_before(asked(project, words, small), lambda: True)

    assert found is not None
    assert (2, False) == (found[0].workers, found[1].is_pilot)


def test_where_nothing_can_be_measured_there_is_no_pilot(tmp_path: Path) -> None:
    """No Linux, no /proc."""
    assert not may_measure("darwin")
    assert not may_measure("linux", tmp_path / "statm")
