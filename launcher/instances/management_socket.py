"""How is the management socket of a launcher made, and how is it reached?"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from launcher.errors import UsageError
from launcher.instances.runtime_places import Place, make, places, user

_NAMES = 100  # of one pid, each of another pid namespace
_BACKLOG = 512  # the monitor's limit of connections
_SHORT = 100  # bytes of a path that fit into every system's sockaddr_un (108 on Linux, 104 on macOS)
_LOOK_S = 1.0
_RETRY_S = 0.02


def bind(
    environ: Mapping[str, str], runtime_dir: str | None, pid: int, *, usual: Sequence[Place] | None = None
) -> tuple[socket.socket, str]:
    """Return a listening socket for the launcher `pid`, mode 0600, and its address for `connect`.

    `runtime_dir`: the only folder to use; without one the first of the `usual` ones that can be used. Raises UsageError
    when it cannot, or when there is no place at all. Not inheritable, as every socket of Python.
    """
    if runtime_dir is not None:
        place = Place(Path(runtime_dir).absolute(), user())
        because = make(place, named=True)
        try:
            bound = None if because else _bind_in(place.path, pid)
        except OSError as error:
            because, bound = f"no socket can be made in {place.path}: {error.strerror or error}", None
        if bound is None:
            raise UsageError(because, cure="give --runtime-dir a folder of this user that nobody else can write")
        return bound
    for place in places(environ) if usual is None else usual:
        with contextlib.suppress(OSError):  # a file system without sockets, a full one: the next place
            if not make(place):
                return _bind_in(place.path, pid)
    return _bind_abstract(pid)


def remove(address: str) -> None:
    """Remove the file of a socket that is given up by its owner; nothing happens when it is gone."""
    if not address.startswith("@"):
        with contextlib.suppress(OSError):
            os.unlink(address)  # noqa: PTH108 - a string, as everywhere here


def connect(address: str, wait_s: float = 5.0) -> socket.socket:
    """Return a connection, `wait_s` its timeout; raise OSError: ConnectionRefusedError when nobody is there."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        client.settimeout(wait_s)
        _connect(client, address, time.monotonic() + wait_s)
    except BaseException:
        client.close()
        raise
    return client


def _connect(client: socket.socket, address: str, deadline: float) -> None:
    """Connect; where the queue is full, Linux answers EAGAIN at once (connect(2)) instead of waiting."""
    while True:
        try:
            if address.startswith("@"):
                client.connect(f"\0{address[1:]}")
            else:
                with _short(Path(address)) as name:
                    client.connect(name)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise TimeoutError("its queue of connections is full") from None
            time.sleep(_RETRY_S)
        else:
            return


@contextlib.contextmanager
def _short(path: Path) -> Iterator[str]:
    """Yield a name of the path that fits into a socket's address (Linux: by way of the folder's descriptor)."""
    if len(os.fsencode(path)) <= _SHORT:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _bind_in(folder: Path, pid: int) -> tuple[socket.socket, str]:
    with alone_in(folder):
        path = next(path for path in _file_names(folder, pid) if is_free(path))
        path.unlink(missing_ok=True)
        with _short(path) as name:
            bound = _listening(name)
    return bound, str(path)


def _file_names(folder: Path, pid: int) -> Iterator[Path]:
    yield folder / f"{pid}.sock"
    for number in range(2, _NAMES):
        yield folder / f"{pid}-{number}.sock"


def is_free(path: Path) -> bool:
    """Tell whether nobody listens there. What is no socket is somebody's; a new one is refused until it listens."""
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            return False
        connect(str(path), _LOOK_S).close()
    except (ConnectionRefusedError, FileNotFoundError):
        return True
    except OSError:
        return False
    return False


def _listening(name: str) -> socket.socket:
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        bound.bind(name)
        if not name.startswith("\0"):
            Path(name).chmod(0o600)  # before it listens
        bound.listen(_BACKLOG)
    except BaseException:
        bound.close()
        raise
    return bound


def _bind_abstract(pid: int) -> tuple[socket.socket, str]:
    """Bind a name without a file: everybody can connect, so whoever accepts has to look at the credentials."""
    if sys.platform == "linux":
        for end in ("", *(f"-{number}" for number in range(2, _NAMES))):
            name = f"launcher-{user()}-{pid}{end}"
            with contextlib.suppress(OSError):  # taken, in another pid namespace or by another user
                return _listening(f"\0{name}"), f"@{name}"
    raise UsageError("there is no place for the management socket", cure="give --runtime-dir, or --no-monitor")


@contextlib.contextmanager
def alone_in(folder: Path, *, must: bool = False) -> Iterator[None]:
    """Keep those out who make or remove sockets in the folder.

    Who holds it has it for as long as a connection takes: after a second, or where a folder cannot be locked (NFS), we
    go on. `must`: raise OSError then.
    """
    import fcntl  # where sockets are made or removed

    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    deadline = time.monotonic() + _LOOK_S
    try:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if isinstance(error, BlockingIOError) and time.monotonic() < deadline:
                    time.sleep(_RETRY_S)
                    continue
                if must:
                    raise
            break
        yield
    finally:
        os.close(opened)
