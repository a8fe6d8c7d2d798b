"""How does gunicorn's own asgi worker serve as a worker of the pool?

As `server.PoolServer` does, as far as it allows: docs/reference/servers.md says what differs. Its loop is our own,
because gunicorn's looks once a second, ends a kept-alive connection without a word, and gives a lifespan 30 s before it
serves without one.

What we lean on: tests/contract/test_worker_assumptions.py.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import asyncio
import signal
import sys
from typing import Any, NoReturn

from gunicorn.asgi.lifespan import LifespanManager, LifespanStartupFailed
from gunicorn.workers.gasgi import ASGIWorker

from launcher.errors import ExitCode
from launcher.serving.gunicorn.asgi_closing import AsgiClosing, Connection
from launcher.serving.workers import life
from launcher.serving.workers.closing import stop_accepting
from launcher.serving.workers.event_streams import EventStreams
from launcher.serving.workers.life import Life
from launcher.serving.workers.lifespan import Lifespan, ended
from launcher.serving.workers.pulse import TICK_S, Pulse
from launcher.serving.workers.wrapped import wrapped


class AsgiWorker(ASGIWorker):
    """gunicorn's class, as a worker of the pool; without one (`life.current`), as gunicorn runs it."""

    knows_the_pool = True
    life: Life | None = None
    closing = False  # whether responses say `Connection: close`
    asgi: Any
    loop: Any
    lifespan: Any

    def init_process(self) -> None:
        """Import the application and serve. In here, gunicorn changes the user."""
        self.life = life.current
        if self.life is None:
            super().init_process()
            return
        self.connections: set[Connection] = set()
        self.streams, self.starting = EventStreams(), Lifespan()
        self._most_requests, self.max_requests = self.max_requests, sys.maxsize  # gunicorn would end, one worker short
        with self.life.booting():
            super().init_process()

    def init_signals(self) -> None:
        """Set handlers; it comes after the change of user. Gunicorn's, once set, could not be taken out of uvloop."""
        if self.life is None:
            super().init_signals()
            return
        for number in self.SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGUSR1, self.handle_usr1)  # the loop's would go with the loop, and USR1 then kill us
        self.life.again()

    def load_wsgi(self) -> None:
        """Import the application."""
        super().load_wsgi()
        if self.life is not None:
            self.asgi = wrapped(self.asgi, self.life.slot, self.starting, self.streams, self.life.rules)

    async def _serve(self) -> None:
        """Start the lifespan and the servers, serve, end all of them."""
        if self.life is None:
            await super()._serve()
            return
        self.pulse = Pulse(self.life.slot)
        beats = asyncio.create_task(self._beats())
        try:
            with self.life.booting():
                await self._start(self.life)
            self.life.ready()
            while self.alive and not self.life.obey():  # its reloader, for development, ends it so
                if self.nr >= self._most_requests:
                    self.life.slot.retiring = True
                await asyncio.sleep(TICK_S)
            await self._shutdown()
        finally:
            beats.cancel()
            self.pulse.tick()  # what the last requests have counted

    async def _beats(self) -> None:
        """Give signs of life; leave a boot when asked: nobody is connected yet."""
        while True:
            self.pulse.tick()
            if self.life is not None and not self.servers and not self.closing and self.life.obey():
                sys.exit(ExitCode.OK)
            await asyncio.sleep(TICK_S)

    # Boot.

    async def _start(self, mine: Life) -> None:
        mine.lifespan()
        if self.cfg.asgi_lifespan != "off":
            self.lifespan = await self._started(mine, forced=self.cfg.asgi_lifespan == "on")
        ssl_context = self._get_ssl_context()
        for listener in self.sockets:
            self.servers.append(
                await self.loop.create_server(lambda: Connection(self), sock=listener.sock, ssl=ssl_context)
            )

    async def _started(self, mine: Life, *, forced: bool) -> _Manager | None:
        """Return the application's lifespan; None when it has none, which is an error when one is `forced`."""
        manager = _Manager(self.asgi, self.log, self.state)
        try:
            await manager.startup()
        except LifespanStartupFailed as failure:
            mine.boot_failed(str(failure))
        except RuntimeError as failure:
            if forced:
                mine.boot_failed(self.starting.error or failure)
            return None
        return manager

    def _get_ssl_context(self) -> Any:
        """Return the context for TLS. gunicorn itself goes on without one when it cannot be made: in clear text."""
        context = super()._get_ssl_context()
        if self.cfg.is_ssl and context is None:
            self._cannot_boot("the certificate could not be loaded")
        return context

    def _cannot_boot(self, because: str) -> NoReturn:
        if self.life is not None:
            self.life.boot_failed(because)
        sys.exit(ExitCode.NEVER_READY)

    # The end.

    async def _shutdown(self) -> None:
        """Stop to accept, end the connections, end the application's lifespan."""
        if self.life is None:
            await super()._shutdown()
            return
        mine = self.life
        mine.draining()
        self.closing = True  # `alive` stays: without it, gunicorn closes what it has said it would keep
        await stop_accepting(self.servers, ())
        await AsgiClosing(self, mine.rules.graceful_timeout_s, lambda: mine.hurried).run()
        self.alive = False
        self._quick_shutdown = True  # what is left has been given its time; gunicorn waits for it without end
        if self.lifespan is not None:
            await ended(self.lifespan.shutdown(), lambda: mine.hurried, None)


class _Manager(LifespanManager):
    """gunicorn's lifespan, which has as long to start as the pool gives it; gunicorn's own gives up after 30 s."""

    async def startup(self) -> None:
        """Start; RuntimeError as gunicorn's, LifespanStartupFailed when the application says that it failed."""
        await self._receive_queue.put({"type": "lifespan.startup"})
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.4"}, "state": self.state}
        self._task = asyncio.create_task(self._run_lifespan(scope))
        await self._startup_complete.wait()
        if self._startup_failed:
            self._task.cancel()
            raise (LifespanStartupFailed if self._startup_reported else RuntimeError)(
                self._startup_error or "the application said that its lifespan failed to start"
            )
