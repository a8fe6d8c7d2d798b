"""Which template do workers come from, before, during and after a reload?

Only with gunicorn's `preload_app`; without it there is none, and everything here says so.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.limits.footprint import counted
from launcher.scoreboard import Slot
from launcher.serving.evidence import Evidence
from launcher.serving.gunicorn.template import Template, TemplateFailedError, become_subreaper

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter


class Templates:
    """The one in use, the one of a reload that is not ready yet, and the one to go back to."""

    def __init__(self, arbiter: LauncherArbiter) -> None:
        """Begin without any."""
        self._arbiter = arbiter
        self._current: Template | None = None
        self._next: Template | None = None
        self._before: Template | None = None
        self._switching = self._is_reload = False

    @property
    def used(self) -> bool:
        """Whether workers come from a template; until the first reload with `preload_app` is under way they do not."""
        return self._current is not None or (self._wanted and not self._switching)

    @property
    def _wanted(self) -> bool:
        return bool(self._arbiter.cfg.preload_app)

    def can_start(self) -> bool:
        """Tell whether a worker can be forked. Raises TemplateFailedError, OSError; the next call begins anew."""
        if not self.used:
            return True
        if self._current is None:
            self._current = self._start()
        try:
            return self._current.look()
        except TemplateFailedError:
            self._current = None
            raise

    def fork(self, slot: Slot, evidence: Evidence, age: int) -> int:
        """Have a worker forked; return its pid.

        Raises OSError, TemplateFailedError. A template that does not answer, or not yet, is there again some time.
        """
        if not self.can_start() or self._current is None:
            raise OSError("the application is not imported yet")
        try:
            return self._current.fork(slot, evidence, age)
        except (TimeoutError, ConnectionError):
            self._current = self._end(self._current)
            raise

    def size_bytes(self) -> int:
        """Return how large the one in use is, shared with its workers or not; 0 when there is none."""
        pid = None if self._current is None else self._current.pid
        with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended, or there is no /proc
            return counted(Path(f"/proc/{pid}"))[0] if pid else 0
        return 0

    def prepare(self) -> None:
        """A reload begins: import anew beside what is there. Raises TemplateFailedError, OSError."""
        self._switching = self._is_reload = True
        self._next = self._start() if self._wanted else None

    def switch(self) -> bool:
        """Use the new one as soon as it is ready. Raises TemplateFailedError."""
        try:
            if self._next is not None and not self._next.look():
                return False
        except TemplateFailedError:
            self._next = None
            raise
        if self._switching:
            self._before, self._current, self._next = self._current, self._next, None
            self._switching = False
        return True

    def keep_new(self) -> None:
        """The reload went well."""
        self._before, self._is_reload = self._end(self._before), False

    def keep_old(self) -> None:
        """The reload went wrong, perhaps before anything was imported: then what there is stays as it is."""
        if not self._is_reload:
            return
        self._is_reload = False
        self._next = self._end(self._next)
        if not self._switching:
            self._current, self._before = self._before, self._end(self._current)
        self._switching = False

    def ended(self, pid: int, status: int) -> None:
        """Take note of a child that was reaped with this wait status.

        Its pid is nobody's, and the next worker begins with a new template.
        """
        for template in self._all():
            if template.pid == pid:
                template.gone, template.status = True, status
        self._current, self._before = self._without(self._current), self._without(self._before)

    def end(self) -> None:
        """End all of them."""
        self._current, self._next, self._before = map(self._end, (self._current, self._next, self._before))

    def close_in_child(self) -> None:
        """In a forked process: they are the arbiter's."""
        for template in self._all():
            template.close()
        self._current = self._next = self._before = None

    def _all(self) -> list[Template]:
        return [template for template in (self._current, self._next, self._before) if template is not None]

    def _start(self) -> Template:
        become_subreaper()
        return Template.start(self._arbiter, self._arbiter.loop.pool.rules.startup_timeout_s)

    @staticmethod
    def _without(template: Template | None) -> Template | None:
        """Return a template, unless it was ready once and is no more. What kept another from it `look` has to say."""
        if template is None or not (template.gone and template.ready):
            return template
        template.close()
        return None

    @staticmethod
    def _end(template: Template | None) -> None:
        if template is not None:
            template.end()
