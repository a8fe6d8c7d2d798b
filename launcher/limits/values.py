"""What is one limit, and where was it read?"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limit:
    """One number (bytes, or CPUs) beside the place it was read from, in words a person can follow."""

    value: float
    source: str


@dataclass(frozen=True, slots=True)
class Limits:
    """What kernel and platform allow this process and its children.

    `memory` is in bytes; `memory_is_limited` is False when only the host's total was found.
    `cpus` may be a fraction (a quota of 1.5); `cpus_are_limited` is True when a quota is set or when affinity or a
    cpuset leaves fewer CPUs than the host has.
    `platform` is one of kubernetes, heroku, cloud-run, fly, container, host.
    `notes` are whole sentences worth saying: what could not be read, what slows before it kills, what cannot be seen.
    """

    memory: Limit
    memory_is_limited: bool
    cpus: Limit
    cpus_are_limited: bool
    platform: str
    notes: tuple[str, ...]
