"""How does a test wait for something without sleeping a fixed time?"""

from __future__ import annotations

import socket
import time
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

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
    """Return a TCP port on which nobody listens now (the kernel's choice; it goes round before it repeats one)."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
