"""How does uvicorn run with what the launcher decided?

Its own command reads the words and `UVICORN_*`; ours is only what that command calls. What we lean on:
tests/contract/test_server_assumptions.py.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import logging
import socket
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NoReturn

from uvicorn.config import Config
from uvicorn.main import main as uvicorn_command
from uvicorn.supervisors import ChangeReload

from launcher.errors import ExitCode
from launcher.serving.crossed import Crossed, SocketFiles
from launcher.serving.environment import config_value
from launcher.serving.log_lines import uvicorn_log_config
from launcher.serving.uvicorn.alone import serve_alone
from launcher.serving.uvicorn.supervisor import Supervisor
from launcher.serving.workers.server import PoolServer

_log = logging.getLogger("uvicorn.error")
# The launcher has done it (sockets, environment file), or Config does not know it (app_dir is for sys.path).
_DONE = frozenset({"host", "port", "uds", "fd", "env_file", "app_dir"})


def serve(crossed: Crossed) -> NoReturn:
    """Run uvicorn with the words in sys.argv until it ends."""
    command = copy.copy(uvicorn_command)
    command.callback = functools.partial(_serve, crossed)
    command.main(prog_name="uvicorn")
    sys.exit(ExitCode.OK)


def _serve(crossed: Crossed, **options: Any) -> None:
    if not crossed.listeners:
        sys.exit("launcher.serving has no sockets: it is started by `launcher run`")
    files = SocketFiles(crossed.listeners)
    sys.path.insert(0, options["app_dir"] or crossed.import_dir)
    config = LauncherConfig(**config_options(options, crossed.log))
    sockets = crossed.sockets()
    _log.info("Listening at: %s", ", ".join(crossed.listeners))
    try:
        sys.exit(_run(config, sockets, crossed))
    finally:
        files.remove()


def config_options(options: dict[str, Any], log: Mapping[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for Config from the parameters of uvicorn's command, as uvicorn's `main` makes them.

    `log`: how our lines look, for who has no logging configuration of their own.
    """
    kept = {name: config_value(name, value) for name, value in options.items() if name not in _DONE}
    kept |= {name: kept[name] or None for name in ("reload_dirs", "reload_includes", "reload_excludes")}
    return kept | {"log_config": kept["log_config"] or uvicorn_log_config(log)}


def _run(config: Config, sockets: list[socket.socket], crossed: Crossed) -> ExitCode:
    if config.should_reload:
        ChangeReload(config, target=PoolServer(config, None, crossed.rules).run, sockets=sockets).run()
        return ExitCode.OK
    growth = crossed.rules.growth
    if config.workers > 1 or (growth is not None and growth.most_workers > 1):
        return Supervisor(config, sockets, crossed).serve()
    return serve_alone(config, sockets, crossed)


class LauncherConfig(Config):
    """uvicorn's configuration, for which a module that raises is as broken as one that is missing."""

    def load(self) -> None:
        """Make everything a server needs of it."""
        with _boot():
            super().load()

    def load_app(self) -> Any:
        """Import the application."""
        with _boot():
            return super().load_app()


@contextlib.contextmanager
def _boot() -> Iterator[None]:
    """Turn every failure into exit code 3: uvicorn's supervisor does not restart that one."""
    try:
        yield
    except SystemExit as end:
        if end.code != ExitCode.NEVER_READY:  # the application's own; otherwise uvicorn has said why
            _log.error("the application called sys.exit(%s) on import", end.code)
        sys.exit(ExitCode.NEVER_READY)
    except Exception:  # noqa: BLE001 - whatever the application raises
        _log.exception("the application could not be loaded")
        sys.exit(ExitCode.NEVER_READY)
