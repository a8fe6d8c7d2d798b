"""Where did this value come from?

Every number and setting can say it (libjvm's provenance): `launcher plan` prints value and origin side by side.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")


class OriginKind(StrEnum):
    """The places a value can come from, strongest first."""

    COMMAND_LINE = "command-line"
    ENVIRONMENT = "environment"
    FILE = "file"
    PLATFORM = "platform"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """One place: its kind, and the exact spot in the user's words (`--workers`, `LAUNCHER_PORT`, `launcher.toml`)."""

    kind: OriginKind
    where: str

    def __str__(self) -> str:
        """Return the spot alone: it names its kind well enough for a person."""
        return self.where


@dataclass(frozen=True, slots=True)
class Sourced(Generic[T]):
    """A value beside its origin."""

    value: T
    origin: Origin


@dataclass(frozen=True, slots=True)
class Ignored:
    """Something that was set and has no effect, with the reason."""

    name: str
    origin: Origin
    because: str


DEFAULT = Origin(OriginKind.DEFAULT, "default")
