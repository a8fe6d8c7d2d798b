"""What is to be tried, and what came of it?

Both cross between processes as JSON through descriptors: settings hold passwords, which nobody is to read in `ps`.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One way of serving that is to be tried.

    given, server_args: the settings of the command line, as `launcher.settings.load.load` takes them.
    folder: a private one, removed when the trial is over. path: what is asked for.
    """

    given: Mapping[str, Any]
    server_args: tuple[str, ...]
    server: str
    preload: bool
    folder: str
    path: str

    @property
    def socket(self) -> str:
        """Where the trial answers."""
        return f"{self.folder}/socket"

    def as_bytes(self) -> bytes:
        """Return it for a descriptor; `from_bytes` reads it."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Order:
        """Return what `as_bytes` wrote."""
        order = json.loads(content)
        return cls(**{**order, "server_args": tuple(order["server_args"])})


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one trial told.

    code: how it ended, as `subprocess.Popen.returncode`. failed: something went wrong. why: what, else its last word.
    measured: the last `launcher.worker_measured`, {} without one. shmem_bytes: what the group had in shared memory.
    answers: how often which status came ("none": no answer). kills: by the kernel, for memory, in this group.
    """

    code: int = 0
    failed: bool = False
    why: str = ""
    measured: Mapping[str, Any] = field(default_factory=dict)
    shmem_bytes: int = 0
    answers: Mapping[str, int] = field(default_factory=dict)
    kills: int = 0

    def as_bytes(self) -> bytes:
        """Return it for a descriptor; `from_bytes` reads it."""
        return json.dumps(dataclasses.asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Outcome | None:
        """Return what `as_bytes` wrote; None for anything else."""
        try:
            return cls(**json.loads(content))
        except (ValueError, TypeError):  # it was killed before it had written anything, or all
            return None
