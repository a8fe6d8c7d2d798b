"""How does gunicorn's arbiter end?

Only its ending is changed: a boot failure is exit code 3, always, and without a traceback of its own (gunicorn 27: 3,
4, or 1 with a HaltServer traceback when a second worker fails while the first failure is dealt with).
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

from typing import Any

from gunicorn.arbiter import Arbiter
from gunicorn.errors import HaltServer

from launcher.errors import ExitCode


class LauncherArbiter(Arbiter):
    """gunicorn's arbiter with the launcher's exit codes."""

    log: Any  # gunicorn.glogging.Logger, or the class that was configured
    ending = False

    def start(self) -> None:
        """Start to listen. The files of our sockets are ours to remove: gunicorn would remove systemd's too."""
        super().start()
        self.systemd = True

    def reap_workers(self) -> None:
        """Collect the workers that ended; while we end, none of them is a reason to end."""
        while True:
            try:
                super().reap_workers()
            except HaltServer:
                if not self.ending:
                    raise
            else:
                return

    def stop(self, graceful: bool = True) -> None:  # noqa: FBT001, FBT002 - gunicorn's signature
        """Stop the workers."""
        self.ending = True
        super().stop(graceful)

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        """End. gunicorn tells "could not boot" (3) from "could not load" (4): to the outside both were never ready."""
        failed = exit_status in (self.WORKER_BOOT_ERROR, self.APP_LOAD_ERROR)
        super().halt(reason, int(ExitCode.NEVER_READY) if failed else exit_status)

    def handle_usr2(self) -> None:
        """Refuse: the new arbiter would not go through the pre-start steps."""
        self.log.warning("USR2 refused: it would start new code without its pre-start steps; start another launcher")
