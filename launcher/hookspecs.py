"""Which events can a plugin take part in?

Four hooks of pluggy; project and entry-point group are called `launcher`. A plugin is a module or an object with
functions of these names; `@launcher.hookimpl` is needed for its options only (`tryfirst`, `trylast`, `specname`). Each
takes the argument it is shown here, by this name, or none. `async def`, and pluggy's wrappers, are refused.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pluggy

from launcher.records import Event, HealthCheck, Incident, PluginSettings

PROJECT = "launcher"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def launcher_health_checks(settings: PluginSettings) -> Iterable[HealthCheck]:  # type: ignore[empty-body]  # a specification
    """Return what else has to be well for the server to count as ready, or as started.

    Process: the plugin host, a child of the monitor. When: once, when the host starts, which may be long before the
    server, and again whenever the host was started again. May block: for up to a minute, and nothing is checked
    meanwhile; after that the host is ended and started without the plugin. Exception: it is said, and the probes show
    the plugin as failing: what it would have checked is not known to be well.

    The probes of the checks run in threads of the same process, each at its interval; they may block for as long as
    their timeout says. Their environment is the launcher's.
    """


@hookspec
def launcher_incident(report: Incident) -> None:
    """Hear of a crash, or of a start that failed: send it somewhere.

    Process: the plugin host. When: after the crash; one call at a time. May block: for up to ten seconds; then the
    others go on without waiting for it. Exception: said once and counted; the call is made again, after growing pauses,
    until it returns. So the same report (`report.id`) may come twice.
    """


@hookspec
def launcher_event(event: Event) -> None:
    """Hear of workers that start, become ready, are recycled; of a pool that is resized, reloaded, draining.

    Process: the plugin host. When: as it happens; one call at a time, in order. May block: for up to ten seconds; then
    the others go on without waiting for it. Exception: said once and counted; the event is not told again. Who is too
    slow for what happens loses events.
    """


@hookspec
def launcher_wrap_app(app: Any) -> Any:
    """Return the application in a middleware of yours, or None to leave it as it is.

    Process: each worker. When: once, after the application was imported and before it serves. May block: no: the
    worker starts later by as much. Exception: said, and the application serves without this middleware. The plugin
    that is named first is outermost. What the middleware itself raises in a request is the application's own matter.
    """
