"""What does a plugin send over HTTP, and what does it make of each answer, or of none?"""

from __future__ import annotations

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple, TypeVar

OPENED_S = 30.0  # a test that forgets to open what it has closed ends all the same


class Got(NamedTuple):
    """A request, and the status it was answered with."""

    path: str
    headers: dict[str, str]
    body: bytes
    status: int

    @property
    def unpacked(self) -> bytes:
        """The body without its compression."""
        return gzip.decompress(self.body) if self.headers.get("Content-Encoding") == "gzip" else self.body


class Receiver(ThreadingHTTPServer):
    """A real server on loopback that keeps what is sent to it, and takes it: 200, unless it is told otherwise.

    answers: the next answers, a status or (status, headers) each; 200 when there are none left. says: the body of each.
    open: while it is cleared, nobody is answered. scheme: of its address, for a test that puts TLS in front.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.got: list[Got] = []
        self.answers: list[int | tuple[int, Mapping[str, str]]] = []
        self.says = b""
        self.open = threading.Event()
        self.open.set()
        self.scheme = "http"

    @property
    def address(self) -> str:
        """Where it listens: host and port."""
        return f"127.0.0.1:{self.server_port}"

    def take(self, path: str, headers: Mapping[str, str], body: bytes) -> tuple[int, Mapping[str, str]]:
        """Keep a request; return the status and the headers of its answer."""
        answer = self.answers.pop(0) if self.answers else 200
        status, more = (answer, {}) if isinstance(answer, int) else answer
        self.got.append(Got(path, dict(headers), body, status))
        return status, more

    def handle_error(self, *_: object) -> None:
        """Say nothing of who does not wait for an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers = self.server.take(self.path, dict(self.headers), body)
        self.server.open.wait(OPENED_S)
        self.send_response(status)
        for name, value in {"Location": "/elsewhere", "Content-Length": str(len(self.server.says)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(self.server.says)

    def do_GET(self) -> None:
        """Keep it: nobody should ask, not even who was sent elsewhere."""
        self.server.got.append(Got(self.path, dict(self.headers), b"", 404))
        self.send_error(404)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


R = TypeVar("R", bound=Receiver)


@contextmanager
def receiving(receiver: R) -> Iterator[R]:
    """Let it serve for the length of the block."""
    thread = threading.Thread(target=receiver.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.open.set()
        receiver.shutdown()
        thread.join()
        receiver.server_close()
