"""Which addresses can be bound, and what is said about those that cannot?"""

from __future__ import annotations

import os
import socket
import stat
from typing import TYPE_CHECKING, Any

import pytest

from launcher.boot.addresses import Inherited, Tcp, Unix, parse_address
from launcher.boot.sockets import close_listeners, ignored_addresses, open_listeners
from launcher.errors import UsageError
from launcher.origin import Origin, OriginKind, Sourced
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from launcher.servers import Listener

ORIGIN = Origin(OriginKind.ENVIRONMENT, "BIND")


class Opener:
    """Opens listeners that are closed at the end of the test."""

    def __init__(self) -> None:
        self.opened: list[Listener] = []

    def __call__(
        self, *addresses: str, listen: bool = False, environ: Mapping[str, str] | None = None
    ) -> list[Listener]:
        """Open them, with a resolver that knows one name."""
        sourced = [Sourced(address, ORIGIN) for address in addresses]
        listeners = open_listeners(sourced, listen=listen, environ=environ or {}, resolve=no_names)
        self.opened += listeners
        return list(listeners)


def no_names(*asked: Any) -> list[tuple[Any, ...]]:
    """Know one name, and fail for every other as a resolver does."""
    if asked[0] == "known.example":
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", asked[1]))]
    raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.fixture
def opener() -> Iterator[Opener]:
    """Open listeners, close them after the test."""
    opener = Opener()
    yield opener
    close_listeners(opener.opened)


def accepts(address: tuple[str, int] | str, family: int = socket.AF_INET) -> bool:
    """Tell whether somebody listens."""
    with socket.socket(family) as client:
        return client.connect_ex(address) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("127.0.0.1:80", Tcp("127.0.0.1", 80)),
        (":80", Tcp("0.0.0.0", 80)),
        ("80", Tcp("0.0.0.0", 80)),
        ("name.example", Tcp("name.example", 8000)),
        ("[::1]:80", Tcp("::1", 80)),
        ("[::]", Tcp("::", 8000)),
        ("unix:run/x.sock", Unix("run/x.sock")),
        ("unix:///run/x.sock", Unix("/run/x.sock")),
        ("fd://3", Inherited(3)),
    ],
)
def test_spellings(text: str, expected: Tcp | Unix | Inherited) -> None:
    """Every spelling of gunicorn is understood."""
    assert expected == parse_address(Sourced(text, ORIGIN))


@pytest.mark.parametrize("text", ["", "::1", "a:b", "fd://x", "unix:", "1.2.3.4:99999", "http://x"])
def test_what_is_no_address_names_its_origin(text: str) -> None:
    """The message says what was written and where."""
    with pytest.raises(UsageError, match=r"\(BIND\)"):
        parse_address(Sourced(text, ORIGIN))


def test_bound_is_not_listening(opener: Opener) -> None:
    """Before the exec nobody can connect, and no program we start inherits the socket."""
    (listener,) = opener("127.0.0.1:0")
    port = int(listener.address.rpartition(":")[2])

    assert port > 0
    assert not accepts(("127.0.0.1", port))
    assert not os.get_inheritable(listener.fd)


def test_bind_early_listens(opener: Opener) -> None:
    """With `listen` connections are taken at once."""
    (listener,) = opener("127.0.0.1:0", listen=True)

    assert accepts(("127.0.0.1", int(listener.address.rpartition(":")[2])))


def test_a_bound_port_is_taken_before_it_listens(opener: Opener) -> None:
    """Two launchers on one port: the second one knows before its steps, not when the first one listens."""
    (listener,) = opener("127.0.0.1:0")

    with pytest.raises(UsageError, match=r"\(BIND\) is in use"):
        opener(listener.address)


def test_nothing_stays_open_after_a_refusal(opener: Opener) -> None:
    """When one of several addresses cannot be had, the others are given back."""
    (listener,) = opener("127.0.0.1:0")
    port = free_port()
    with pytest.raises(UsageError, match="in use"):
        opener(f"127.0.0.1:{port}", listener.address)

    assert opener(f"127.0.0.1:{port}")


def test_a_name_is_resolved(opener: Opener) -> None:
    """Names are asked of the resolver that was passed in, and are shown as they were written."""
    (listener,) = opener("known.example:0")

    assert listener.address.startswith("known.example:")


def test_an_unknown_name_says_so(opener: Opener) -> None:
    """A host that cannot be resolved is named with its origin."""
    with pytest.raises(UsageError, match=r"unknown.example:80 \(BIND\) cannot be resolved"):
        opener("unknown.example:80")


def test_an_address_of_another_host_says_so(opener: Opener) -> None:
    """An address that this host does not have is named with its origin (192.0.2.0/24 is for documentation)."""
    with pytest.raises(UsageError, match=r"192.0.2.1:0 \(BIND\) is not an address of this host"):
        opener("192.0.2.1:0")


def test_ipv6_beside_ipv4(opener: Opener) -> None:
    """`0.0.0.0` and `[::]` can be asked for together."""
    port = free_port()
    listeners = opener(f"0.0.0.0:{port}", f"[::]:{port}", listen=True)

    assert [f"0.0.0.0:{port}", f"[::]:{port}"] == [listener.address for listener in listeners]
    assert accepts(("::1", port), socket.AF_INET6)


def test_unix_socket_can_be_used_by_everybody(opener: Opener, tmp_path: Path) -> None:
    """A proxy of another user must be able to connect."""
    path = tmp_path / "app.sock"
    opener(f"unix:{path}", listen=True)

    assert stat.S_IMODE(path.stat().st_mode) == 0o666
    assert accepts(str(path), socket.AF_UNIX)


def test_a_stale_unix_socket_is_replaced(opener: Opener, tmp_path: Path) -> None:
    """What a killed server left behind is in nobody's way."""
    path = tmp_path / "app.sock"
    with socket.socket(socket.AF_UNIX) as old:
        old.bind(str(path))

    assert opener(f"unix:{path}")


@pytest.mark.parametrize("listen", [True, False], ids=["listening", "bound"])
def test_a_live_unix_socket_is_taken(opener: Opener, tmp_path: Path, listen: bool) -> None:  # noqa: FBT001 - a parameter
    """A socket that somebody stands behind is never removed, not even while that one's steps still run."""
    path = tmp_path / "app.sock"
    opener(f"unix:{path}", listen=listen)

    with pytest.raises(UsageError, match="in use"):
        opener(f"unix:{path}")


def test_a_file_is_never_removed(opener: Opener, tmp_path: Path) -> None:
    """What is not a socket was put there by somebody."""
    path = tmp_path / "app.sock"
    path.write_text("mine")

    with pytest.raises(UsageError, match="not a socket"):
        opener(f"unix:{path}")
    assert path.read_text() == "mine"


def test_a_missing_folder_says_so(opener: Opener, tmp_path: Path) -> None:
    """The message names the path."""
    with pytest.raises(UsageError, match="No such file or directory"):
        opener(f"unix:{tmp_path}/missing/app.sock")


def test_closing_removes_socket_files(tmp_path: Path) -> None:
    """A start that ends before the exec leaves no socket file behind."""
    path = tmp_path / "app.sock"
    close_listeners(Opener()(f"unix:{path}"))

    assert not path.exists()


def test_a_descriptor_must_be_a_bound_stream(opener: Opener, tmp_path: Path) -> None:
    """A file, a datagram socket or a socket without an address cannot serve."""
    with (
        socket.socket() as unbound,
        socket.socket(type=socket.SOCK_DGRAM) as datagram,
        (tmp_path / "x").open("w") as file,
    ):
        for fd in (unbound.fileno(), datagram.fileno(), file.fileno(), 999):
            with pytest.raises(UsageError, match=rf"fd://{fd} \(BIND\) is not a"):
                opener(f"fd://{fd}")


@pytest.mark.parametrize(
    "address",
    ["a..b:80", f"{'x' * 64}.example:80", "\udcff:80", "a\0b:80", "unix:a\0b", f"fd://{10**30}", f":{'1' * 5000}"],
    ids=["empty label", "long label", "no text", "null in host", "null in path", "no descriptor", "endless number"],
)
def test_what_python_cannot_even_ask_for_is_refused(address: str) -> None:
    """What makes the resolver or the kernel's interface raise something of their own is an address like any other."""
    with pytest.raises(UsageError, match=r"\(BIND\)"):
        open_listeners([Sourced(address, ORIGIN)], listen=False, environ={})


def test_a_descriptor_is_taken_over(opener: Opener) -> None:
    """A bound socket that our parent opened is used under its number."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    fd = bound.detach()

    assert [fd] == [listener.fd for listener in opener(f"fd://{fd}")]


def test_sockets_of_another_process_are_not_ours(opener: Opener) -> None:
    """LISTEN_FDS counts only when LISTEN_PID is this process (sd_listen_fds)."""
    (listener,) = opener("127.0.0.1:0", environ={"LISTEN_FDS": "1", "LISTEN_PID": "1"})

    assert listener.address.startswith("127.0.0.1:")


def test_addresses_that_systemd_overrides_are_said() -> None:
    """Beside systemd's sockets our own addresses are ignored, with the reason."""
    environ = {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
    (ignored,) = ignored_addresses([Sourced(":80", ORIGIN)], environ)

    assert (ignored.name, ignored.origin) == (":80", ORIGIN)
    assert not ignored_addresses([Sourced(":80", ORIGIN)], {})
