"""How does uvicorn's server serve as a worker of the pool, and how by itself?

In the pool, the arbiter says when to stop (`slot.asked`), whatever signals come. By itself, with no arbiter, it has the
pool's manners: the first signal starts the drain delay, one more ends it, another ends the waiting for requests; QUIT
waits for nothing.

What we lean on: tests/contract/test_worker_assumptions.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from types import FrameType
from typing import TYPE_CHECKING, Any, cast

from uvicorn.server import Server

from launcher.errors import ExitCode
from launcher.log import WORKER_PATIENCE_S, be_patient
from launcher.serving.rules import Rules
from launcher.serving.workers.closing import stop_accepting
from launcher.serving.workers.haste import Asked
from launcher.serving.workers.life import Life
from launcher.serving.workers.lifespan import Lifespan, ended
from launcher.serving.workers.pulse import TICK_S, Pulse
from launcher.serving.workers.uvicorn_closing import UvicornClosing
from launcher.serving.workers.wrapped import wrapped

if TYPE_CHECKING:
    from uvicorn.config import Config

if TYPE_CHECKING:
    from launcher.scoreboard import Slot
    from launcher.serving.workers.own_health import OwnHealth

_log = logging.getLogger("uvicorn.error")


class PoolServer(Server):
    """uvicorn's server. `life` is None when it is a process of its own, with no arbiter above it.

    noted_in: the slot in which requests are noted, if any.
    """

    def __init__(self, config: Config, life: Life | None, rules: Rules) -> None:
        super().__init__(config)
        self.life, self.rules = life, rules
        self.noted_in: Slot | None = life.slot if life else None
        self._pulse = Pulse(self.noted_in) if self.noted_in else None
        self._own_health: OwnHealth | None = None
        self._leave_at: float | None = None  # by itself: when the drain delay is over
        self._asked_to_leave = Asked()
        self._most_requests = self.limit_max_requests
        if life:
            self.limit_max_requests = None  # uvicorn would end at once, and leave the pool one worker short

    # Boot.

    def run(self, sockets: list[socket.socket] | None = None) -> None:
        """Serve until it is over. As with `uvicorn` itself, modules are imported before there is an event loop."""
        with self._booting():
            if not self.config.loaded:
                self.config.load_app()
            loop_factory = self.config.get_loop_factory()
        run_in_loop(lambda: self.serve(sockets), loop_factory)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Make the application, start it, serve."""
        if not self.life:
            be_patient(WORKER_PATIENCE_S)
        with self._booting():
            if not self.config.loaded:
                self.config.load()
        app: Any = self.config.loaded_app  # uvicorn's own types name each message
        with self._booting():
            self.config.loaded_app = cast("Any", wrapped(app, self.noted_in, Lifespan(), rules=self.rules))
            if self.noted_in and self.rules.health_worker:
                self._own_health = own_health(self.rules.health_worker, self.noted_in)
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application's lifespan, then to listen."""
        if self.life:
            self.life.lifespan()
        watch = asyncio.create_task(self._leave_a_boot())
        try:
            with self._booting():
                await super().startup(sockets)
        finally:
            watch.cancel()
        if self.life and self.started:
            self.life.ready()

    def _booting(self) -> contextlib.AbstractContextManager[None]:
        return self.life.booting() if self.life else contextlib.nullcontext()

    async def _leave_a_boot(self) -> None:
        """Leave when that is wanted before the application has started: nobody is connected yet."""
        while True:
            await asyncio.sleep(TICK_S)
            self._beat()
            if self.leaving:
                sys.exit(ExitCode.OK)

    # Serving.

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take the signals while serving, and do not end by them: the exit code is 0, not 143."""
        before = signal.getsignal(signal.SIGQUIT)
        with super().capture_signals():
            signal.signal(signal.SIGQUIT, self.handle_exit)
            try:
                yield
            finally:
                self._captured_signals.clear()
                signal.signal(signal.SIGQUIT, before)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - uvicorn's signature
        """Note that somebody wants us to end. In the pool, `on_tick` asks who."""
        if self.life:
            return
        now = time.monotonic()
        if self._asked_to_leave.repeats(sig, now):
            return
        if sig == signal.SIGQUIT:
            self._leave_at, self.force_exit = now, True
        elif self._leave_at is None:
            at_a_terminal = sig == signal.SIGINT and sys.stdin is not None and sys.stdin.isatty()
            self._leave_at = now if at_a_terminal else now + self.rules.drain_delay_s
        elif now < self._leave_at:
            self._leave_at = now
        else:
            self.force_exit = True

    async def on_tick(self, counter: int) -> bool:
        """Do what is done ten times a second; tell whether to stop."""
        over = await super().on_tick(counter)
        self._beat()
        if not self.life:
            return over or (self._leave_at is not None and time.monotonic() >= self._leave_at)
        if self._most_requests is not None and self.server_state.total_requests >= self._most_requests:
            self.life.slot.retiring = True
        return over or self.leaving

    def _beat(self) -> None:
        if self._pulse:
            self._pulse.tick()
        if self._own_health:
            self._own_health.tick()

    # The end.

    @property
    def leaving(self) -> bool:
        """Whether the end has been asked for; by itself the drain delay may still run."""
        return self.life.obey() if self.life else self._leave_at is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop to accept, end the connections, end the application's lifespan."""
        _log.info("Shutting down")
        if self.life:
            self.life.draining()
        until = None if self.life else time.monotonic() + self.rules.graceful_timeout_s
        beats = asyncio.create_task(self._beats())
        try:
            await stop_accepting(self.servers, sockets or ())
            await self._closing().run()
            if not await ended(self.lifespan.shutdown(), self._is_hurried, until):
                _log.error("The application's lifespan did not end in time")
        finally:
            beats.cancel()
            self._beat()  # what the last requests have counted

    def _closing(self) -> UvicornClosing:
        grace_s, tls = self.rules.graceful_timeout_s, self.config.is_ssl
        return UvicornClosing(self.server_state, grace_s, self._is_hurried, tls=tls)

    def _is_hurried(self) -> bool:
        return self.life.hurried if self.life else self.force_exit

    async def _beats(self) -> None:
        while True:
            self._beat()
            await asyncio.sleep(TICK_S)


def run_in_loop(
    serve: Callable[[], Coroutine[Any, Any, None]], loop_factory: Callable[[], asyncio.AbstractEventLoop] | None
) -> None:
    """Run to the end. One that never began, because a signal came first, is closed: Python would warn on stderr."""
    from uvicorn._compat import asyncio_run

    serving = None
    try:
        serving = serve()
        asyncio_run(serving, loop_factory=loop_factory)
    finally:
        if serving is not None:
            serving.close()


def own_health(target: str, slot: Slot) -> OwnHealth:
    """Return what asks the application, in this worker, whether it is well. Raises PluginError."""
    from launcher.serving.workers.own_health import OwnHealth  # threads: only where it is asked for

    return OwnHealth(target, slot)
