"""Is it up yet?

`python -P -m launcher.steps.wait_for_child SECONDS`, the address on standard input. Exit code 0: up; 69: not within
the time, with the last reason. A wrong password or an unknown database is said and tried again: databases come up in
stages, accounts last. Each try is made in a thread, since name look-ups and drivers may block beyond any time limit.
"""

from __future__ import annotations

import os
import random
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

from launcher.databases import DatabaseUnreachable, TableMissing, ask, redact

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0
_TRY_S = 5.0  # one connect; a firewall that drops packets would hold it for minutes
_SAY_EVERY_S = 3.0
_EX_UNAVAILABLE = 69  # sysexits.h
_UP = range(200, 400)


def main(seconds: float, address: str) -> int:
    """Try until it is up or the time is over; return the exit code."""
    deadline = time.monotonic() + seconds
    jitter = random.Random(os.urandom(16))  # noqa: S311 - spreads replicas that started together
    pause, said_at = _FIRST_PAUSE_S, 0.0
    name = redact(address)
    while reason := _try(address, min(_TRY_S, max(0.1, deadline - time.monotonic()))):
        now = time.monotonic()
        if now >= deadline:
            _say(f"{name} was not up within {seconds:g} s: {reason}")
            return _EX_UNAVAILABLE
        if now - said_at >= _SAY_EVERY_S:
            _say(f"waiting for {name}: {reason}")
            said_at = now
        time.sleep(min(pause * jitter.uniform(0.5, 1.0), max(0.0, deadline - now)))
        pause = min(pause * 2, _LONGEST_PAUSE_S)
    _say(f"{name} is up")
    return 0


def _try(address: str, timeout_s: float) -> str | None:
    """Return why it is not up, or None when it is."""
    answers: list[str | None] = []
    thread = threading.Thread(target=lambda: answers.append(_reason(address, timeout_s)), daemon=True)
    thread.start()
    thread.join(timeout_s + 1.0)
    return answers[0] if answers else f"no answer within {timeout_s:g} s"


def _reason(address: str, timeout_s: float) -> str | None:
    scheme = address.partition("://")[0].lower()
    try:
        if scheme == "tcp":
            _tcp(address, timeout_s)
        elif scheme in {"http", "https"}:
            return _http(address, timeout_s)
        else:
            ask(address, "SELECT 1", connect_timeout_s=timeout_s)
    except (DatabaseUnreachable, TableMissing) as error:
        return str(error)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is why it is not up
        return redact(str(error) or type(error).__name__)
    return None


def _tcp(address: str, timeout_s: float) -> None:
    parts = urlsplit(address)
    socket.create_connection((parts.hostname, parts.port or 0), timeout_s).close()


def _http(address: str, timeout_s: float) -> str | None:
    """Ask without following redirects: a 3xx is an answer of the server we wait for."""
    import http.client

    parts = urlsplit(address)
    kind = http.client.HTTPSConnection if parts.scheme.lower() == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname or "", parts.port, timeout=timeout_s)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        connection.request(
            "GET", path, headers={"Connection": "close", "User-Agent": "asgi-launcher", **_login(address)}
        )
        status = connection.getresponse().status
    finally:
        connection.close()
    return None if status in _UP else f"HTTP {status}"


def _login(address: str) -> dict[str, str]:
    from base64 import b64encode
    from urllib.parse import unquote

    parts = urlsplit(address)
    if parts.username is None:
        return {}
    login = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    return {"Authorization": f"Basic {b64encode(login.encode()).decode()}"}


def _say(text: str) -> None:
    sys.stderr.write(" ".join(text.split()) + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    code = main(float(sys.argv[1]), sys.stdin.buffer.read().decode(errors="surrogateescape").strip())
    os._exit(code)  # a look-up that hangs in its thread must not hold us
