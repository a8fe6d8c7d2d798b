"""How does a start go, from the first moment to the exec?

Decide, bind, do what has to be done once, become the server. It reads like the promise it keeps.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NoReturn

from launcher.boot.context import Context
from launcher.boot.decide import decide
from launcher.boot.handover import Original, hand_over
from launcher.boot.lock_choice import choose_lock
from launcher.boot.prestart import Prestart
from launcher.boot.sockets import ignored_addresses, open_listeners
from launcher.boot.start import Start, Tell
from launcher.boot.watch import Watch
from launcher.boot.watched_start import WatchedStart, resolver
from launcher.errors import LauncherError, UsageError
from launcher.hook_plugins import HookPlugin, hook_plugins, of_workers
from launcher.log import log
from launcher.notify import Notifier
from launcher.origin import Ignored
from launcher.plan import Plan, PlannedLock
from launcher.plugins import load_kind
from launcher.servers import Listener, Server, ServerCommand, ServerPlan
from launcher.settings.topics import Settings


def _said_by_the_caller(_error: LauncherError) -> None:
    """Leave it to whoever catches it."""


def run(load: Callable[[], Settings], watch: Watch, original: Original, tell: Tell = _said_by_the_caller) -> NoReturn:
    """Start: steps once, then the server in this process. Raises LauncherError.

    tell: says such an error before it is reported and told to plugins, which may take their time.
    """
    _imported()
    watch.notifies(Notifier(os.environ))
    with watch.installed():
        start = Start(load(), watch, tell)
        with start.or_told():
            command = _prepared(start)
    watch.adopt_orphans(on=False)
    log.info("launcher.handed_over", argv=list(command.argv))
    with start.or_told():
        hand_over(
            command,
            listeners=start.listeners,
            inherited=start.seen.descriptors() if start.seen and "monitor" in (command.handover or {}) else (),
            environ=start.context.environ if start.context else start.settings.environ,
            original=original,
        )


def _prepared(start: Start) -> ServerCommand:
    """Do all that comes before the exec; return what is to be executed."""
    settings, watch = start.settings, start.watch
    _check_place(settings.environ)
    hooks = hook_plugins(settings.plugins, settings.app.app_dir or settings.cwd)
    start.seen = _watched(start, hooks)
    plan = start.plan = decide(settings)
    say(plan)
    listeners = start.listeners = bind(plan, watch, settings.environ)
    context = start.context = Context(watch, settings, plan.app.import_dir if plan.app else None)
    if start.seen is not None:
        start.seen.know(plan, listeners, context.release_so_far)
        start.seen.say()
    say_doubts(plan)
    start.say_doubts()
    # Twice: what the server cannot do is known before the steps; steps may change the environment.
    server_command(plan, settings, listeners, context.environ, hooks)
    prestart(plan, settings, context)
    command = start.crossing(server_command(plan, settings, listeners, context.environ, hooks))
    watch.check()
    return command


def _watched(start: Start, hooks: Iterable[HookPlugin]) -> WatchedStart | None:
    """Start the monitor, where there is to be one: a bare server would not keep it, nor one that reloads by itself."""
    settings = start.settings
    if settings.monitor.off or settings.pool.plain or settings.pool.reload:
        return None
    seen = WatchedStart(settings, resolver(start.watch), tuple(hooks), incidents=start.told_in)
    start.watch.accompanied_by(seen)
    return seen


def steps_only(load: Callable[[], Settings], watch: Watch, tell: Tell = _said_by_the_caller) -> None:
    """Run the pre-start steps and return: init container, release phase, Job. Raises LauncherError, as `run`."""
    _imported()
    watch.notifies(Notifier(os.environ))
    with watch.installed():
        settings = load()
        start = Start(settings, watch, tell)
        with start.or_told():
            plan = start.plan = decide(settings, excuse=_only_steps_matter)
            say_steps(plan)
            say_ignored(plan)
            context = start.context = Context(watch, settings, plan.app.import_dir if plan.app else None)
            prestart(plan, settings, context)


def _check_place(environ: Mapping[str, str]) -> None:
    """Refuse to serve where only steps are meant to run: Fly's release machine, Heroku's release phase."""
    phase = "RELEASE_COMMAND" if environ.get("RELEASE_COMMAND") else ""
    if environ.get("DYNO", "").startswith("release."):
        phase = f"DYNO={environ['DYNO']}"
    if phase:
        raise UsageError(
            f"this is the platform's release phase ({phase}): a server that runs here would never let it end",
            cure="launcher prestart runs the steps and ends",
        )


def _imported() -> None:
    """Look for garbage from now on, but not in what has been imported: a start may wait for hours."""
    gc.freeze()
    gc.enable()


def _only_steps_matter(part: str, error: LauncherError) -> None:
    """Steps alone need no room for workers; without an application they do without its import path."""
    if part not in {"app", "workers"}:
        raise error


def say(plan: Plan) -> None:
    """Open with app, steps, the memory sum and workers, each with its source; `bind` adds the address, line five."""
    if plan.app is not None:
        log.info("launcher.app_found", app=plan.app.import_string, because=plan.app.because)
    say_steps(plan)
    if plan.budget is not None:
        log.info("launcher.memory_summed", sum=plan.budget.sum_line())
        log.info(
            "launcher.workers_chosen",
            workers=plan.budget.workers,
            because=plan.budget.because,
            server=plan.server.value,
            source=str(plan.server.origin),
        )


def say_doubts(plan: Plan) -> None:
    """Say what does not fit, and what was set and has no effect."""
    for warning in plan.budget.warnings if plan.budget else ():
        log.warning("launcher.budget_doubtful", because=warning)
    for doubt in plan.doubts:
        log.warning("launcher.steps_doubtful", because=doubt)
    for doubt in plan.stop_doubts:
        log.warning("launcher.stop_doubtful", because=doubt)
    say_ignored(plan)


def say_steps(plan: Plan) -> None:
    """Say which steps there are, where they were said, and which lock they need."""
    names = [f"{planned.name} ({planned.settings.type}, once per {planned.once_per})" for planned in plan.steps]
    sources = sorted({str(planned.settings.origin) for planned in plan.steps}) or ["none configured, none found"]
    lock = "auto" if plan.locked else "not needed"
    if plan.lock is not None:
        lock = f"{plan.lock.lock.kind} {plan.lock.lock.where}, {plan.lock.lock.hosts}"
    log.info("launcher.steps_planned", steps=names, source=sources, lock=lock)


def say_ignored(plan: Plan) -> None:
    """Say what was set and has no effect."""
    _say_ignored(plan.ignored)


def _say_ignored(ignored: Sequence[Ignored]) -> None:
    for one in ignored:
        log.warning("launcher.setting_ignored", name=one.name, origin=str(one.origin), because=one.because)


def bind(plan: Plan, watch: Watch, environ: Mapping[str, str]) -> tuple[Listener, ...]:
    """Bind before any step: a taken port is known before anything is migrated. Raises UsageError."""
    listeners = open_listeners(plan.addresses, listen=plan.bind_early.value, environ=environ, resolve=resolver(watch))
    ignored = ignored_addresses(plan.addresses, environ)
    _say_ignored(ignored)
    log.info(
        "launcher.address_bound",
        address=[one.address for one in listeners],
        source=["LISTEN_FDS"] if ignored else [str(one.origin) for one in plan.addresses],
        listening=plan.bind_early.value,
    )
    return listeners


def prestart(plan: Plan, settings: Settings, context: Context) -> None:
    """Carry out the pre-start steps, if there are any."""
    if not plan.steps:
        return
    context.watch.doing("looking at what is to be done before the server starts")
    try:
        Prestart(
            steps=plan.steps,
            settings=settings.prestart,
            context=context,
            choose=lambda before_exports: plan.lock or _chosen(plan, settings, context, before_exports=before_exports),
        ).carry_out()
    finally:
        context.watch.doing("")


def _chosen(plan: Plan, settings: Settings, context: Context, *, before_exports: bool) -> PlannedLock:
    chosen = choose_lock(settings, plan.steps, context, before_exports=before_exports)
    log.info("launcher.lock_chosen", lock=chosen.lock.where, kind=chosen.lock.kind, because=chosen.because)
    _say_ignored(chosen.ignored)
    return chosen


def server_command(
    plan: Plan,
    settings: Settings,
    listeners: tuple[Listener, ...],
    environ: Mapping[str, str],
    hooks: Iterable[HookPlugin] = (),
) -> ServerCommand:
    """Return what this process becomes. Raises UsageError for what the server cannot do."""
    if plan.app is None or plan.budget is None:
        raise UsageError("there is no application to serve, or no room for it")
    try:
        server: Server = load_kind("servers", plan.server.value, settings.plugins)()
    except UsageError as error:
        error.message = f"{plan.server.origin}: {error.message}"
        raise
    return server.command(
        ServerPlan(
            app=plan.app.import_string,
            factory=plan.app.factory,
            import_dir=plan.app.import_dir,
            workers=plan.budget.workers,
            growth=plan.growth,
            listeners=listeners,
            pool=settings.pool,
            http=settings.http,
            log=settings.log,
            drain_delay_s=plan.drain_delay.value,
            graceful_timeout_s=plan.graceful_timeout.value,
            wrap_app=tuple(of_workers(hooks)),
            health_worker=settings.monitor.health_worker,
            origins={name: said.origin for name, said in settings.origins.items()},
            metrics_by_status=settings.monitor.metrics_by_status,
            environ=environ,
        )
    )
