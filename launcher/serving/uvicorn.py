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
from collections.abc import Iterator
from typing import Any, NoReturn

from uvicorn.config import LOGGING_CONFIG, Config
from uvicorn.main import main as uvicorn_command
from uvicorn.server import Server
from uvicorn.supervisors import ChangeReload, Multiprocess

from launcher.errors import ExitCode
from launcher.serving.crossed import Crossed, SocketFiles
from launcher.serving.environment import config_value

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
    config = LauncherConfig(**config_options(options))
    sockets = crossed.sockets()
    _log.info("Listening at: %s", ", ".join(crossed.listeners))
    try:
        sys.exit(_run(config, sockets))
    finally:
        files.remove()


def config_options(options: dict[str, Any]) -> dict[str, Any]:
    """Return keyword arguments for Config from the parameters of uvicorn's command, as uvicorn's `main` makes them."""
    kept = {name: config_value(name, value) for name, value in options.items() if name not in _DONE}
    kept |= {name: kept[name] or None for name in ("reload_dirs", "reload_includes", "reload_excludes")}
    return kept | {"log_config": kept["log_config"] or LOGGING_CONFIG}


def _run(config: Config, sockets: list[socket.socket]) -> ExitCode:
    if config.should_reload:
        ChangeReload(config, target=LauncherServer(config).run, sockets=sockets).run()
        return ExitCode.OK
    if config.workers > 1:
        supervisor = Supervisor(config, sockets=sockets)
        supervisor.run()
        return ExitCode.OK if supervisor.asked_to_stop else ExitCode.NEVER_READY
    server = LauncherServer(config)
    server.run(sockets)
    return ExitCode.OK if server.started else ExitCode.NEVER_READY


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


class LauncherServer(Server):
    """uvicorn's server, which ends instead of killing itself by the signal that ended it: exit code 0, not 143."""

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is over. As with `uvicorn` itself, modules are imported before there is an event loop."""
        self.config.load_app()
        super().run(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while serving."""
        with super().capture_signals():
            yield
            self._captured_signals.clear()


class Supervisor(Multiprocess):
    """uvicorn's supervisor, which remembers whether somebody wanted it to end."""

    asked_to_stop = False

    def handle_int(self) -> None:
        """End, as on TERM."""
        self.asked_to_stop = True
        super().handle_int()

    def handle_term(self) -> None:
        """End."""
        self.asked_to_stop = True
        super().handle_term()
