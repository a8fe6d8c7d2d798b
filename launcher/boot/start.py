"""What is known of a start, should it fail?

And what is done then, in this order: nobody can connect any more, the error is said, it is reported and told to
plugins, nobody answers probes any more. Nothing that goes wrong with that is a reason for another exit code.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

from launcher.boot.context import Context
from launcher.boot.sockets import close_listeners
from launcher.boot.watch import Watch
from launcher.boot.watched_start import WatchedStart
from launcher.errors import LauncherError
from launcher.log import log
from launcher.plan import Plan
from launcher.servers import Listener, ServerCommand
from launcher.settings.topics import Settings

Tell = Callable[[LauncherError], object]
_KUBERNETES = "/dev/termination-log"  # looked for before the module that knows what to do with it is imported


class Start:
    """How far `launcher.boot.sequence` has come; each part is set as soon as it is there.

    tell: says an error to the user, once.
    """

    def __init__(self, settings: Settings, watch: Watch, tell: Tell) -> None:
        """Begin with the settings."""
        self.settings, self.watch, self.tell = settings, watch, tell
        self.seen: WatchedStart | None = None
        self.plan: Plan | None = None
        self.context: Context | None = None
        self.listeners: tuple[Listener, ...] = ()

    @contextlib.contextmanager
    def or_told(self) -> Iterator[None]:
        """Report what goes wrong in here, and tidy up."""
        try:
            yield
        except BaseException as error:
            self._fail(error)
            raise

    def _fail(self, error: BaseException) -> None:
        close_listeners(self.listeners)
        try:
            with _no_fault_of_ours():
                from launcher.boot.failed_start import report  # seldom

                report(self, error)
        finally:
            if self.seen is not None:
                self.seen.end()
        with _no_fault_of_ours():
            from launcher.boot.failed_start import last_words

            last_words(self, error)

    @functools.cached_property
    def told_in(self) -> dict[str, str]:
        """Where it is told what went wrong, as it crosses to monitor and server (JSON).

        `folder` of the reports and `termination_log`: "" when there is none; `because`: why there is no folder.
        """
        from launcher.incidents.place import crash_folder

        named = self.settings.incidents.crash_dir
        folder, because = crash_folder(self.settings.environ, self.settings.cwd / named if named else None)
        return {"folder": str(folder or ""), "termination_log": self._termination_log(), "because": because}

    @property
    def app(self) -> str:
        """The import string of the application, "" as long as it is not known."""
        return self.plan.app.import_string if self.plan is not None and self.plan.app is not None else ""

    @property
    def release(self) -> str:
        """The release id, "" as long as it is not known."""
        return self.context.release_so_far if self.context is not None else ""

    def say_doubts(self) -> None:
        """Say that reports will be in memory only, or nothing in the termination log, as long as it can be changed."""
        if self.told_in["because"]:
            log.warning("launcher.crash_folder_refused", because=self.told_in["because"])
        if self.settings.incidents.termination_log is not None:
            from launcher.incidents.termination import TerminationLog  # where one was named

            words = TerminationLog(Path(self.told_in["termination_log"]))
            words.write("asgi-launcher: booting")
            if words.because:
                log.warning("launcher.termination_log_refused", because=words.because)

    def crossing(self, command: ServerCommand) -> ServerCommand:
        """Let the server keep the monitor and the reports. One by a plugin that takes no handover cannot."""
        if command.handover is None:
            return command
        more: dict[str, object] = {"incidents": {**self.told_in, "app": self.app, "release": self.release}}
        if self.seen is not None:
            self.seen.know_release(self.release)
            more["monitor"] = self.seen.crossing()
        return dataclasses.replace(command, handover={**command.handover, **more})

    def _termination_log(self) -> str:
        if (named := self.settings.incidents.termination_log) is not None:
            return str(self.settings.cwd / named)
        if not os.path.exists(_KUBERNETES):  # noqa: PTH110 - a string, in every start
            return ""
        from launcher.incidents.termination import default_path

        return str(default_path() or "")


@contextlib.contextmanager
def _no_fault_of_ours() -> Iterator[None]:
    """Let the error of the start be the one that is raised."""
    try:
        yield
    except Exception:  # noqa: BLE001 - see above
        import traceback

        log.error("launcher.incident_fault", exception=traceback.format_exc())
