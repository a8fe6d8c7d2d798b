"""How are durations, sizes and percentages written?

Contract (DESIGN §6): durations are `30s`, `5m`, `1.5h` or plain seconds; sizes `512M`, `1.5GiB` or bytes
(`K M G T` and `KiB MiB GiB TiB` are powers of 1024, `KB MB GB TB` powers of 1000); percentages `80%`.
"""

from __future__ import annotations

import re

_DURATION_S = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
_NUMBER = r"(?P<number>\d+(?:\.\d+)?)"
_DURATION = re.compile(_NUMBER + r"\s*(?P<unit>ms|s|m|h|d)?", re.IGNORECASE)
_SIZE = re.compile(_NUMBER + r"\s*(?:(?P<prefix>[kmgt])(?P<suffix>ib|b)?|b)?", re.IGNORECASE)
_PERCENT = re.compile(_NUMBER + r"\s*%")


def seconds(text: str) -> float:
    """Return the seconds in a duration such as `30s`, `5m`, `1.5h` or `90`; raise ValueError for anything else."""
    match = _DURATION.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a duration: write 30s, 5m, 1.5h or a number of seconds")
    return float(match["number"]) * _DURATION_S[(match["unit"] or "").lower()]


def size_bytes(text: str) -> int:
    """Return the bytes in a size such as `512M`, `1.5GiB`, `100MB` or `1048576`; raise ValueError otherwise."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size: write 512M, 1.5GiB or a number of bytes")
    prefix, suffix = (match["prefix"] or "").lower(), (match["suffix"] or "").lower()
    base = 1000 if prefix and suffix == "b" else 1024
    return int(float(match["number"]) * base ** _POWERS[prefix])


def fraction(text: str) -> float:
    """Return 0.8 for `80%`; raise ValueError outside (0 %, 100 %]."""
    match = _PERCENT.fullmatch(text.strip())
    value = float(match["number"]) / 100 if match else 0.0
    if not 0 < value <= 1:
        raise ValueError(f"{text!r} is not a percentage between 0 % and 100 %")
    return value


def human_bytes(count: int) -> str:
    """Return `1.5 GiB` for 1610612736: two significant decimals at most, binary units."""
    value, unit = float(count), "B"
    for unit in ("B", "KiB", "MiB", "GiB", "TiB"):
        if abs(value) < 1024 or unit == "TiB":  # noqa: PLR2004 - the base of the units above
            break
        value /= 1024
    return f"{value:.1f}".rstrip("0").rstrip(".") + f" {unit}"


def human_seconds(count: float) -> str:
    """Return `5m`, `1.5h`, `250ms` or `12s`: the spelling that `seconds` reads back."""
    if count < 1:
        return f"{count * 1000:.0f}ms"
    for unit, length in (("h", 3600), ("m", 60)):
        if count >= length and count % (length / 2) == 0:
            return f"{count / length:.10g}{unit}"
    return f"{count:.10g}s"
