"""Which template do workers come from, before, during and after a reload?

Only with gunicorn's `preload_app`; without it there is none, and everything here says so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.serving.gunicorn.template import Template, TemplateFailedError, become_subreaper

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter


class Templates:
    """The one in use, the one of a reload that is not ready yet, and the one to go back to."""

    def __init__(self, arbiter: LauncherArbiter) -> None:
        """Begin without any."""
        self._arbiter = arbiter
        self.current: Template | None = None
        self._next: Template | None = None
        self._before: Template | None = None
        self._switching = False

    @property
    def _wanted(self) -> bool:
        return bool(self._arbiter.cfg.preload_app)

    def can_start(self) -> bool:
        """Tell whether a worker can be forked. Raises TemplateFailedError; the next call begins anew."""
        if self.current is None:
            if not self._wanted:
                return True
            become_subreaper()
            self.current = self._start()
        try:
            return self.current.look()
        except TemplateFailedError:
            self.current = None
            raise

    def prepare(self) -> None:
        """A reload begins: import anew beside what is there."""
        self._switching = True
        self._next = self._start() if self._wanted else None
        if self._next is not None:
            become_subreaper()

    def switch(self) -> bool:
        """Use the new one as soon as it is ready. Raises TemplateFailedError."""
        try:
            if self._next is not None and not self._next.look():
                return False
        except TemplateFailedError:
            self._next = None
            raise
        if self._switching:
            self._before, self.current, self._next = self.current, self._next, None
            self._switching = False
        return True

    def keep_new(self) -> None:
        """The reload went well."""
        self._before = self._end(self._before)

    def keep_old(self) -> None:
        """The reload went wrong."""
        self._next = self._end(self._next)
        if not self._switching:
            self.current, self._before = self._before, self._end(self.current)
        self._switching = False

    def ended(self, pid: int) -> None:
        """Take note of a child that was reaped: without a template the next worker begins with a new one."""
        if self.current is not None and self.current.pid == pid and self.current.ready:
            self.current.close()
            self.current = None

    def end(self) -> None:
        """End all of them."""
        self.current, self._next, self._before = map(self._end, (self.current, self._next, self._before))

    def _start(self) -> Template:
        return Template.start(self._arbiter, self._arbiter.loop.pool.rules.startup_timeout_s)

    @staticmethod
    def _end(template: Template | None) -> None:
        if template is not None:
            template.end()
