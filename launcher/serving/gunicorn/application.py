"""How does gunicorn run with what the launcher decided?

Its own application class reads the configuration, so gunicorn.conf.py with its hooks and GUNICORN_CMD_ARGS work as
ever; overridden is only what has to come from the launcher. What we lean on: tests/contract/test_server_assumptions.py.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import functools
import os
import sys
import traceback
from typing import TYPE_CHECKING, Any, NoReturn

from gunicorn.app.base import BaseApplication
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.workers import SUPPORTED_WORKERS

from launcher.errors import ExitCode
from launcher.log import log
from launcher.serving.crossed import Crossed, SocketFiles
from launcher.serving.environment import uvicorn_options
from launcher.serving.gunicorn.arbiter import LauncherArbiter
from launcher.serving.gunicorn.log import choose_log
from launcher.serving.gunicorn.worker_class import known_name
from launcher.serving.workers import life

if TYPE_CHECKING:
    import argparse

_OURS = {
    "uvicorn": "launcher.serving.gunicorn.worker.Worker",
    "asgi": "launcher.serving.gunicorn.asgi_worker.AsgiWorker",
}


def serve(crossed: Crossed) -> NoReturn:
    """Run gunicorn with the words in sys.argv until it ends."""
    SUPPORTED_WORKERS.update(_OURS)
    files = SocketFiles(crossed.listeners)
    try:
        LauncherApplication(crossed).run()
    finally:
        files.remove()
    sys.exit(ExitCode.OK)


class _RunsOurArbiter(BaseApplication):
    """Comes before gunicorn's BaseApplication in the order of calls: its `run` starts the arbiter."""

    crossed: Crossed

    def run(self) -> None:
        try:
            arbiter = LauncherArbiter(self, self.crossed)
        except Exception as error:  # noqa: BLE001 - worker class, logger class, log files: whatever was configured
            sys.stderr.write(f"\nError: {error}\n")
            sys.exit(ExitCode.USAGE)
        arbiter.run()


class LauncherApplication(WSGIApplication, _RunsOurArbiter):
    """gunicorn's command line, on our sockets."""

    cfg: Any  # gunicorn.config.Config, which answers to the name of any setting

    def __init__(self, crossed: Crossed) -> None:
        """Read gunicorn's configuration; a mistake in it ends the process with exit code 2."""
        self.crossed = crossed
        super().__init__("%(prog)s [OPTIONS] [APP_MODULE]", prog="gunicorn")

    def do_load_config(self) -> None:
        """Read everything, at the start and on HUP."""
        try:
            super().do_load_config()
        except SystemExit as end:
            sys.exit(ExitCode.USAGE if end.code == 1 else end.code)  # 1 is a bug of ours, never a mistake in a file

    def init(self, parser: argparse.ArgumentParser, opts: argparse.Namespace, args: list[str]) -> dict[str, Any]:
        """Return what the launcher decided: gunicorn gives it the lowest precedence of all."""
        super().init(parser, opts, args)
        decided = vars(parser.parse_args(list(self.crossed.defaults)))
        return {name: value for name, value in decided.items() if value is not None and name != "args"}

    def load_config(self) -> None:
        """Read gunicorn's own sources, then put in what only the launcher can know."""
        super().load_config()
        if self.crossed.listeners:
            self.cfg.set("bind", [f"fd://{fd}" for fd in self.crossed.listeners.values()])
        if not self.crossed.access_log:
            self.cfg.set("accesslog", None)
        self.cfg.set("worker_class", known_name(self.cfg.settings["worker_class"].get()))
        self._take_back("daemon", "reuse_port")
        choose_log(self.cfg, self.crossed.log)
        if self.crossed.import_dir:  # gunicorn has put the working directory before it
            sys.path[:] = [self.crossed.import_dir, *(path for path in sys.path if path != self.crossed.import_dir)]

    def _take_back(self, *names: str) -> None:
        for name in names:
            if self.cfg.settings[name].get():
                self.cfg.set(name, False)  # noqa: FBT003 - gunicorn's signature
                sys.stderr.write(f"{name} is ignored: this process is the server, on the launcher's sockets\n")

    @functools.cached_property
    def uvicorn_options(self) -> dict[str, Any]:
        """Keyword arguments for uvicorn: its variables under what was handed over."""
        return {**uvicorn_options(os.environ), **self.crossed.uvicorn}

    def load(self) -> object:
        """Import the application in a worker; what cannot be imported is exit code 3."""
        try:
            return self.import_application()
        except SystemExit as end:
            _boot_failed(f"the application called sys.exit({end.code}) on import")
        except Exception as error:  # noqa: BLE001 - whatever the application raises
            _boot_failed(error)

    def import_application(self) -> object:
        """Return the application; gunicorn itself does not know `module:object.attribute`, uvicorn does."""
        module, _, path = (self.app_uri or "").partition(":")
        first, _, rest = path.removesuffix("()").partition(".")
        if not rest or "(" in rest:
            return super().load()
        from importlib import import_module

        found = functools.reduce(getattr, rest.split("."), getattr(import_module(module), first))
        return found() if path.endswith("()") else found


def _boot_failed(error: Exception | str) -> NoReturn:
    """End this process: a worker leaves what happened to its arbiter, the arbiter says it."""
    if life.current is not None:
        life.current.boot_failed(error)
    text = error if isinstance(error, str) else "".join(traceback.format_exception(error))
    log.error("launcher.application_not_loaded", exception=text)
    sys.exit(ExitCode.NEVER_READY)
