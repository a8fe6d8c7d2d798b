"""Where do we listen?

The sockets are bound before any step runs, so that a taken port is known before anything is migrated; they listen from
the exec on, or at once with `listen` (`--bind-early`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from launcher.boot.addresses import ANY_HOST, Inherited, Tcp, Unix, parse_address
from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.servers import Listener

BACKLOG = 2048  # gunicorn's and uvicorn's default
_SD_LISTEN_FDS_START = 3  # sd_listen_fds(3)
_UNIX_UMASK = 0o111  # mode 0666: everybody may connect, as with uvicorn's sockets (gunicorn's are 0777)
_FIRST_UNPRIVILEGED_PORT = 1024
_BOUND_UNIX_SOCKETS = Path("/proc/net/unix")

# As socket.getaddrinfo: (host, port, family, type) -> [(family, type, proto, canonname, sockaddr)]
Resolve = Callable[[str, int, int, int], Sequence[tuple[Any, ...]]]


def open_listeners(
    addresses: Sequence[Sourced[str]],
    *,
    listen: bool,
    environ: Mapping[str, str],
    backlog: int = BACKLOG,
    resolve: Resolve = socket.getaddrinfo,
) -> tuple[Listener, ...]:
    """Bind every address, or take systemd's sockets where this process was given some; see `ignored_addresses`.

    `resolve` is only asked for hosts that are names: it may block, so let it run in another thread. The descriptors
    are not inheritable. Raises UsageError naming the address and its origin; nothing stays open then.
    """
    wanted = _systemd_addresses(environ) or addresses
    places = [_parsed(address) for address in wanted]
    listeners: list[Listener] = []
    try:
        for address, place in zip(wanted, places, strict=True):
            bound = _open(address, place, resolve, v6_only=_beside_v4(place, places))
            listeners.append(Listener(_spelling(place, bound), bound.detach()))
            if listen:
                _listen(address, listeners[-1], backlog)
    except BaseException:
        close_listeners(listeners)
        raise
    return tuple(listeners)


def close_listeners(listeners: Iterable[Listener]) -> None:
    """Close what `open_listeners` opened and remove its socket files: the start ends here."""
    for listener in listeners:
        with contextlib.suppress(OSError):
            os.close(listener.fd)
        if listener.address.startswith("unix:"):
            Path(listener.address.removeprefix("unix:")).unlink(missing_ok=True)


def ignored_addresses(addresses: Sequence[Sourced[str]], environ: Mapping[str, str]) -> tuple[Ignored, ...]:
    """Return the addresses that are not used because systemd gave this process its sockets."""
    if not _systemd_addresses(environ):
        return ()
    return tuple(Ignored(address.value, address.origin, "systemd gave the sockets") for address in addresses)


def _systemd_addresses(environ: Mapping[str, str]) -> list[Sourced[str]]:
    """Return `fd://3` and so on when LISTEN_PID is ours (sd_listen_fds(3)): another process's are not for us."""
    count, pid = (environ.get(name, "") for name in ("LISTEN_FDS", "LISTEN_PID"))
    if not count.isdecimal() or pid != str(os.getpid()):
        return []
    origin = Origin(OriginKind.ENVIRONMENT, "LISTEN_FDS")
    return [Sourced(f"fd://{_SD_LISTEN_FDS_START + number}", origin) for number in range(int(count))]


def _parsed(address: Sourced[str]) -> Tcp | Unix | Inherited:
    try:
        place = parse_address(address)
    except ValueError as error:  # a number of more digits than Python reads
        raise _unusable(address, str(error)) from None
    if "\0" in str(place):
        raise _unusable(address, "it contains a null character")
    return place


def _unusable(address: Sourced[str], reason: str) -> UsageError:
    return UsageError(
        f"{address.value!r:.200} ({address.origin}) is not an address: {reason}",
        cure="write host:port, [::1]:port, :port, unix:PATH or fd://N",
    )


def _open(address: Sourced[str], place: Tcp | Unix | Inherited, resolve: Resolve, *, v6_only: bool) -> socket.socket:
    match place:
        case Tcp():
            return _bind_tcp(address, place, resolve, v6_only=v6_only)
        case Unix():
            return _bind_unix(address, place.path)
        case Inherited():
            return _inherit(address, place.fd)


def _beside_v4(place: Tcp | Unix | Inherited, places: Sequence[Tcp | Unix | Inherited]) -> bool:
    """Tell whether `[::]:N` stands beside `0.0.0.0:N`: a dual-stack socket would take the other's port."""
    return isinstance(place, Tcp) and ":" in place.host and Tcp(ANY_HOST, place.port) in places


def _bind_tcp(address: Sourced[str], place: Tcp, resolve: Resolve, *, v6_only: bool) -> socket.socket:
    family, kind, protocol, _, sockaddr = _resolved(address, place, resolve)
    try:
        bound = socket.socket(family, kind, protocol)
    except OSError as error:
        raise _cannot_bind(address, place.port, error) from None
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if v6_only:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind(sockaddr)
        # Two sockets with SO_REUSEADDR may share a port until one listens (tried on Linux 6.18): another launcher would
        # learn of the conflict only after the steps. Without it the port is ours; `_listen` and the exec set it again.
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    except OSError as error:
        bound.close()
        raise _cannot_bind(address, place.port, error) from None
    return bound


def _resolved(address: Sourced[str], place: Tcp, resolve: Resolve) -> tuple[Any, ...]:
    """Return the entry of getaddrinfo to bind: IPv4 where there is one, as gunicorn does for a name."""
    try:
        found: Sequence[tuple[Any, ...]] = socket.getaddrinfo(
            place.host, place.port, 0, socket.SOCK_STREAM, 0, socket.AI_NUMERICHOST | socket.AI_PASSIVE
        )
    except (socket.gaierror, UnicodeError):  # not a literal address: only now may it take long
        try:
            found = resolve(place.host, place.port, 0, socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:  # UnicodeError: `a..b`, or a label of more than 63 letters
            reason = error.strerror if isinstance(error, OSError) else "it is not a host name"
            raise UsageError(
                f"the host of {address.value} ({address.origin}) cannot be resolved: {reason or error}",
                cure="check the name, or write the address itself: 0.0.0.0 listens on all of them",
            ) from None
    return min(found, key=lambda entry: entry[0] != socket.AF_INET)


def _bind_unix(address: Sourced[str], path: str) -> socket.socket:
    _clear_stale(address, path)
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    umask = os.umask(_UNIX_UMASK)
    try:
        bound.bind(path)
    except OSError as error:
        bound.close()
        reason = error.strerror or str(error)  # "AF_UNIX path too long" is a message without a number
        raise UsageError(f"cannot make the socket {path} ({address.origin}): {reason}") from None
    finally:
        os.umask(umask)
    return bound


def _clear_stale(address: Sourced[str], path: str) -> None:
    """Remove a socket file that nobody stands behind; raise UsageError when somebody does, or when it is no socket."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:  # not there, or not to be seen: bind says it
        return
    if not stat.S_ISSOCK(mode):
        raise UsageError(f"{path} ({address.origin}) is there and is not a socket", cure="move it away")
    if _answers(path) or _is_bound(path):
        raise UsageError(
            f"{address.value} ({address.origin}) is in use by another process", cure="stop it, or choose another path"
        )
    try:
        os.unlink(path)  # noqa: PTH108 - a str, as it was written
    except OSError as error:
        raise UsageError(f"{path} ({address.origin}) is a socket that was left behind: {error.strerror}") from None


def _answers(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.settimeout(0)
        return client.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)  # EAGAIN: its queue is full


def _is_bound(path: str) -> bool:
    """Tell whether a process holds this path without listening yet, as a launcher does while its steps run."""
    try:
        lines = _BOUND_UNIX_SOCKETS.read_text(errors="replace").splitlines()
    except OSError:
        return False
    return any(line.endswith(f" {path}") for line in lines)


def _inherit(address: Sourced[str], fd: int) -> socket.socket:
    try:
        bound = socket.socket(fileno=fd)
    except (OSError, OverflowError) as error:  # OverflowError: no descriptor has such a number
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{address.value:.200} ({address.origin}) is not a socket: {reason}") from None
    if bound.type != socket.SOCK_STREAM or not _has_address(bound):
        bound.detach()
        raise UsageError(f"{address.value} ({address.origin}) is not a stream socket that is bound to an address")
    bound.set_inheritable(False)
    return bound


def _has_address(bound: socket.socket) -> bool:
    name = bound.getsockname()
    return bool(name[1] if isinstance(name, tuple) else name)


def _listen(address: Sourced[str], listener: Listener, backlog: int) -> None:
    with socket.socket(fileno=os.dup(listener.fd)) as bound:
        try:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bound.listen(backlog)
        except OSError as error:
            raise UsageError(f"cannot listen on {address.value} ({address.origin}): {error.strerror}") from None


def _spelling(place: Tcp | Unix | Inherited, bound: socket.socket) -> str:
    """Return the address with the port the kernel chose."""
    return str(Tcp(place.host, bound.getsockname()[1]) if isinstance(place, Tcp) else place)


def _cannot_bind(address: Sourced[str], port: int, error: OSError) -> UsageError:
    named = f"{address.value} ({address.origin})"
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"{named} is in use by another process",
            cure=f"stop it (`ss -ltnp 'sport = :{port}'` names it), or choose another port with --port",
        )
    if error.errno in (errno.EACCES, errno.EPERM) and port < _FIRST_UNPRIVILEGED_PORT:
        return UsageError(
            f"{named} is not permitted: ports below {_FIRST_UNPRIVILEGED_PORT} need a privilege",
            cure="choose another with --port, or give CAP_NET_BIND_SERVICE",
        )
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{named} is not an address of this host", cure="0.0.0.0 and [::] are all of them")
    return UsageError(f"cannot bind {named}: {error.strerror}")
