"""How is one connection cut while both its ends live?

Server and launchers run in a network namespace that has nothing but loopback; packets of one connection are dropped
there by rules on its client port. Nothing of this machine's own network is touched. The test itself stays outside and
asks the server over its Unix socket.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

Direction = Literal["both", "to the client", "to the server"]
_PROGRAMS = {"unshare": "util-linux", "nsenter": "util-linux", "ip": "iproute2", "iptables": "iptables"}
_RULES = {"to the server": ["--sport"], "to the client": ["--dport"], "both": ["--sport", "--dport"]}
_HOLD = "ip link set lo up && iptables -w -n -L INPUT >/dev/null && echo up && exec sleep 3600"


class Network:
    """A network namespace, for as long as the process lives that made it."""

    def __init__(self, holder: subprocess.Popen[str]) -> None:
        """Remember the process that keeps it."""
        self._holder = holder

    def prefix(self, user: int | None = None, group: int | None = None) -> list[str]:
        """Return the words before a command that is to be executed in it, with the command's own pid."""
        identity = [] if user is None else ["--setuid", str(user), "--setgid", str(group)]
        return ["nsenter", f"--net=/proc/{self._holder.pid}/ns/net", *identity]

    def cut(self, client_port: int, direction: Direction = "both") -> None:
        """Drop what is sent over the connection of this client port from now on; nobody is told."""
        for which in _RULES[direction]:
            self._iptables("-A", "INPUT", "-i", "lo", "-p", "tcp", which, str(client_port), "-j", "DROP")

    def heal(self) -> None:
        """Let everything through again."""
        self._iptables("-F", "INPUT")

    def _iptables(self, *words: str) -> None:
        subprocess.run([*self.prefix(), "iptables", "-w", *words], check=True, capture_output=True)


@contextmanager
def own_network() -> Iterator[Network]:
    """Make a network for the length of the block; without root and the programs skip, or in CI fail."""
    _check_possible()
    holder = subprocess.Popen(["unshare", "-n", "sh", "-c", _HOLD], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != "up\n":
            _impossible("no network namespace with packet filter here")
        yield Network(holder)
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        if holder.stdout is not None:
            holder.stdout.close()


def _check_possible() -> None:
    if sys.platform != "linux" or os.geteuid() != 0:
        _impossible("only root on Linux makes network namespaces")
    missing = {package for program, package in _PROGRAMS.items() if shutil.which(program) is None}
    if missing:
        _impossible(f"apt-get install {' '.join(sorted(missing))}")


def _impossible(why: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(why, pytrace=False)
    pytest.skip(why)


def stopped(pid: int) -> None:
    """Stop a process and wait until it is stopped."""
    os.kill(pid, signal.SIGSTOP)
    until(lambda: _state(pid) == "T", f"{pid} to be stopped")


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
