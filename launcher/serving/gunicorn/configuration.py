"""What does gunicorn's configuration say about the pool, and how is it read again?

The user's own configuration (gunicorn.conf.py, GUNICORN_CMD_ARGS) may say otherwise than the launcher: what gunicorn
made of all of them counts.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING, Any

from launcher.errors import UsageError
from launcher.serving.gunicorn.forked import adopt
from launcher.serving.gunicorn.worker_class import refuse_wsgi
from launcher.serving.pool.wanted import Standing
from launcher.serving.rules import Rules

if TYPE_CHECKING:
    from launcher.serving.gunicorn.arbiter import LauncherArbiter


class Configuration:
    """The configuration in force, and the one before while a reload tries a new one."""

    def __init__(self, arbiter: LauncherArbiter) -> None:
        """Read nothing yet."""
        self._arbiter = arbiter
        self._before: Any = None
        self._standing: Standing | None = None  # how many workers there were to be by then

    def rules(self) -> Rules:
        """Return what was decided about the pool, with what gunicorn's configuration says."""
        cfg, rules = self._arbiter.cfg, self._arbiter.crossed.rules
        return dataclasses.replace(
            rules,
            workers=max(1, cfg.workers),
            growth=rules.growth if cfg.workers == rules.workers else None,  # else the user's own words say how many
            worker_timeout_s=float(cfg.timeout),
            graceful_timeout_s=float(cfg.graceful_timeout),
        )

    def certificates(self) -> list[str]:
        """Return the files whose change is a reason to reload: certificate, key."""
        cfg = self._arbiter.cfg
        return [path for path in (cfg.certfile, cfg.keyfile) if path] if cfg.is_ssl else []

    def load_new(self) -> None:
        """Read it again. Raises UsageError, and nothing has changed."""
        arbiter, before = self._arbiter, self._arbiter.cfg
        environ = dict(os.environ)
        self._put_back_environment(before)
        try:
            arbiter.app.reload()
            _check_worker_class(arbiter.app.cfg, before)
        except (Exception, SystemExit) as error:
            arbiter.app.cfg = before
            os.environ.clear()
            os.environ.update(environ)
            if isinstance(error, SystemExit):
                raise UsageError(f"gunicorn's configuration ends with {error.code}; its message stands above") from None
            raise
        self._before, self._standing = before, arbiter.loop.pool.size.standing(arbiter.loop.pool)
        try:
            self._take(arbiter.app.cfg, before)
            arbiter.cfg.on_reload(arbiter)
        except SystemExit as end:
            raise UsageError(f"a hook called sys.exit({end.code!r})") from None

    def keep_new(self) -> None:
        """Forget the one before."""
        self._before = self._standing = None

    def keep_old(self) -> None:
        """Take the one before back. Whatever its hooks raise: the pool goes on with what could be taken."""
        if self._before is not None:
            new, self._before = self._arbiter.cfg, self._before
            self._put_back_environment(new)
            self._arbiter.app.cfg = self._before
            try:
                self._take(self._before, new, self._standing)
            except (Exception, SystemExit):
                self._arbiter.log.exception("the configuration of before could not be taken back as a whole")
            self._before = self._standing = None

    def prepare(self) -> None:
        """Put our hooks before the user's."""
        cfg = self._arbiter.cfg
        pre_fork, post_fork, post_worker_init = cfg.pre_fork, cfg.post_fork, cfg.post_worker_init

        def forking(server: Any, worker: Any) -> None:
            try:
                pre_fork(server, worker)
            except SystemExit as end:  # of the arbiter's, it would be the server's end
                raise RuntimeError(f"pre_fork called sys.exit({end.code!r})") from None

        def begin(server: Any, worker: Any) -> None:
            if self._arbiter.child is not None:
                self._arbiter.child.begin()
            post_fork(server, worker)

        def initialised(worker: Any) -> None:
            adopt(worker)
            post_worker_init(worker)

        if not getattr(post_fork, "of_the_launcher", False):
            begin.of_the_launcher = True  # type: ignore[attr-defined]  # a function's own attribute
            cfg.set("pre_fork", forking)
            cfg.set("post_fork", begin)
            cfg.set("post_worker_init", initialised)

    def _take(self, cfg: Any, before: Any, standing: Standing | None = None) -> None:
        """Let the arbiter run with `cfg`. A scaled pool keeps its size, unless `cfg` has another than `before`.

        standing: what there was with `cfg`; it is come back to, unless somebody has said another number since.
        """
        arbiter, pool = self._arbiter, self._arbiter.loop.pool
        arbiter.setup(arbiter.app)
        arbiter.log.reopen_files()
        pool.adopt(self.rules())
        if cfg.workers != before.workers and standing is None:
            pool.scale(cfg.workers)
        elif cfg.workers != before.workers and standing and pool.wanted + pool.size.given_up == before.workers:
            pool.size.restore(pool, standing)
        if cfg.workers != (wanted := pool.wanted):
            arbiter.resized(wanted)  # gunicorn has just taken the number of its configuration

    @staticmethod
    def _put_back_environment(cfg: Any) -> None:
        """Undo `raw_env`, as gunicorn does before it reads its configuration again."""
        for name in cfg.env:
            if name in cfg.env_orig:
                os.environ[name] = cfg.env_orig[name]
            else:
                os.environ.pop(name, None)


def _check_worker_class(cfg: Any, before: Any) -> None:
    """Raise UsageError for a new class that the launcher would have refused at the start."""
    new, old = (one.settings["worker_class"].get() for one in (cfg, before))
    if new != old:
        refuse_wsgi(new)
