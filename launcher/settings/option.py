"""What is an option?"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import Enum, auto

ENVIRONMENT_PREFIX = "LAUNCHER_"


class Kind(Enum):
    """How the value of an option is written; `launcher.settings.values` reads each."""

    TEXT = auto()
    TEXTS = auto()  # a list; one text with commas where lists cannot be written
    PATH = auto()
    WORD = auto()  # one of `Option.words`
    BOOLEAN = auto()
    FILE_OR_BOOLEAN = auto()
    COUNT = auto()  # a whole number from `Option.least` on
    PORT = auto()
    NUMBER = auto()
    WORKERS = auto()
    DURATION = auto()  # from `Option.least` to `Option.most` seconds
    SIZE = auto()
    SHARE = auto()  # a whole number from 1 on, or a percentage
    TABLE = auto()  # the name of a database's table, with or without its schema
    MEMORY = auto()  # a size, or a percentage of the limit


class Group(Enum):
    """The sections of the help text; the value is the heading."""

    APP = "Application"
    BIND = "Address"
    SERVER = "Server and workers"
    MEMORY = "Memory"
    PRESTART = "Steps before the server"
    LIFE = "Time-outs and life of a worker"
    MONITOR = "Health, status and metrics"
    LOG = "Log"
    HTTP = "Handed on to the server"
    FILES = "Files"


@dataclass(frozen=True, slots=True)
class Alias:
    """Other flags of equal meaning. With a `value` they are switches that stand for it (`--verbose`)."""

    flags: tuple[str, ...]
    _: KW_ONLY
    value: str | None = None
    help: str = ""  # empty: hidden
    metavar: str = ""

    @property
    def key(self) -> str:
        """Return the name under which the command line delivers it: `--timeout-keep-alive` → `timeout_keep_alive`."""
        return self.flags[0].removeprefix("--").replace("-", "_")


@dataclass(frozen=True, slots=True)
class Option:
    """One option. `default` None: whoever uses the value decides; `shown_default` says how."""

    name: str
    kind: Kind
    help: str = ""
    _: KW_ONLY
    group: Group
    default: object = None
    shown_default: str = ""
    flags: tuple[str, ...] = ()  # beside the one derived from the name
    main_flag: str | None = None  # instead of the one derived from the name; "": none
    pair: bool = False  # a boolean with a `--no-` twin
    metavar: str = ""
    words: tuple[str, ...] = ()
    least: int = 0
    most: int | None = None
    aliases: tuple[Alias, ...] = ()

    @property
    def flag(self) -> str:
        """Return the main flag; for APP, which is an argument, its name."""
        if self.main_flag is None:
            return "--" + self.name.replace("_", "-")
        return self.main_flag or self.name.upper()

    @property
    def variable(self) -> str:
        """Return the environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()
