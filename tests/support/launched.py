"""What can a test ask of a process it started?"""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import psutil

from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Launched:
    """A started process whose output goes to files: a test that never reads cannot block it."""

    argv: Sequence[str]
    popen: subprocess.Popen[bytes]
    stdout_path: Path
    stderr_path: Path
    allow_strays: bool = False

    @property
    def pid(self) -> int:
        """The process id, which is also the id of its group and session."""
        return self.popen.pid

    @property
    def stdout(self) -> str:
        """What it and its descendants wrote to standard output until now."""
        return self.stdout_path.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        """What it and its descendants wrote to standard error until now."""
        return self.stderr_path.read_text(errors="replace")

    @property
    def running(self) -> bool:
        """Whether it has not ended yet."""
        return self.popen.poll() is None

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON objects among the lines of standard error; other lines are skipped."""
        records = (_json_object(line) for line in self.stderr.splitlines())
        return [record for record in records if record is not None]

    def event(self, name: str) -> dict[str, Any] | None:
        """Return the first event of this name, or None."""
        return next((record for record in self.events if record.get("event") == name), None)

    def wait(self, timeout_s: float = 30) -> int:
        """Return the exit status, -n after signal n; raise AssertionError with its output after `timeout_s`."""
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"still running after {timeout_s:g} s: {self}") from None

    def wait_event(self, name: str, timeout_s: float = 10) -> dict[str, Any]:
        """Return the first event of this name as soon as it is there; AssertionError when it cannot come any more."""

        def seen_or_over() -> tuple[dict[str, Any] | None] | None:
            over = not self.running  # asked before the reading: the last words must not be missed
            found = self.event(name)
            return (found,) if over or found else None

        (record,) = self._until(seen_or_over, f"the event {name}", timeout_s)
        assert record is not None, f"ended without the event {name}: {self}"
        return record

    def wait_http(self, port: int, path: str = "/", timeout_s: float = 20) -> tuple[int, str]:
        """Return status and body of the first answer from this port on loopback, whatever the status is."""

        def answered_or_over() -> tuple[tuple[int, str] | None] | None:
            over = not self.running
            answer = http_get(port, path)
            return (answer,) if over or answer else None

        (answer,) = self._until(answered_or_over, f"an answer on port {port}", timeout_s)
        assert answer is not None, f"ended without an answer on port {port}: {self}"
        return answer

    def signal(self, signum: signal.Signals) -> None:
        """Send a signal to the process alone, not to its group."""
        self.popen.send_signal(signum)

    def children(self, *, recursive: bool = False) -> list[int]:
        """Return the pids of its children (of all its descendants), oldest first; empty when it has ended."""
        try:
            return [child.pid for child in psutil.Process(self.pid).children(recursive=recursive)]
        except psutil.NoSuchProcess:
            return []

    def stop(self, timeout_s: float = 10) -> int:
        """Ask it to end, make it end after `timeout_s`; return the exit status."""
        if self.running:
            self.signal(signal.SIGTERM)
        try:
            return self.popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.popen.kill()
            return self.popen.wait()

    def __str__(self) -> str:
        """Return all a person needs to see in a failed test."""
        state = "running" if self.running else f"exit status {self.popen.returncode}"
        return f"{' '.join(self.argv)} ({state})\n-- stdout\n{self.stdout}\n-- stderr\n{self.stderr}"

    def _until(self, condition: Callable[[], T | None], what: str, timeout_s: float) -> T:
        try:
            found = until(condition, what, timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self}") from None
        assert found is not None, what
        return found


def http_get(port: int, path: str = "/", timeout_s: float = 5) -> tuple[int, str] | None:
    """Return status and body of GET from this port on loopback, or None when nobody (or no HTTP) answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout_s)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return None
    finally:
        connection.close()


def _json_object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
