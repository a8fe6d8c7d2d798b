"""What do plugins put around the application?

`launcher_wrap_app`, in each worker. Nothing of pluggy is loaded where no plugin has that hook.
"""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from typing import Any

from launcher.log import log


def wrap(app: Any, plugins: Sequence[str]) -> Any:
    """Return the application in what plugins put around it; the first of `plugins` is outermost.

    plugins: `module` or `module:attribute`, as boot has found them (`hook_plugins.of_workers`). One that cannot be
    loaded, is `async def` or raises is said, and left out. Never raises.
    """
    if not plugins:
        return app
    from launcher.hook_calls import CONTAINED, Hooks

    hooks = Hooks()
    for target in plugins:
        hooks.load(target, target)
    for who, because in hooks.refused:
        log.warning("launcher.plugin_refused", plugin=who, because=because)
    for implementation in hooks.implementations("launcher_wrap_app"):
        try:
            app = _checked(implementation(app=app), app)
        except CONTAINED as error:
            log.warning(
                "launcher.plugin_failed",
                plugin=implementation.who,
                hook=implementation.hook,
                because=f"{type(error).__name__}: {error}",
                exception=traceback.format_exc(),
            )
    return app


def _checked(wrapped: Any, app: Any) -> Any:
    if wrapped is not None and not callable(wrapped):
        raise TypeError(f"it returned {wrapped!r}, which is no application")
    return app if wrapped is None else wrapped
