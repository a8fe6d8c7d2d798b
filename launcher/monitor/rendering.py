"""How do numbers become text that a scraper reads?

prometheus_client does it, in a child that is forked for it and gone a moment later: what it imports is several times
what the monitor is. The monitor waits for nothing: the child's answer comes through a pipe. One child works at a time,
whoever asks meanwhile gets the same answer, and so does who asks within a second.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

from launcher.kernel import die_with_parent
from launcher.monitor.connection import Answer, Reply, Request
from launcher.monitor.metrics import Metric

LIMIT_S = 5.0  # of a child; Prometheus itself waits for 10 s
FRESH_S = 1.0  # so that no client has us use more than a few per cent of a CPU
_MOST_WAITING = 64  # clients; far below what the monitor keeps connections for
_MOST_UNREAPED = 2  # that were killed, and have not ended: they wait for a disk
_MOST_BYTES = 1 << 24
_CHUNK_BYTES = 1 << 16
_SECONDS_ALONE = 2 * int(LIMIT_S)  # of a child whose monitor was stopped
_TEXT = "text/plain; version=0.0.4; charset=utf-8"
_OPENMETRICS = "application/openmetrics-text"
_OPENMETRICS_TEXT = f"{_OPENMETRICS}; version=1.0.0; charset=utf-8"


class RenderingFailed(Exception):
    """A child has said what was wrong; a bug of ours, or of the package."""


@dataclass(slots=True)
class _Child:
    """One that works: its process, the pipe it answers through, until when, what has come."""

    pid: int
    pipe: int
    until: float
    content: bytearray = field(default_factory=bytearray)


class Rendering:
    """Answers `/metrics`. `look` has to be called about once a second."""

    def __init__(
        self,
        watch: Callable[[int, Callable[[], None]], None],
        forget: Callable[[int], None],
        measure: Callable[[], Sequence[Metric]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Have `watch` call us when the pipe can be read, until `forget`; `measure` returns what is to be rendered."""
        self._watch, self._forget, self._measure, self._clock = watch, forget, measure, clock
        self._child: _Child | None = None
        self._waiting: list[tuple[Request, Answer]] = []
        self._unreaped: list[int] = []
        self._said: dict[str, Any] = {}
        self._said_at = -FRESH_S

    def __call__(self, request: Request, answer: Answer) -> None:
        """Answer, when there is something to answer with."""
        if self._child is None and self._clock() - self._said_at < FRESH_S:
            answer(_reply(request, self._said))
        elif len(self._waiting) >= _MOST_WAITING:
            answer(_failed("too many scrapes at once"))
        else:
            self._waiting.append((request, answer))
            if self._child is None:
                self._begin()

    def look(self) -> None:
        """End a child that takes too long, and bury those that have ended."""
        self._reap()
        if self._child is not None and self._clock() >= self._child.until:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._child.pid, signal.SIGKILL)
            self._end({"failed": f"metrics were not rendered within {LIMIT_S:g} s"})

    def _begin(self) -> None:
        self._reap()
        try:
            if len(self._unreaped) > _MOST_UNREAPED:
                self._tell({"failed": "those who rendered before have not ended"})
                return
            self._child = self._fork(self._measure())
        except OSError as error:
            self._tell({"failed": f"metrics cannot be rendered: {error}"})
        except Exception:
            self._tell({"failed": "metrics cannot be rendered"})
            raise
        else:
            self._watch(self._child.pipe, self._read)

    def _fork(self, metrics: Sequence[Metric]) -> _Child:
        """Start a child. Raises OSError."""
        ours, its = os.pipe()
        monitor = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(ours)
            os.close(its)
            raise
        if not pid:
            _work(its, monitor, metrics)
        os.close(its)
        os.set_blocking(ours, False)
        return _Child(pid, ours, self._clock() + LIMIT_S)

    def _read(self) -> None:
        child = self._child
        if child is None:
            return
        try:
            chunk = os.read(child.pipe, _CHUNK_BYTES)
        except BlockingIOError:
            return
        child.content += chunk
        if not chunk or len(child.content) > _MOST_BYTES:
            self._end(_parsed(bytes(child.content)))

    def _end(self, said: dict[str, Any]) -> None:
        """Hand on what a child has said; the child ends by itself, or was killed."""
        child, self._child = self._child, None
        if child is not None:
            self._forget(child.pipe)
            os.close(child.pipe)
            self._unreaped.append(child.pid)
            self._reap()
        self._tell(said)
        if error := said.get("error"):
            raise RenderingFailed(error)

    def _tell(self, said: dict[str, Any]) -> None:
        self._said, self._said_at = said, self._clock()
        waiting, self._waiting = self._waiting, []
        for request, answer in waiting:
            answer(_reply(request, said))

    def _reap(self) -> None:
        self._unreaped = [pid for pid in self._unreaped if not _has_ended(pid)]


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:
        return True


def _reply(request: Request, said: dict[str, Any]) -> Reply:
    if said.get("missing"):
        return Reply(501, b"metrics need prometheus_client: pip install asgi-launcher[metrics]\n")
    if "error" in said:
        return Reply(500, b"metrics could not be rendered: the log of the launcher says why\n")
    if "failed" in said:
        return _failed(said["failed"])
    if _OPENMETRICS in request.headers.get("accept", ""):
        return Reply(200, said["openmetrics"].encode(), _OPENMETRICS_TEXT)
    return Reply(200, said["text"].encode(), _TEXT)


def _failed(because: str) -> Reply:
    return Reply(503, f"{because}\n".encode())


def _parsed(content: bytes) -> dict[str, Any]:
    try:
        said: dict[str, Any] = json.loads(content)
    except ValueError:  # it was killed
        return {"failed": "whoever rendered has ended before the answer"}
    return said


# What follows is done by the child.


def _work(pipe: int, monitor: int, metrics: Sequence[Metric]) -> NoReturn:
    """Render, say it, and end; nothing else of the monitor's is done here."""
    try:
        _be_alone(pipe, monitor)
        content = json.dumps(_rendered(metrics)).encode()
        while content:
            content = content[os.write(pipe, content) :]
    finally:
        os._exit(0)


def _be_alone(pipe: int, monitor: int) -> None:
    """Keep nothing of the monitor's: neither its clients nor its deafness."""
    gc.disable()  # an object of the monitor's that is collected would close a descriptor that is another's by now
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(signum, signal.SIG_DFL)
    signal.alarm(_SECONDS_ALONE)
    die_with_parent()
    if os.getppid() != monitor:
        os._exit(0)
    _close_all_but(pipe)


def _close_all_but(kept: int) -> None:
    try:
        # Not `closerange` to the limit: where the C library has no close_range(2), a limit of a billion takes minutes.
        fds = [int(path.name) for path in Path("/dev/fd").iterdir()]
    except OSError:
        fds = list(range(1 << 12))
    for fd in fds:
        if fd > 2 and fd != kept:  # noqa: PLR2004 - stderr's, in every program
            with contextlib.suppress(OSError):
                os.close(fd)


def _rendered(metrics: Sequence[Metric]) -> dict[str, Any]:
    try:
        from prometheus_client.core import CollectorRegistry
        from prometheus_client.exposition import generate_latest
        from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

        registry = CollectorRegistry()
        registry.register(_Collector(metrics))
        openmetrics: bytes = generate_openmetrics(registry)  # type: ignore[no-untyped-call]  # the package's gap
        return {"text": generate_latest(registry).decode(), "openmetrics": openmetrics.decode()}
    except ModuleNotFoundError as error:
        if error.name == "prometheus_client":
            return {"missing": True}
        return _error()
    except Exception:  # noqa: BLE001 - the monitor says it
        return _error()


def _error() -> dict[str, Any]:
    import traceback

    return {"error": traceback.format_exc()}


class _Collector:
    """What prometheus_client asks for metrics (its `registry.Collector`)."""

    def __init__(self, metrics: Sequence[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> list[Any]:
        """Return prometheus_client's own records."""
        from prometheus_client.core import Metric as Family

        families = []
        for metric in self._metrics:
            family = Family(metric.name, metric.help, metric.kind, metric.unit)
            for sample in metric.samples:
                family.add_sample(metric.name + sample.suffix, sample.labels, float(sample.value))
            families.append(family)
        return families
