"""What does a raw value mean, and may it stand there?

Raw values are text (command line, environment) or what TOML and Python files hold. By hand and not with a library: the
messages name the cure, and importing one costs more than every conversion of a start together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType

from launcher.errors import UsageError
from launcher.origin import Sourced
from launcher.settings.option import Kind, Option
from launcher.units import fraction, human_bytes, human_seconds, seconds, size_bytes

_YES = frozenset({"true", "1", "yes", "on", "t", "y"})  # click's words, which uvicorn and fastapi read
_NO = frozenset({"false", "0", "no", "off", "f", "n"})
_HIGHEST_PORT = 65535
_SHARE = re.compile(r"[1-9]\d*|(?:100|[1-9]\d?)%", re.ASCII)
# What needs no quotes in any dialect. PostgreSQL cuts a name after 63 bytes, and a cut name is another table.
_TABLE = re.compile(r"(?:[a-z_]\w{0,62}\.)?[a-z_]\w{0,62}", re.ASCII | re.IGNORECASE)


def typed(option: Option, said: Sourced[object]) -> object:
    """Return the checked value of an option; raise UsageError that names the place and what may stand there."""
    try:
        return _READERS[option.kind](said.value, option)
    except ValueError as error:
        raise UsageError(f"{said.origin}: {error}", cure=_cure(option)) from None


def shown(option: Option, value: object) -> object:
    """Return a typed value as a person reads it and JSON can hold it."""
    if isinstance(value, tuple):
        return list(value)
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return value
    if option.kind is Kind.DURATION and isinstance(value, int | float):
        return human_seconds(value)
    if option.kind is Kind.MEMORY and isinstance(value, float):
        return f"{value * 100:g}%"
    if option.kind in {Kind.MEMORY, Kind.SIZE} and isinstance(value, int):
        return human_bytes(value)
    return value


def _cure(option: Option) -> str:
    if option.words:
        return f"write one of {', '.join(option.words)}"
    return _EXAMPLES.get(option.kind, "")


def _text(raw: object, _option: Option) -> str:
    if not isinstance(raw, str):
        raise _wrong(raw, "is not a text")
    return raw


def _path(raw: object, option: Option) -> str:
    text = _text(raw, option)
    if not text:
        raise ValueError("a path is missing")
    return text


def _texts(raw: object, option: Option) -> tuple[str, ...]:
    if isinstance(raw, str):
        return tuple(part.strip() for part in raw.split(",") if part.strip())
    if not isinstance(raw, list | tuple):
        raise _wrong(raw, "is not a list of texts")
    return tuple(_text(item, option) for item in raw)


def _share(raw: object, _option: Option) -> str:
    """Return "K" or "P%", checked; what it is a share of is not known here."""
    text = str(raw).strip()
    if isinstance(raw, bool) or not _SHARE.fullmatch(text):
        raise _wrong(raw, "is neither a whole number from 1 on nor a percentage up to 100%")
    return text


def _word(raw: object, option: Option) -> str:
    word = _text(raw, option).strip().lower()
    if word not in option.words:
        raise ValueError(f"{raw!r} is not known here")
    return word


def _boolean(raw: object, _option: Option) -> bool:
    if isinstance(raw, bool):
        return raw
    word = raw.strip().lower() if isinstance(raw, str) else ""
    if word not in _YES | _NO:
        raise _wrong(raw, "is neither true nor false")
    return word in _YES


def _file_or_boolean(raw: object, option: Option) -> bool | str:
    """Return True for `-` and False for nothing, as gunicorn has it, else a truth or a file's name."""
    if isinstance(raw, str):
        word = raw.strip().lower()
        if word not in _YES | _NO:
            return {"-": True, "": False}.get(word, raw)
    return _boolean(raw, option)


def _whole(raw: object) -> int:
    if isinstance(raw, str) and raw.strip().isascii() and raw.strip().isdecimal():
        return int(raw)
    if isinstance(raw, bool) or not isinstance(raw, int):
        raise _wrong(raw, "is not a whole number")
    return raw


def _count(raw: object, option: Option) -> int:
    number = _whole(raw)
    if number < option.least:
        raise ValueError(f"{number} is less than {option.least}")
    return number


def _port(raw: object, _option: Option) -> int:
    number = _whole(raw)
    if not 0 <= number <= _HIGHEST_PORT:
        raise ValueError(f"{number} is not a port")
    return number


def _workers(raw: object, _option: Option) -> int | str:
    if isinstance(raw, str) and raw.strip().lower() == "auto":
        return "auto"
    number = _whole(raw)
    if number < 1:
        raise ValueError(f"{number} workers serve nobody")
    return number


def _number(raw: object, _option: Option) -> float:
    try:
        number = float(raw) if isinstance(raw, str | int | float) and not isinstance(raw, bool) else -1.0
    except ValueError:
        number = -1.0
    if not 0 < number < float("inf"):
        raise _wrong(raw, "is not a number above 0")
    return number


def _measure(read: Callable[[str], float], raw: object) -> float:
    if isinstance(raw, bool) or not isinstance(raw, str | int | float):
        raise _wrong(raw, "is neither a number nor a text")
    return read(str(raw))


def _duration(raw: object, option: Option) -> float:
    duration_s = _measure(seconds, raw)
    if duration_s < option.least:
        raise ValueError(f"{raw!r} is less than {human_seconds(option.least)}")
    if option.most is not None and duration_s > option.most:
        raise ValueError(f"{raw!r} is more than {human_seconds(option.most)}")
    return duration_s


def _table(raw: object, option: Option) -> str:
    name = _text(raw, option).strip()
    if not _TABLE.fullmatch(name):
        raise _wrong(raw, "is not the name of a table")
    return name


def _size(raw: object, _option: Option) -> int:
    size = int(_measure(size_bytes, raw))
    if not size:
        raise ValueError("0 bytes hold nothing")
    return size


def _memory(raw: object, option: Option) -> float | int:
    if isinstance(raw, str) and raw.strip().endswith("%"):
        return fraction(raw)
    return _size(raw, option)


def _wrong(raw: object, reason: str) -> ValueError:
    return ValueError(f"{list(raw) if isinstance(raw, tuple) else raw!r} {reason}")


_READERS: Mapping[Kind, Callable[[object, Option], object]] = MappingProxyType(
    {
        Kind.TEXT: _text,
        Kind.TEXTS: _texts,
        Kind.PATH: _path,
        Kind.WORD: _word,
        Kind.BOOLEAN: _boolean,
        Kind.FILE_OR_BOOLEAN: _file_or_boolean,
        Kind.COUNT: _count,
        Kind.PORT: _port,
        Kind.NUMBER: _number,
        Kind.WORKERS: _workers,
        Kind.DURATION: _duration,
        Kind.SHARE: _share,
        Kind.TABLE: _table,
        Kind.SIZE: _size,
        Kind.MEMORY: _memory,
    }
)
_EXAMPLES: Mapping[Kind, str] = MappingProxyType(
    {
        Kind.SHARE: "write a number (2) or a percentage (50%)",
        Kind.TEXT: "write a text, in quotes in a file",
        Kind.TEXTS: 'write a list of texts in a file (["a", "b"]), commas in a variable (a,b)',
        Kind.PATH: "write a path, in quotes in a file",
        Kind.BOOLEAN: "write true or false",
        Kind.FILE_OR_BOOLEAN: "write true, false, or a file's name",
        Kind.COUNT: "write a whole number, such as 10",
        Kind.PORT: "write a number from 0 to 65535",
        Kind.NUMBER: "write a number, such as 1.5",
        Kind.WORKERS: "write a whole number from 1 on, or auto",
        Kind.DURATION: "write 30s, 5m, 1.5h or a number of seconds",
        Kind.TABLE: "write a name, or SCHEMA.NAME: letters, digits and _, each at most 63 long",
        Kind.SIZE: "write 512M, 1.5GiB or a number of bytes",
        Kind.MEMORY: "write a percentage (80%) or a size (512M)",
    }
)
