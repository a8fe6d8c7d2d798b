"""Who is served now?

Every client of every listener, in one thread that never waits for any of them. What one may cost is bounded: time,
size, and how many there are; above that, whoever has been silent longest has to go.
"""

from __future__ import annotations

import errno
import socket
import time
from collections.abc import Callable
from selectors import EVENT_READ, BaseSelector

from launcher.monitor.connection import Answer, Connection, Handler, Phase, Reply, Request

MOST_CONNECTIONS = 512
_ACCEPTED_AT_ONCE = 64  # of a listener in a turn: those who are connected come first again
# Of accept(2). Out of descriptors or memory: then somebody has to go. No listener (any more): nobody comes. What else
# there is, is of a client that has gone meanwhile.
_EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_NO_LISTENER = frozenset({errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP})

Admits = Callable[[socket.socket], bool]  # whether who has connected may ask for anything


def anybody(_: socket.socket) -> bool:
    """Admit whoever can reach us."""
    return True


def _forbid(_request: Request, answer: Answer) -> None:
    answer(Reply(403, b"forbidden\n", headers=(("Connection", "close"),)))


class Web:
    """Accepts and serves. Its callbacks are the data of the selector's keys; whoever turns the loop calls them.

    crowd: how many connections there were at most; whoever looks at it may set it back.
    """

    def __init__(
        self,
        selector: BaseSelector,
        handler: Handler,
        *,
        most: int = MOST_CONNECTIONS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Answer by `handler`; keep `most` connections."""
        self._selector, self._handler, self._most, self._clock = selector, handler, most, clock
        self.crowd = 0
        self._clients: dict[Connection, int] = {}  # -> events in the selector; the first has been silent longest
        self._again: set[Connection] = set()
        self._paused: list[tuple[socket.socket, Callable[[], None]]] = []

    def __len__(self) -> int:
        """Return how many connections there are."""
        return len(self._clients)

    @property
    def hurried(self) -> bool:
        """Whether there is something to do for which no event will come."""
        return bool(self._again)

    def listen(self, listener: socket.socket, *, local: bool, admits: Admits = anybody) -> None:
        """Accept on a socket that listens; `local`: it is the Unix socket."""
        listener.settimeout(0)
        self._selector.register(listener, EVENT_READ, lambda: self._accept(listener, admits, local=local))

    def catch_up(self) -> None:
        """Do what no event will come for; call it in each turn of the loop."""
        again, self._again = self._again, set()
        for client in again:
            self._turn(client)

    def look(self) -> None:
        """End who is too slow; call it about once a second."""
        now = self._clock()
        for client in [client for client in self._clients if now > client.deadline]:
            self._end(client)
        while self._paused:
            listener, accept = self._paused.pop()
            self._selector.register(listener, EVENT_READ, accept)

    def _accept(self, listener: socket.socket, admits: Admits, *, local: bool) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            try:
                sock, _address = listener.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_LISTENER or (error.errno in _EXHAUSTED and not self._make_room()):
                    self._pause(listener)
                    return
                continue
            if len(self) < self._most or self._make_room():
                self._begin(sock, self._handler if admits(sock) else _forbid, local=local)
            else:
                sock.close()

    def _begin(self, sock: socket.socket, handler: Handler, *, local: bool) -> None:
        sock.settimeout(0)
        client = Connection(sock, handler, self._keep_up, local=local, clock=self._clock)
        self._clients[client] = 0
        self.crowd = max(self.crowd, len(self))
        self._turn(client)  # most have sent their request already

    def _turn(self, client: Connection) -> None:
        deadline = client.deadline
        try:
            client.turn()
        finally:
            if client.deadline != deadline and client in self._clients:  # it has got on: to the end of the line
                self._clients[client] = self._clients.pop(client)
            self._keep_up(client)

    def _keep_up(self, client: Connection) -> None:
        """Bring the selector up to what a connection waits for."""
        if (registered := self._clients.get(client)) is None:
            return
        wanted = client.wants
        if wanted != registered:
            if registered:
                self._selector.unregister(client.sock)
            if wanted:
                self._selector.register(client.sock, wanted, lambda: self._turn(client))
            self._clients[client] = wanted
        if client.phase is Phase.CLOSED:
            del self._clients[client]
            client.sock.close()
        (self._again.add if client.again else self._again.discard)(client)

    def _end(self, client: Connection) -> None:
        client.end()
        self._keep_up(client)

    def _make_room(self) -> bool:
        """End who has been silent longest, over TCP if there is one: the Unix socket is how a person steers us."""
        remote = (client for client in self._clients if client.idle and not client.local)
        client = next(remote, None) or next((client for client in self._clients if client.idle), None)
        if client is not None:
            self._end(client)
        return client is not None

    def _pause(self, listener: socket.socket) -> None:
        """Accept nobody until the next look: whoever waits would wake us for ever."""
        self._paused.append((listener, self._selector.get_key(listener).data))
        self._selector.unregister(listener)
