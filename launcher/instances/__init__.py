"""Which launchers run here?

Each has a socket, `<pid>.sock` in one of `launcher.instances.runtime_places`, or an abstract one where it could write
nowhere. Sockets of other pid namespaces (a volume that two containers share, a pod's network namespace) are not of
here: a probe must not be answered by the neighbour.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from launcher.errors import LauncherError, UsageError
from launcher.instances.management_socket import alone_in, bind, connect, is_free, remove
from launcher.instances.runtime_places import Place, configured, others, places, user, why_not

__all__ = ["Instance", "NothingRuns", "bind", "connect", "find", "look", "remove"]

_FILE = re.compile(r"(\d+)(?:-\d+)?\.sock")
_ABSTRACT = re.compile(r"@launcher-(\d+)-(\d+)(?:-\d+)?")
_LISTENS = 0x10000  # __SO_ACCEPTCON in the flags of /proc/net/unix
_LOOK_S = 1.0


class NothingRuns(LauncherError):
    """No launcher runs here."""


class Instance(NamedTuple):
    """A running launcher: its pid as seen from here, where it answers (a path, or @name of an abstract socket)."""

    pid: int
    address: str


def find(
    environ: Mapping[str, str],
    runtime_dir: str | None = None,
    pid: int | None = None,
    address: str | None = None,
    *,
    usual: Sequence[Place] | None = None,
) -> Instance:
    """Return the launcher at `address`, that with `pid`, the only one, or the one with our working directory.

    `runtime_dir`: where alone to look, by default what the settings say here, else every usual place.
    Raises NothingRuns, and UsageError when there are several or when `runtime_dir` is not to be trusted.
    """
    if address is not None:
        return _at(address)
    if runtime_dir is None:
        runtime_dir = configured(environ)
    running, refused = look(environ, runtime_dir, usual=usual)
    meant = [one for one in running if pid in (None, one.pid)]
    if not meant:
        who = "no launcher runs" if pid is None else f"no launcher with pid {pid} runs"
        where = f" whose socket is in {runtime_dir}" if runtime_dir is not None else " here"
        raise NothingRuns("; ".join([who + where, *refused]), cure=_elsewhere(runtime_dir))
    if len(meant) == 1:
        return meant[0]
    from launcher.instances.several import told_apart  # seldom

    return told_apart(meant)


def look(
    environ: Mapping[str, str], runtime_dir: str | None = None, *, usual: Sequence[Place] | None = None
) -> tuple[list[Instance], list[str]]:
    """Return every launcher that runs here, by pid, and why which folders were not looked at.

    What is left of launchers that were killed is removed. Raises UsageError when `runtime_dir` is not to be trusted.
    """
    found: list[Instance] = []
    refused: list[str] = []
    for place in _candidates(environ, runtime_dir, usual):
        try:
            because = why_not(place)
        except OSError:  # not there, not to be seen
            continue
        if because and runtime_dir is not None:
            raise UsageError(because, cure="give --runtime-dir the folder that the launcher was given")
        if because:
            refused.append(f"{because}, so it was not looked at")
        else:
            found += _in_folder(place)
    if runtime_dir is None:
        found += _abstract()
    return sorted(dict.fromkeys(found)), refused


def _candidates(environ: Mapping[str, str], runtime_dir: str | None, usual: Sequence[Place] | None) -> Sequence[Place]:
    if runtime_dir is not None:
        return [Place(Path(runtime_dir).absolute(), user())]
    if usual is not None:
        return usual
    return [*places(environ), *(others() if user() == 0 else ())]


def _elsewhere(runtime_dir: str | None) -> str:
    return (
        "" if runtime_dir is not None else "was it started with --runtime-dir? Then give the same one here, or --socket"
    )


def _at(address: str) -> Instance:
    try:
        with connect(address, _LOOK_S) as client:
            peer = _peer(client)
    except TimeoutError:
        return Instance(_pid_in(address), address)
    except OSError as error:
        raise NothingRuns(f"nobody answers at {address}: {error.strerror or error}") from None
    return Instance(_pid(peer, _pid_in(address)), address)


def _in_folder(place: Place) -> Iterator[Instance]:
    try:
        names = sorted(os.listdir(place.path))  # noqa: PTH208 - names are what is compared
    except OSError:
        return
    for name in names:
        if _FILE.fullmatch(name):
            path = place.path / name
            try:
                found = _alive(str(path), place.owner)
            except (ConnectionRefusedError, FileNotFoundError):
                _remove_stale(path)
                continue
            if found is not None:
                yield found


def _abstract() -> Iterator[Instance]:
    """Yield those of the abstract sockets that listen: of this user, for root of everybody."""
    try:
        lines = Path("/proc/self/net/unix").read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    except OSError:
        return
    for fields in (line.split(None, 7) for line in lines if "@launcher-" in line):
        match = _ABSTRACT.fullmatch(fields[-1])
        if match and int(fields[3], 16) & _LISTENS and user() in (0, int(match[1])):
            with contextlib.suppress(ConnectionRefusedError):
                found = _alive(fields[-1], int(match[1]))
                if found is not None:
                    yield found


def _alive(address: str, owner: int) -> Instance | None:
    """Return who listens there, None when it is not of here, not the owner's or root's, or not to be reached.

    Raises ConnectionRefusedError when nobody listens.
    """
    try:
        with connect(address, _LOOK_S) as client:
            peer = _peer(client)
    except (ConnectionRefusedError, FileNotFoundError):
        raise
    except TimeoutError:  # it has its hands full, which is to be told by who asks it
        return Instance(_pid_in(address), address)
    except OSError:
        return None
    if peer is not None and (peer[0] == 0 or peer[1] not in (owner, 0)):
        return None
    return Instance(_pid(peer, _pid_in(address)), address)


def _peer(client: socket.socket) -> tuple[int, int] | None:
    """Return pid (0: of another pid namespace) and uid of who listens (unix(7)), None where the system does not say."""
    if sys.platform != "linux":
        return None
    pid, uid, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return pid, uid


def _pid(peer: tuple[int, int] | None, named: int) -> int:
    """Return the pid as this namespace has it; gVisor names the one who asks."""
    return peer[0] if peer is not None and peer[0] not in (0, os.getpid()) else named


def _pid_in(address: str) -> int:
    match = _FILE.fullmatch(Path(address).name) or _ABSTRACT.fullmatch(address)
    return int(match.groups()[-1]) if match else 0


def _remove_stale(path: Path) -> None:
    """Remove a socket that nobody listens to, unless it has just been made or may not be removed."""
    with contextlib.suppress(OSError), alone_in(path.parent, must=True):
        if is_free(path):
            path.unlink()
