"""How did the run before end?

Where one OOM kill takes the whole container, nobody is left to tell. So each run leaves a marker beside the reports,
says in it how it is, and removes it at a clean end; the next run of the same application finds what nobody removed.

Whether a marker's run still lives: its process is looked for, if it was of this pid namespace. One of another (another
container) holds a lock on its marker as long as its monitor lives; on another host, where locks may not reach, it must
have been silent for a minute as well.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from launcher.incidents.report import hostname, new_report, rfc3339

SEEN_EVERY_S = 10.0
SILENT_S = 60.0  # six times missed: longer than a monitor needs to come back
_SAID = ("workers_ready", "oom_kill", "oom_group", "memory")
_MOST_BYTES = 1 << 16
_NO_MARKER = (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError)


class LastRun:
    """The marker of this run, and those that earlier ones left in the folder. None: nothing is kept or found.

    because: why there is no marker, else "". now: the time since the epoch in seconds.
    """

    def __init__(
        self, folder: Path | None, *, now: Callable[[], float] = time.time, root: Path = Path("/"), host: str = ""
    ) -> None:
        """Look at processes below `root`, and be `host` (by default, what this one is called)."""
        self.folder, self.because = folder, "" if folder else "there is no folder"
        self._now, self._root, self._host = now, root, host or hostname()
        self._fd = -1
        self._path: Path | None = None
        self._marker: dict[str, Any] = {}
        self._noted = -SEEN_EVERY_S  # the first word is written at once

    def begin(self, facts: Mapping[str, Any]) -> dict[str, Any] | None:
        """Leave the marker of this run; return an `unclean-end` report of the latest that ended without a word.

        facts: `launcher_pid`, `app`; may have `cwd`, `release`, `versions`, and what `seen` takes. Again for the same
        launcher (its monitor was started again), the marker is taken over. Never raises.
        """
        if self.folder is None:
            return None
        try:
            own = self._own(facts)
            of_app = f"run-{_hash(own, 'app', 'cwd')}-"
            name = f"{of_app}{_hash(own, 'boot_id', 'pids', 'launcher_pid', 'start')}.json"
            gone = self._gone(self.folder, re.compile(rf"{of_app}[0-9a-f]{{8}}\.json"), own, but=name)
            self._leave(self.folder / name, own)
        except _NO_MARKER as error:
            self.because = f"{self.folder} takes no marker: {getattr(error, 'strerror', None) or error}"
            return None
        return _report(gone, own) if gone else None

    def marker(self) -> tuple[int, dict[str, Any]]:
        """Return the descriptor of the marker (-1: none), and what `resume` takes with it, as JSON has it."""
        return self._fd, {"path": str(self._path or ""), "marker": self._marker, "because": self.because}

    def resume(self, fd: int, begun: Mapping[str, Any]) -> None:
        """Go on with the marker that a child has left for us."""
        self.because = begun["because"]
        if fd >= 0:
            self._fd, self._path, self._marker = fd, Path(begun["path"]), begun["marker"]

    def seen(self, **said: Any) -> None:
        """Note how the run is: `workers_ready`, `oom_kill`, `oom_group`, `memory`. At most every 10 s. Never raises.

        memory: as in a report. A `seen` without anything says that the launcher lives.
        """
        if self.note(**said):
            self.write()

    def note(self, **said: Any) -> bool:
        """Take note of it, and tell whether it is to be written."""
        now = self._now()
        if self._fd < 0 or 0 <= now - self._noted < SEEN_EVERY_S:
            return False
        self._noted = now
        self._marker |= {name: value for name, value in said.items() if name in _SAID} | {"last_seen": now}
        return True

    def write(self) -> None:
        """Write what was noted. Never raises."""
        with contextlib.suppress(OSError):
            _lock(self._fd)  # who looked at it in the moment when it was made had the lock
            _overwrite(self._fd, self._marker)

    def end(self) -> None:
        """Remove the marker: this run ends as it should. Never raises."""
        if self._path is not None:
            with contextlib.suppress(OSError):
                self._path.unlink()
        if self._fd >= 0:
            os.close(self._fd)
        self._path, self._fd = None, -1

    def _own(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        pid = int(facts["launcher_pid"])
        now = self._now()
        return {
            "launcher_pid": pid,
            "start": self._start(pid),
            "boot_id": self._text("proc/sys/kernel/random/boot_id"),
            "pids": self._namespace(),
            "host": self._host,
            "app": str(facts.get("app", "")),
            "cwd": str(facts.get("cwd") or Path.cwd()),
            "release": str(facts.get("release", "")),
            "versions": dict(facts.get("versions", {})),
            "started_at": now,
            "last_seen": now,
        } | {name: facts[name] for name in _SAID if name in facts}

    def _leave(self, path: Path, own: dict[str, Any]) -> None:
        self.end()
        fd = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o600)
        try:
            _lock(fd)
            before = _marker(fd)
            own["started_at"] = min(own["started_at"], before.get("started_at", own["started_at"]))
            _overwrite(fd, own)
        except BaseException:
            if not os.fstat(fd).st_size:  # the disk is full: each run would leave another one
                path.unlink(missing_ok=True)
            os.close(fd)
            raise
        self._fd, self._path, self._marker = fd, path, own

    def _gone(self, folder: Path, names: re.Pattern[str], own: Mapping[str, Any], *, but: str) -> list[dict[str, Any]]:
        """Return the markers of runs of this application that live no more, the latest last; remove their files."""
        found = []
        for name in os.listdir(folder):  # noqa: PTH208 - names are what is compared
            if name != but and names.fullmatch(name):
                with contextlib.suppress(*_NO_MARKER):  # what is in it is another's
                    found += self._taken(folder / name, own)
        return sorted(found, key=lambda marker: float(marker["last_seen"]))

    def _taken(self, path: Path, own: Mapping[str, Any]) -> list[dict[str, Any]]:
        with _opened(path) as fd:
            free, marker = _lock(fd), _marker(fd)
            same = all(marker[name] == own[name] for name in ("app", "cwd"))
            # No link: another launcher, which began at the same time, has reported it.
            if not same or not os.fstat(fd).st_nlink or self._lives(marker, own, free=free):
                return []
            _report([marker], own)  # raises for what cannot be told
            path.unlink()  # raises for all but one of those who look at the same time
        return [marker]

    def _lives(self, marker: Mapping[str, Any], own: Mapping[str, Any], *, free: bool) -> bool:
        """Tell whether it may live. free: nobody has its lock, which its monitor has a little longer than it lives."""
        if _sees(marker, own) and (free or own["pids"]):
            return bool(marker["start"]) and self._start(int(marker["launcher_pid"])) == marker["start"]
        return not free or (marker["host"] != own["host"] and abs(self._now() - float(marker["last_seen"])) < SILENT_S)

    def _start(self, pid: int) -> str:
        """Return when the process was started, in the kernel's ticks; "" when it has ended.

        Where there is no /proc, a process that is there is told from none, but not from another of the same number.
        """
        if stat := self._text(f"proc/{pid}/stat"):
            fields = stat.rpartition(")")[2].split()  # proc(5): state is the third field, starttime the 22nd
            return "" if fields[0] in {"Z", "X"} else fields[19]
        if (self._root / "proc/self/stat").exists():
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return ""
        except OSError:  # of another user
            pass
        return "there"

    def _namespace(self) -> str:
        try:
            return str((self._root / "proc/self/ns/pid").readlink())
        except OSError:
            return ""

    def _text(self, name: str) -> str:
        try:
            return (self._root / name).read_text(errors="replace").strip()
        except OSError:
            return ""


def _sees(marker: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Tell whether the process of the marker would be seen from here."""
    return all(marker[name] == own[name] for name in ("boot_id", "pids")) and (
        bool(own["boot_id"]) or marker["host"] == own["host"]
    )


def _report(gone: list[dict[str, Any]], own: Mapping[str, Any]) -> dict[str, Any]:
    last = gone[-1]
    counts: list[Any] = [last.get("oom_kill"), own.get("oom_kill")]
    counted = _sees(last, own) and all(isinstance(count, int) for count in counts)
    struck = counted and counts[1] > counts[0]
    started_at, last_seen = float(last["started_at"]), float(last["last_seen"])
    return new_report(
        "unclean-end",
        f"the run before (pid {last['launcher_pid']}) ended without a word after {rfc3339(last_seen)}",
        verdict="oom" if struck else "unknown",
        confidence="probable" if struck or not _sees(last, own) else "certain",
        evidence=list(_evidence(last, own, struck=struck)),
        age_s=max(0.0, last_seen - started_at),
        memory={"counters": {"oom_kill": counts if counted else None}, **last.get("memory", {})},
        app=last["app"],
        release=last.get("release", ""),
        host=last["host"],
        launcher_pid=last["launcher_pid"],
        versions=last.get("versions", {}),
        merged=len(gone) - 1,
    )


def _evidence(last: Mapping[str, Any], own: Mapping[str, Any], *, struck: bool) -> Iterator[str]:
    yield f"its marker was left behind: it began {rfc3339(float(last['started_at']))}"
    if (ready := last.get("workers_ready")) is not None:
        yield f"{ready} of its workers were ready when it was last seen, {rfc3339(float(last['last_seen']))}"
    if last["boot_id"] != own["boot_id"]:
        same = last["host"] == own["host"]
        yield "this host was started again since" if same else f"it was on another host, {last['host']}"
    elif not _sees(last, own):
        yield "it was in another container, which is asked by a lock and not by its process"
    if struck:
        yield f"the kernel's count of processes killed for memory went from {last['oom_kill']} to {own['oom_kill']}"
    if last.get("oom_group"):
        yield "memory.oom.group is set: one kill for memory takes the launcher and all its workers at once"


def _hash(marker: Mapping[str, Any], *names: str) -> str:
    return f"{zlib.crc32(json.dumps([marker[name] for name in names]).encode()):08x}"


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    try:
        yield fd
    finally:
        os.close(fd)


def _lock(fd: int) -> bool:
    """Take the lock, until the descriptor is closed; False: it is another's. Where files have no locks, True."""
    try:
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (OSError, ImportError):
        pass
    return True


def _marker(fd: int) -> dict[str, Any]:
    """Return what a marker says; {} for an empty file. What follows the first line's end is of a longer one before."""
    text = os.pread(fd, _MOST_BYTES, 0).decode(errors="replace").partition("\n")[0]
    marker = json.loads(text) if text else {}
    if not isinstance(marker, dict):
        raise ValueError("no marker")  # noqa: TRY004 - as any other content that is not ours
    return marker


def _overwrite(fd: int, marker: Mapping[str, Any]) -> None:
    """Write in place, which keeps the lock; a new line ends it, so that a kill between the two calls does no harm."""
    content = json.dumps(marker, default=str).encode() + b"\n"
    os.ftruncate(fd, os.pwrite(fd, content, 0))
