"""Where to listen, when several places speak of host, port, bind, uds and fd?

Host and port combine over all places (a file's host with a platform's PORT); bind, uds and fd are whole addresses. The
strongest place decides which of the two it is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from launcher.errors import UsageError
from launcher.origin import DEFAULT, Ignored, Origin, Sourced
from launcher.settings.layers import Layer
from launcher.settings.options import BY_NAME
from launcher.settings.values import typed

WHOLE = ("bind", "uds", "fd")
HALVES = ("host", "port")
NAMES = (*WHOLE, *HALVES)
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - as `fastapi run`: in a container nothing else can be reached
THIS_MACHINE = "127.0.0.1"
DEFAULT_PORT = 8000
_HIGHEST_PORT = 65535
_ADDRESS = re.compile(r"(?:tcp://)?(?P<host>\[[^\]]+\]|[^:\[\]/]*):(?P<port>\d{1,5})")
_UNIX_OR_FD = re.compile(r"unix:.+|fd://\d+")


@dataclass(slots=True)
class Addresses:
    """The addresses as gunicorn writes them, the options that gave them, and those that lost."""

    bind: tuple[Sourced[str], ...] = ()
    winners: dict[str, Sourced[object]] = field(default_factory=dict)
    ignored: list[Ignored] = field(default_factory=list)


def fold(layers: Sequence[Layer], *, reload: bool) -> Addresses:
    """Return the addresses to bind. Raises UsageError for a contradiction inside one place, or a broken address."""
    found = Addresses()
    for layer in layers:
        said = {name: layer.values[name] for name in NAMES if name in layer.values}
        if layer.strict:
            _check(said)
        for name, value in said.items():
            _weigh(found, name, value)
    found.bind = _whole(found.winners) or (_combined(found.winners, reload=reload),)
    return found


def _check(said: Mapping[str, Sourced[object]]) -> None:
    whole = [name for name in WHOLE if name in said]
    halves = [name for name in HALVES if name in said]
    if len(whole) > 1 or (whole and halves):
        first, second = (said[name].origin for name in (whole + halves)[:2])
        raise UsageError(
            f"{first} and {second} are two ways to say where to listen",
            cure="give one of them; --bind may be repeated",
        )


def _weigh(found: Addresses, name: str, said: Sourced[object]) -> None:
    taken = found.winners
    rivals = [taken[rival] for rival in (NAMES if name in WHOLE else (*WHOLE, name)) if rival in taken]
    if not rivals:
        taken[name] = Sourced(typed(BY_NAME[name], said), said.origin)
    elif not _is_said(name, said.value, taken):
        found.ignored.append(Ignored(name, said.origin, f"{rivals[0].origin} wins"))


def _is_said(name: str, raw: object, taken: Mapping[str, Sourced[object]]) -> bool:
    """Return whether the winner says the same: a `bind` that was put together from HOST and PORT ignores neither."""
    if name in taken and str(taken[name].value) == str(raw):
        return True
    bind = taken["bind"].value if "bind" in taken else ()
    addresses = [str(address).rpartition(":") for address in bind] if isinstance(bind, tuple) else []
    if name == "bind":
        return addresses == [str(raw).rpartition(":")] or (
            isinstance(raw, list) and list(map(str, raw)) == list(bind if isinstance(bind, tuple) else ())
        )
    return any(str(raw) == {"host": host, "port": port}.get(name) for host, _, port in addresses)


def _whole(winners: Mapping[str, Sourced[object]]) -> tuple[Sourced[str], ...]:
    if "uds" in winners:
        return (Sourced(f"unix:{winners['uds'].value}", winners["uds"].origin),)
    if "fd" in winners:
        return (Sourced(f"fd://{winners['fd'].value}", winners["fd"].origin),)
    if "bind" not in winners:
        return ()
    bind = winners["bind"]
    addresses = bind.value if isinstance(bind.value, tuple) else ()
    if not addresses:
        raise UsageError(f"{bind.origin}: the list of addresses is empty", cure="write HOST:PORT or leave it out")
    return tuple(Sourced(_address(address, bind.origin), bind.origin) for address in addresses)


def _address(text: str, origin: Origin) -> str:
    """Return the address as it stands when a server can bind it; a host alone gets the default port."""
    match = _ADDRESS.fullmatch(text)
    if _UNIX_OR_FD.fullmatch(text) or (match and int(match["port"]) <= _HIGHEST_PORT):
        return text
    if text and not text.isdecimal() and not set(text) & set(":/[] "):
        return f"{text}:{DEFAULT_PORT}"
    raise UsageError(f"{origin}: {text!r} is not an address", cure="write HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N")


def _combined(winners: Mapping[str, Sourced[object]], *, reload: bool) -> Sourced[str]:
    """Return `host:port` with the defaults of DESIGN §6; IPv6 in brackets."""
    said = [winners[name].origin for name in winners if name in HALVES]
    host = str(winners["host"].value) if "host" in winners else (THIS_MACHINE if reload else ALL_INTERFACES)
    port = winners["port"].value if "port" in winners else DEFAULT_PORT
    if ":" in host and not host.startswith("["):
        host = f"[{host}]"
    origin = Origin(said[0].kind, " and ".join(map(str, said))) if said else DEFAULT
    return Sourced(f"{host}:{port}", origin)
