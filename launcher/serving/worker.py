"""What does a uvicorn worker of gunicorn's get to know beyond what uvicorn-worker hands on?"""

from __future__ import annotations

import signal
import sys
from typing import Any

from uvicorn_worker import UvicornWorker

from launcher.errors import ExitCode

# Of the graceful timeout, for requests: the rest is for the lifespan's shutdown, before the arbiter kills.
_SHARE_FOR_REQUESTS = 0.9


class Worker(UvicornWorker):
    """uvicorn-worker's class, with the root path, the graceful timeout and uvicorn's own variables."""

    def __init__(self, *args: Any) -> None:
        """Make uvicorn's configuration."""
        app, cfg = args[3], args[5]
        self.CONFIG_KWARGS = {
            **type(self).CONFIG_KWARGS,
            "root_path": cfg.root_path or "",
            "timeout_graceful_shutdown": cfg.graceful_timeout * _SHARE_FOR_REQUESTS,
            **getattr(app, "uvicorn_options", {}),
        }
        super().__init__(*args)

    def run(self) -> None:
        """Serve. uvicorn raises the signal that ended it again: left to kill us, it would skip `worker_exit` hooks."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, lambda *_: sys.exit(0))
        self._load()
        super().run()

    def _load(self) -> None:
        """Make what uvicorn would make in its loop, where a failure (TLS files) is one of a running worker to gunicorn.

        gunicorn starts such a worker again and again; one that cannot boot is exit code 3.
        """
        self.config.app = self.wsgi
        try:
            self.config.load()
        except Exception:
            self.log.exception("the worker could not boot")
            sys.exit(ExitCode.NEVER_READY)
