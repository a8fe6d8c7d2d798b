"""What does a uvicorn worker of gunicorn's get to know beyond what uvicorn-worker hands on?"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING, Any

from uvicorn_worker import UvicornWorker

from launcher.errors import ExitCode
from launcher.serving.workers import life
from launcher.serving.workers.closing import SHARE_FOR_REQUESTS
from launcher.serving.workers.life import Life
from launcher.serving.workers.server import PoolServer, run_in_loop

if TYPE_CHECKING:
    _Base = UvicornWorker
else:
    _Base = object


class PoolWorker(_Base):
    """Comes before a class of uvicorn's; without a pool (`life.current`) that runs as gunicorn has it."""

    knows_the_pool = True
    life: Life | None = None

    def __init__(self, *args: Any) -> None:
        """Make uvicorn's configuration. What an application's own class has in CONFIG_KWARGS wins, as everywhere."""
        app, cfg = args[3], args[5]
        kwargs, uvicorns = type(self).CONFIG_KWARGS, UvicornWorker.CONFIG_KWARGS
        self.CONFIG_KWARGS = {
            **kwargs,
            "root_path": cfg.root_path or "",
            "timeout_graceful_shutdown": cfg.graceful_timeout * SHARE_FOR_REQUESTS,
            **getattr(app, "uvicorn_options", {}),
            **{name: value for name, value in kwargs.items() if name not in uvicorns or value != uvicorns[name]},
        }
        super().__init__(*args)

    def init_process(self) -> None:
        """Import the application and serve. In here, gunicorn changes the user."""
        self.life = life.current
        if self.life is None:
            super().init_process()
            return
        with self.life.booting():
            super().init_process()

    def init_signals(self) -> None:
        """Set handlers. uvicorn-worker resets all, SIGABRT among them; it comes after the change of user."""
        super().init_signals()
        if self.life is not None:
            self.life.again()

    def notify(self) -> None:
        """Touch gunicorn's file. In the pool nobody looks at it, and who has changed the user may not touch it."""
        if self.life is None:
            super().notify()

    def run(self) -> None:
        """Serve. uvicorn raises the signal that ended it again: left to kill us, it would skip `worker_exit` hooks."""
        if self.life is None:
            for signum in (signal.SIGTERM, signal.SIGINT):
                signal.signal(signum, lambda *_: sys.exit(0))
        self._load()
        run_in_loop(self._serve, self.config.get_loop_factory())

    async def _serve(self) -> None:
        """Serve in the event loop."""
        if self.life is None:
            await super()._serve()
            return
        listeners = [listener.sock for listener in self.sockets]  # gunicorn's own class logs what is closed twice
        await PoolServer(self.config, self.life, self.life.rules).serve(listeners)

    def _load(self) -> None:
        """Make what uvicorn would make in its loop, where a failure (TLS files) is one of a running worker to gunicorn.

        gunicorn starts such a worker again and again; one that cannot boot is exit code 3.
        """
        self.config.app = self.wsgi
        try:
            self.config.load()
        except Exception as error:
            if self.life is not None:
                self.life.boot_failed(error)
            self.log.exception("the worker could not boot")
            sys.exit(ExitCode.NEVER_READY)


class Worker(PoolWorker, UvicornWorker):
    """uvicorn-worker's class, as a worker of the pool."""
