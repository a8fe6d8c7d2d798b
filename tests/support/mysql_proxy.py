"""How does a test get a proxy that stands between a client and a MySQL server?

Debian has none that speaks the protocol. This one calls sessions by numbers of its own, as ProxySQL and MaxScale do;
`shared` it also sends everybody's commands through the first client's connection, as a multiplexing pool does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_ITS_NUMBERS = 1_000_000
_QUIT, _OK, _EOF, _ERROR = 0x01, 0x00, 0xFE, 0xFF
_SHORT_EOF = 9  # below so many bytes 0xfe is the end of rows, and no length


class MysqlProxy:
    """Takes clients on `port`, for the server on `server_port`. For drivers that end rows with EOF: PyMySQL."""

    def __init__(self, server_port: int, *, shared: bool) -> None:
        """Listen on a free port of the kernel's choice."""
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server_port, self._shared = server_port, shared
        self._common: socket.socket | None = None
        self._turn = threading.Lock()
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._listen, daemon=True)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections and threads."""
        self._listener.shutdown(socket.SHUT_RDWR)
        for plug in [*self._open, self._listener]:
            with contextlib.suppress(OSError):
                plug.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)
        for plug in [*self._open, self._listener]:
            plug.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self._threads.append(threading.Thread(target=self._serve, args=(client,), daemon=True))
                self._threads[-1].start()

    def _serve(self, client: socket.socket) -> None:
        server = socket.create_connection(("127.0.0.1", self._server_port), timeout=10)
        self._open.append(server)
        with contextlib.suppress(OSError, EOFError):
            client.sendall(_renumbered(_packet(server)))
            while True:  # until the server lets the client in
                server.sendall(_packet(client))
                client.sendall(answer := _packet(server))
                if answer[4] in (_OK, _ERROR):
                    break
            if self._shared:
                self._common = self._common or server
            while (command := _packet(client))[4] != _QUIT:
                with self._turn if self._shared else contextlib.nullcontext():
                    self._one(client, self._common or server, command)
        client.close()
        if server is not self._common:  # the pool keeps its connection
            server.close()

    def _one(self, client: socket.socket, server: socket.socket, command: bytes) -> None:
        server.sendall(command)
        client.sendall(first := _packet(server))
        if first[4] in (_OK, _ERROR):
            return
        for _ in range(2):  # the columns, the rows
            while True:
                client.sendall(packet := _packet(server))
                if packet[4] == _ERROR:
                    return
                if packet[4] == _EOF and len(packet) - 4 < _SHORT_EOF:
                    break


@contextlib.contextmanager
def mysql_proxy(server_port: int, *, shared: bool) -> Iterator[MysqlProxy]:
    """Run a proxy for the length of the block."""
    proxy = MysqlProxy(server_port, shared=shared)
    try:
        yield proxy
    finally:
        proxy.close()


def _packet(plug: socket.socket) -> bytes:
    """Return one packet with its header of four bytes (length, number)."""
    header = _exactly(plug, 4)
    return header + _exactly(plug, int.from_bytes(header[:3], "little"))


def _exactly(plug: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = plug.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def _renumbered(greeting: bytes) -> bytes:
    """Return the server's first packet with another number of the session: after the version's NUL, four bytes."""
    at = greeting.index(0, 5) + 1
    number = int.from_bytes(greeting[at : at + 4], "little") + _ITS_NUMBERS
    return greeting[:at] + number.to_bytes(4, "little") + greeting[at + 4 :]
