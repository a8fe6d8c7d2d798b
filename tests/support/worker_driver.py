"""What starts workers as an arbiter would, so that a test can look at one without the pool?

Run as a program: `worker_driver.py '{"kind": "uvicorn", "port": 8000, ...}'` in a project's folder. It reads a word and
a number from each line of its standard input (`start 0`, `stop 0`, `quick 0`, `term 0`, `stacks 0`, `abort 0`,
`look 0`) and writes a JSON line for each event to standard output. It ends, and kills its workers, with its input.

kind: `uvicorn` (uvicorn's server), `gunicorn` (gunicorn's uvicorn worker), `asgi` (gunicorn's own).
config: keyword arguments for uvicorn.Config. settings: of gunicorn. rules: of the pool.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types.

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import socket
import sys
from typing import TYPE_CHECKING, Any, NoReturn

from launcher.scoreboard import Board, Stage
from launcher.serving.evidence import Evidence
from launcher.serving.rules import Rules
from launcher.serving.workers.life import STACKS, Life

if TYPE_CHECKING:
    from collections.abc import Callable

_SIGNALS = {"term": signal.SIGTERM, "int": signal.SIGINT, "abort": signal.SIGABRT, "stacks": STACKS}


def say(event: str, **facts: object) -> None:
    """Write an event."""
    sys.stdout.write(json.dumps({"event": event, **facts}) + "\n")
    sys.stdout.flush()


class Driver:
    """The parent of the workers."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.asked = asked
        self.rules = Rules(**asked.get("rules", {}))
        self.board = Board.create()
        bound = socket.create_server(("127.0.0.1", asked["port"]), backlog=512)
        self.listener = socket.socket(fileno=bound.detach())  # with its protocol: asyncio sets TCP_NODELAY only then
        self.lifeline, self._end = os.pipe()
        self.evidence: dict[int, Evidence] = {}
        self.pids: dict[int, int] = {}  # pid -> slot

    def run(self) -> None:
        """Carry out what is asked until the input ends."""
        wake, woken = os.pipe()
        os.set_blocking(woken, False)
        signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        with selectors.DefaultSelector() as selector:
            selector.register(0, selectors.EVENT_READ)
            selector.register(wake, selectors.EVENT_READ)
            rest = b""
            while True:
                ready = {key.fd for key, _ in selector.select()}
                if wake in ready:
                    os.read(wake, 1024)
                if 0 in ready:
                    read = os.read(0, 1024)
                    if not read:
                        return
                    *lines, rest = (rest + read).split(b"\n")
                    for line in lines:
                        self.obey(*line.decode().split())
                self.reap()

    def obey(self, word: str, number: str) -> None:
        """Carry out one line."""
        slot = self.board.slot(int(number))
        if word == "start":
            self.start(int(number))
        elif word in {"stop", "quick"}:
            slot.asked = 1 if word == "stop" else 2
            os.kill(slot.pid, signal.SIGTERM)
        elif word in {"silently", "hurry"}:
            slot.asked = 1 if word == "silently" else 2
        elif word == "look":
            state = slot.read()
            flying = [[entry.method, entry.path] for entry in state.in_flight]
            facts = {name: getattr(state, name) for name in ("pid", "retiring", "heartbeat", "lag_s", "requests")}
            evidence = self.evidence[int(number)].read()
            say("looked", slot=int(number), stage=state.stage.name, flying=flying, evidence=evidence, **facts)
        else:
            os.kill(slot.pid, _SIGNALS[word])

    def start(self, number: int) -> None:
        """Fork a worker."""
        slot = self.board.slot(number)
        slot.clear(generation=1, number=number + 1)
        evidence = self.evidence[number] = Evidence.create()
        life = Life(slot, evidence, os.getpid(), self.lifeline, self.rules)
        serve = _KINDS[self.asked["kind"]](self)
        pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            os.close(self._end)
            _leave(life, serve)
        slot.pid = pid
        self.pids[pid] = number

    def reap(self) -> None:
        """Say who ended, and how."""
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = ended
                number = self.pids.pop(pid)
                state = self.board.slot(number).read()
                say(
                    "ended",
                    slot=number,
                    code=os.waitstatus_to_exitcode(status),
                    stage=Stage(state.stage).name,
                    evidence=self.evidence[number].read(),
                )


def _leave(life: Life, serve: Callable[[Life], None]) -> NoReturn:
    code: Any = 1
    try:
        life.begin()
        serve(life)
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as an arbiter's fork: nothing may come back out of it
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _uvicorn(driver: Driver) -> Callable[[Life], None]:
    def serve(life: Life) -> None:
        from uvicorn.config import Config

        from launcher.serving.workers.server import PoolServer

        config = Config("main:app", log_level="warning", access_log=False, **driver.asked.get("config", {}))
        PoolServer(config, life, driver.rules).run([driver.listener])

    return serve


def _gunicorn(worker_class: str) -> Callable[[Driver], Callable[[Life], None]]:
    def make(driver: Driver) -> Callable[[Life], None]:
        worker = _gunicorn_worker(driver, worker_class)

        def serve(_: Life) -> None:
            worker.pid = os.getpid()
            worker.init_process()

        return serve

    return make


def _gunicorn_worker(driver: Driver, worker_class: str) -> Any:
    """Return a worker as gunicorn's arbiter makes it."""
    from gunicorn.app.wsgiapp import WSGIApplication
    from gunicorn.sock import create_sockets

    class Application(WSGIApplication):
        cfg: Any
        uvicorn_options: Any = driver.asked.get("config", {})

        def load_config(self) -> None:
            self.cfg.set("default_proc_name", "main:app")
            self.app_uri = "main:app"
            bind = [f"fd://{os.dup(driver.listener.fileno())}"]
            settings = {"worker_class": worker_class, "bind": bind, "loglevel": "warning", "keepalive": 30}
            for name, value in (settings | driver.asked.get("settings", {})).items():
                self.cfg.set(name, value)

    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds str
    application: Any = Application()
    log = application.cfg.logger_class(application.cfg)
    sockets = create_sockets(application.cfg, log)
    return application.cfg.worker_class(1, os.getpid(), sockets, application, 15, application.cfg, log)


_KINDS: dict[str, Callable[[Driver], Callable[[Life], None]]] = {
    "uvicorn": _uvicorn,
    "gunicorn": _gunicorn("launcher.serving.gunicorn.worker.Worker"),
    "asgi": _gunicorn("launcher.serving.gunicorn.asgi_worker.AsgiWorker"),
}


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - sys.path holds str
    Driver(json.loads(sys.argv[1])).run()
