"""How is an address written?

As gunicorn writes it: `host:port`, `[v6]:port`, `:port`, `port`, `host`, `unix:PATH`, `fd://N`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from launcher.errors import UsageError
from launcher.origin import Sourced

DEFAULT_PORT = 8000  # gunicorn's and uvicorn's
ANY_HOST = "0.0.0.0"  # noqa: S104 - a container's port must be reachable from outside (DESIGN §6)
_LAST_PORT = 65535
_TCP = re.compile(r"(?:tcp://)?(?:\[(?P<v6>[^\]]+)\]|(?P<host>[^:\[\]]*))(?::(?P<port>\d+))?")


@dataclass(frozen=True, slots=True)
class Tcp:
    """Host (a name or a literal, without brackets) and port; 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        """Return the spelling of gunicorn and of URLs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """The path of a Unix socket."""

    path: str

    def __str__(self) -> str:
        """Return the spelling of gunicorn."""
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Inherited:
    """A descriptor that our parent bound."""

    fd: int

    def __str__(self) -> str:
        """Return the spelling of gunicorn."""
        return f"fd://{self.fd}"


def parse_address(address: Sourced[str]) -> Tcp | Unix | Inherited:
    """Return what an address means; raise UsageError naming it and its origin."""
    text = address.value.strip()
    if text.startswith("unix:"):
        return _unix(text.removeprefix("unix:"), address)
    if text.startswith("fd://"):
        if not (number := text.removeprefix("fd://")).isdecimal():
            raise _not_an_address(address)
        return Inherited(int(number))
    return _tcp(text, address)


def _unix(path: str, address: Sourced[str]) -> Unix:
    path = path.removeprefix("//") if path.startswith("//") else path  # `unix://run/x` is gunicorn's `run/x`
    if not path:
        raise _not_an_address(address)
    return Unix(path)


def _tcp(text: str, address: Sourced[str]) -> Tcp:
    if text.isdecimal():
        text = f":{text}"
    match = _TCP.fullmatch(text)
    if not text or match is None:
        raise _not_an_address(address)
    port = int(match["port"] or DEFAULT_PORT)
    if port > _LAST_PORT:
        raise UsageError(f"{address.value!r} ({address.origin}): ports end at {_LAST_PORT}")
    return Tcp(match["v6"] or match["host"] or ANY_HOST, port)


def _not_an_address(address: Sourced[str]) -> UsageError:
    return UsageError(
        f"{address.value!r} ({address.origin}) is not an address",
        cure="write host:port, [::1]:port, :port, unix:PATH or fd://N",
    )
