"""How does an application that is tried get its requests?

A few at the same time, each on a connection of its own, over the trial's Unix socket, until somebody says that it is
enough. What the answers are does not matter; that there are some is what makes workers grow.
"""

from __future__ import annotations

import socket
import string
import threading
import time
from collections import Counter
from urllib.parse import quote

_AT_ONCE = 4
_PATIENCE_S = 10.0  # an answer that streams for ever is let go
_MOST_BYTES = 64 << 20
_PAUSE_S = 0.05
_ENOUGH = 200  # for the pilot: 50 for each of two workers, or 100 for one of them; its next look may take a second
NO_ANSWER = "none"


class Asking:
    """Asks for one path again and again. answers: how often which status came."""

    def __init__(self, address: str, path: str) -> None:
        """Ask nothing yet."""
        self._address, self._request = address, _request(path)
        self._over = threading.Event()
        self._threads: list[threading.Thread] = []
        self.answers: Counter[str] = Counter()

    def begin(self) -> None:
        """Ask from now on; once."""
        if not self._threads:
            self._threads = [threading.Thread(target=self._ask, daemon=True) for _ in range(_AT_ONCE)]
            for thread in self._threads:
                thread.start()

    def end(self) -> None:
        """Ask no more."""
        self._over.set()

    def _ask(self) -> None:
        while not self._over.is_set():
            status = _status(self._address, self._request)
            if self._over.is_set():  # the server may be on its way out
                return
            self.answers[status] += 1
            if status == NO_ANSWER or self.answers.total() > _ENOUGH:
                self._over.wait(_PAUSE_S)


def _request(path: str) -> bytes:
    target = quote(path if path.startswith("/") else f"/{path}", safe=string.punctuation)
    return f"GET {target} HTTP/1.1\r\nHost: localhost\r\nUser-Agent: launcher\r\nConnection: close\r\n\r\n".encode()


def _status(address: str, request: bytes) -> str:
    """Return the status of one answer, read to its end."""
    until = time.monotonic() + _PATIENCE_S
    head, size = b"", 0
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE_S)
            connection.connect(address)
            connection.sendall(request)
            while (chunk := connection.recv(1 << 16)) and size < _MOST_BYTES and time.monotonic() < until:
                head, size = head or chunk, size + len(chunk)
    except OSError:
        pass
    words = head.split(b" ", 2)
    return words[1].decode(errors="replace")[:3] if words[0].startswith(b"HTTP/") and len(words) > 1 else NO_ANSWER
