"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

import gzip
import json
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from support.projects import MakeProject, write_project
from support.spawning import Launch, Spawner

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path


@dataclass
class Receiver:
    """A Sentry of this test's: what it was sent, and how it answers.

    answers: status and headers of the next answers; 200 when there are none left. closed: no answer while it is set.
    """

    port: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)
    paths: list[str] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str]]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)
    over: threading.Event = field(default_factory=threading.Event)

    @property
    def dsn(self) -> str:
        """Where to send to."""
        return f"http://public@127.0.0.1:{self.port}/42"

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, dict[str, str]]:
        """Note an envelope that is taken; return the answer."""
        self.paths.append(path)
        self.headers.append(headers)
        if self.closed.is_set():
            self.over.wait(30)
        status, more = self.answers.pop(0) if self.answers else (200, {})
        if status == 200:
            self.raw.append(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
            self.events += _events(self.raw[-1])
        return status, more


def _events(envelope: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of an envelope (develop.sentry.dev/sdk/data-model/envelopes): a header, then header and item."""
    first, _, rest = envelope.partition(b"\n")
    assert json.loads(first)["event_id"]
    while rest:
        head, _, rest = rest.partition(b"\n")
        header = json.loads(head)
        length = header.get("length", len(rest.partition(b"\n")[0]))
        if header["type"] == "event":
            yield json.loads(rest[:length])
        rest = rest[length:].removeprefix(b"\n")


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver

    def do_POST(self) -> None:
        """Take an envelope."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.receiver.take(self.path, dict(self.headers), body)
        try:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
        except ConnectionError:  # who asked has not waited
            return

    def log_message(self, *_: Any) -> None:
        """Say nothing on stderr."""


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    """Run a receiver; what this process sends goes past the developer's proxy and environment."""
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "SENTRY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    receiver = Receiver()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"receiver": receiver}))
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield receiver
    receiver.over.set()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Spawner]:
    """Start any command, as the core's fixture does."""
    spawner = Spawner(tmp_path / "processes")
    yield spawner
    spawner.end()


@pytest.fixture
def launch(spawn: Spawner) -> Launch:
    """Start the launcher, as the core's fixture does."""
    return spawn.launch


@pytest.fixture
def project(tmp_path: Path) -> MakeProject:
    """Write an application, as the core's fixture does."""

    def make(files: Mapping[str, str], name: str = "project") -> Path:
        return write_project(tmp_path / name, files)

    return make
