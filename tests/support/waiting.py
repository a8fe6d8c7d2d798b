"""How does a test wait for something without sleeping a fixed time?"""

from __future__ import annotations

import itertools
import os
import random
import socket
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

T = TypeVar("T")

POLL_S = 0.01


def until(condition: Callable[[], T], what: str, timeout_s: float = 10) -> T:
    """Return the first truthy result of `condition`; after `timeout_s` an AssertionError naming `what`."""
    deadline = time.monotonic() + timeout_s
    while not (result := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s:g} s in vain for: {what}")
        time.sleep(POLL_S)
    return result


def free_port() -> int:
    """Return a TCP port on which nobody listens now, and that nobody is given soon.

    Below those that the kernel gives to clients (from 32768 on; macOS from 49152), which are many while tests run; each
    process that runs tests has its own, and goes round.
    """
    for port in _ports:
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("ports never end")


def _own_ports() -> Iterator[int]:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % 20
    first = random.randrange(1000)  # noqa: S311 - another run may be on the same machine
    return (12_000 + number * 1000 + (first + step) % 1000 for step in itertools.count())


_ports = _own_ports()
