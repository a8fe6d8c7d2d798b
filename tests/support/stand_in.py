"""Who answers when a test of the commands needs no pool?

`python stand_in.py JSON` makes a management socket as the launcher does, prints its address, and serves it. Keys:
`runtime_dir`; `named`: the pid in its name; `answers`: path ->
[status, text]; `status`: what `/status` tells; `outcome`: [code, because] of every POST, after `after_s`; `deaf`: it
accepts nothing; `breaks`: so many connections are closed without an answer. POSTs are printed.
"""

from __future__ import annotations

import http.server
import json
import os
import signal
import socketserver
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.instances import bind

if TYPE_CHECKING:
    import socket

ASKED: dict[str, Any] = json.loads(sys.argv[1])
DEFAULT = {"/livez?verbose": [200, "[+]launcher ok\nlivez check passed\n"]}


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers as it was told to."""

    def do_GET(self) -> None:
        """Answer a probe or tell the status."""
        if self.path == "/status":
            own = {"pid": os.getpid(), "app": "main:app", "cwd": str(Path.cwd())}
            self.answer(200, json.dumps({**own, **ASKED.get("status", {})}))
        else:
            self.answer(*{**DEFAULT, **ASKED.get("answers", {})}.get(self.path, [404, "not found\n"]))

    def do_POST(self) -> None:
        """Print what was asked, and tell the outcome."""
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        say(f"{self.path} {body}")
        threading.Event().wait(ASKED.get("after_s", 0))
        code, because = ASKED.get("outcome", [0, ""])
        self.answer(200, json.dumps({"code": code, "because": because}))
        if self.path == "/stop" and not code:
            threading.Timer(ASKED.get("stops_after_s", 0.2), os.kill, (os.getpid(), signal.SIGKILL)).start()

    def answer(self, status: int, text: str) -> None:
        """Send it."""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text.encode())))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class Server(socketserver.ThreadingMixIn, socketserver.BaseServer):
    """Serves a socket that is there already."""

    daemon_threads = True
    breaks: int = ASKED.get("breaks", 0)

    def __init__(self, bound: socket.socket) -> None:
        """Listen to it."""
        super().__init__(("", 0), Handler)
        self.socket = bound

    def fileno(self) -> int:
        """Return what to wait for."""
        return self.socket.fileno()

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """Accept; a peer without an address is nobody for the base class."""
        connection, _ = self.socket.accept()
        return connection, ("", 0)

    def verify_request(self, request: object, client_address: object) -> bool:  # noqa: ARG002 - the base class's
        """Tell whether it is answered; connections that only look are counted too."""
        self.breaks -= 1
        return self.breaks < 0


def say(line: str) -> None:
    """Tell the test."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until it is killed."""
    pid = int(ASKED.get("named", os.getpid()))
    bound, address = bind(os.environ, ASKED.get("runtime_dir"), pid)
    say(address)
    if ASKED.get("deaf"):
        signal.pause()
    Server(bound).serve_forever()


if __name__ == "__main__":
    main()
