"""What do the server and the monitor say to each other?

One JSON object a message, over a pair of sockets that keep messages apart: events (`{"event": name, ...facts}`), asks
(`{"ask": "reload" | "scale" | "recycle" | "stop", "id": int, ...}`) and answers to them (`{"answer": id, "code": int,
"because": str}`). Nobody waits for the other side, nor is brought down by it: what it does not read is not sent, what
it sends and is no message is dropped.
"""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Mapping
from typing import Any

MOST_BYTES = 1 << 16  # of one message
_MOST_AT_ONCE = 1000  # messages; who floods us must not keep us from everything else


def pair() -> tuple[int, int]:
    """Return the descriptors of both ends, not inheritable; each is for one `Channel`. Raises OSError."""
    # macOS has no SOCK_SEQPACKET for Unix sockets: there, the end of the other side is seen by sending only.
    kind = socket.SOCK_SEQPACKET if sys.platform == "linux" else socket.SOCK_DGRAM
    ends = socket.socketpair(socket.AF_UNIX, kind)
    for end in ends:
        if end.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) < MOST_BYTES:  # the largest message, on macOS 2 KiB
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MOST_BYTES)
    return ends[0].detach(), ends[1].detach()


class Channel:
    """One end. It owns its descriptor and closes it.

    gone: the other side was seen to have ended. The descriptor stays readable then, so that nobody should wait on it.
    """

    def __init__(self, fd: int) -> None:
        """Take over one of the descriptors of `pair`. Raises OSError when it is no socket."""
        self._socket = socket.socket(fileno=fd)
        self._socket.setblocking(False)  # noqa: FBT003 - its only signature
        self.gone = False

    def fileno(self) -> int:
        """Return the descriptor, to wait on it; -1 once closed."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any]) -> bool:
        """Send it, without waiting. False: too large, or the other side does not read, or is gone.

        What JSON does not know (a path, an exception) is sent as its `str`.
        """
        content = json.dumps(message, default=str).encode()
        if len(content) > MOST_BYTES:
            return False
        try:
            return self._socket.send(content) == len(content)
        except ConnectionError:  # EPIPE and the like
            self.gone = True
        except OSError:  # EAGAIN, and ENOBUFS on macOS: it does not read
            pass
        return False

    def receive(self) -> list[dict[str, Any]]:
        """Return all messages that are waiting, without waiting for any. Never raises for what was sent."""
        messages: list[dict[str, Any]] = []
        for _ in range(_MOST_AT_ONCE):
            try:
                content = self._socket.recv(MOST_BYTES + 1)
            except ConnectionError:  # it ended without having read what we sent; what it said is still to be read
                self.gone = True
                continue
            except OSError:
                break
            if not content:  # no message is empty: this is the end
                self.gone = True
                break
            if (message := _message(content)) is not None:
                messages.append(message)
        return messages

    def close(self) -> None:
        """Close the descriptor. Closed already is fine."""
        self._socket.close()


def _message(content: bytes) -> dict[str, Any] | None:
    if len(content) > MOST_BYTES:
        return None
    try:
        message = json.loads(content)
    except (ValueError, RecursionError):  # not JSON, not UTF-8; brackets by the thousand
        return None
    return message if isinstance(message, dict) else None
