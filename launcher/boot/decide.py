"""What follows from what was asked for and from what is there?

Reads and decides, changes nothing: `launcher plan` stops here, `launcher run` goes on.
"""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, cast

from launcher.boot.growth import Asked, sized, sized_before
from launcher.boot.lock_choice import asked_lock
from launcher.boot.stop_times import ignored_by_bare_servers, stop_times
from launcher.budget import Budget, Demand, plan_workers
from launcher.discovery import App, AppRequest, find_app
from launcher.errors import LauncherError, NoWorkerFits, UsageError
from launcher.growth import Growth
from launcher.limits.reading import read_limits, supply
from launcher.limits.values import Limits
from launcher.origin import DEFAULT, Origin, OriginKind, Sourced
from launcher.plan import Plan, PlannedStep
from launcher.plugins import BUILT_IN, in_modules, load_kind
from launcher.settings.topics import PoolSettings, Settings, StepSettings
from launcher.steps import Step

T = TypeVar("T")

_RELOADS = Origin(OriginKind.DEFAULT, "--reload")
_BINDS_EARLY = {"heroku", "cloud-run"}  # they kill what has not bound its port within a minute


Excuse = Callable[[str, LauncherError], None]


def decide(settings: Settings, excuse: Excuse | None = None) -> Plan:
    """Return the plan. Raises LauncherError, or hands it to `excuse` with the part's name and goes on without."""
    limits = read_limits(environ=settings.environ)
    stop = stop_times(settings, limits.platform)
    server, worker_class = choose_server(settings.pool)
    steps = _part("steps", excuse, lambda: plan_steps(settings)) or ()
    locked = any(planned.under_lock for planned in steps)
    lock = _part("lock", excuse, lambda: asked_lock(settings)) if locked else None
    app = _part("app", excuse, lambda: find_app(request(settings), settings.cwd))
    asked = _asked(settings, limits, app, f"{server.value} {worker_class.value}")
    budget, growth = _part("workers", excuse, lambda: _size(asked)) or (None, None)
    return Plan(
        app=app,
        server=server,
        worker_class=worker_class,
        budget=budget,
        growth=growth,
        steps=steps,
        locked=locked,
        lock=lock,
        addresses=settings.bind.bind,
        drain_delay=stop.drain_delay,
        graceful_timeout=stop.graceful_timeout,
        bind_early=_bind_early(settings, limits.platform),
        ignored=(*settings.ignored, *ignored_by_bare_servers(settings), *(lock.ignored if lock else ())),
        doubts=() if steps or app is None else _migrations_elsewhere(settings.cwd, app.import_dir),
        settings=settings.origins,
        stop_doubts=stop.doubts,
        warnings=(*limits.notes, *(budget.warnings if budget else ()), *stop.doubts),
    )


def _part(name: str, excuse: Excuse | None, decision: Callable[[], T]) -> T | None:
    try:
        return decision()
    except LauncherError as error:
        if excuse is None:
            raise
        excuse(name, error)
        return None


def request(settings: Settings) -> AppRequest:
    """Return what discovery is asked."""
    wanted = settings.app
    return AppRequest(app=wanted.app, variable=wanted.variable, factory=wanted.factory, app_dir=wanted.app_dir)


def app_or_none(settings: Settings) -> App | None:
    """Return the app if one can be found: steps alone do not need one."""
    try:
        return find_app(request(settings), settings.cwd)
    except UsageError:
        return None


def choose_server(pool: PoolSettings) -> tuple[Sourced[str], Sourced[str]]:
    """Return server and worker class: gunicorn with uvicorn's worker, uvicorn where gunicorn cannot be."""
    if pool.server is not None:
        server = pool.server
    elif pool.reload:
        server = Sourced("uvicorn", Origin(OriginKind.DEFAULT, "--reload needs uvicorn's reloader"))
    elif os.name == "nt":
        server = Sourced("uvicorn", Origin(OriginKind.DEFAULT, "gunicorn does not run on Windows"))
    else:
        server = Sourced("gunicorn", DEFAULT)
    return server, pool.worker_class or Sourced("uvicorn", DEFAULT)


def _asked(settings: Settings, limits: Limits, app: App | None, server: str) -> Asked:
    return Asked(settings=settings, demand=demand_of(settings.pool), supply=supply(limits), app=app, server=server)


def _size(asked: Asked) -> tuple[Budget, Growth | None]:
    """Return the sum, and how the pool may grow. Raises NoWorkerFits, by a guess, where nothing was ever measured."""
    try:
        guess = plan_workers(asked.demand, asked.supply)
    except NoWorkerFits:
        if known := sized_before(asked):
            return known
        raise
    return sized(asked, guess)


def demand_of(pool: PoolSettings) -> Demand:
    """Return what was asked for in the shape the arithmetic takes."""
    if pool.reload:
        pool = dataclasses.replace(pool, workers=Sourced(1, _RELOADS))
    return Demand(
        workers=pool.workers.value if pool.workers else None,
        workers_origin=str(pool.workers.origin) if pool.workers else "",
        max_workers=pool.max_workers,
        workers_per_core=pool.workers_per_core,
        memory=pool.memory.value if pool.memory else None,
        memory_origin=str(pool.memory.origin) if pool.memory else "default",
        worker_estimate_bytes=pool.worker_memory_estimate.value if pool.worker_memory_estimate else None,
        worker_estimate_origin=str(pool.worker_memory_estimate.origin) if pool.worker_memory_estimate else "",
        allow_overcommit=pool.allow_overcommit,
        preload=pool.preload and not pool.plain,
    )


def plan_steps(settings: Settings) -> tuple[PlannedStep, ...]:
    """Return the configured steps with their classes; with none configured, Alembic's if the project has it."""
    modules = _with_plugins(settings)
    configured = settings.prestart.steps
    if all(step.type == "pre-start-path" for step in configured):
        configured = (*configured, *_found_alembic(settings.cwd))
    project = _project_name(settings.cwd) if configured else ""
    return tuple(_planned(step, modules, project) for step in configured)


def _project_name(cwd: Path) -> str:
    """Return the `[project] name` of pyproject.toml; empty without one. It is said of each record."""
    path = cwd / "pyproject.toml"
    if not path.is_file():
        return ""
    import tomllib  # only with a pyproject.toml

    try:
        project = tomllib.loads(path.read_text(encoding="utf-8")).get("project", {})
    except (OSError, ValueError):  # whoever needs it says what is wrong with it
        return ""
    return str(project.get("name", "")) if isinstance(project, dict) else ""


def _planned(settings: StepSettings, modules: tuple[str, ...], project: str) -> PlannedStep:
    try:
        kind = load_kind("steps", settings.type, modules)
    except UsageError as error:
        error.message = f"{settings.origin}: {error.message}"
        raise
    step: Step = kind(settings) if settings.type in BUILT_IN["steps"] else _contained(kind, settings)
    return PlannedStep(settings=settings, step=step, once_per=settings.once_per or step.once_per, project=project)


def _contained(kind: type[Step], settings: StepSettings) -> Step:
    from launcher.steps.contained import ContainedStep  # only for plugins

    return cast("Step", ContainedStep(kind, settings))  # its class variables are one plugin's, and so the instance's


def _found_alembic(cwd: Path) -> tuple[StepSettings, ...]:
    from launcher.steps.alembic import found_alembic  # only where no step was configured

    path = found_alembic(cwd)
    if path is None:
        return ()
    value = str(path.relative_to(cwd)) if path.is_relative_to(cwd) else str(path)
    origin = Origin(OriginKind.DEFAULT, f"found {value}")
    return (StepSettings(name="alembic", type="alembic", value=value, origin=origin, found=True),)


def _migrations_elsewhere(cwd: Path, import_dir: Path) -> tuple[str, ...]:
    """Return a sentence for migrations beside the application that are not seen from here."""
    from launcher.steps.alembic import found_alembic  # only where there is no step at all

    folders = [folder for folder in (import_dir, import_dir.parent) if folder.resolve() != cwd.resolve()]
    found = [path for folder in folders if (path := found_alembic(folder)) is not None]
    return tuple(f"{path} is not run: steps are looked for in the working directory {cwd}" for path in found[:1])


def _with_plugins(settings: Settings) -> tuple[str, ...]:
    """Import the modules named in `plugins = [...]` from where the application is; return their names."""
    if settings.plugins:
        app = app_or_none(settings)
        for folder in (str(settings.cwd), *([str(app.import_dir)] if app else [])):
            if folder not in sys.path:
                sys.path.append(folder)
        list(in_modules(settings.plugins))  # a misspelt name is said at once, not when its word is first used
    return settings.plugins


def _bind_early(settings: Settings, platform: str) -> Sourced[bool]:
    asked = settings.bind.bind_early
    if asked is not None:
        known = settings.origins.get("bind_early")
        return Sourced(asked, known.origin if known else DEFAULT)
    return Sourced(platform in _BINDS_EARLY, Origin(OriginKind.DEFAULT, f"default on {platform}"))
