"""What does a report say, as JSON?

Passwords were masked where the report was made; they are again here, since this is where it leaves the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from launcher.redact import redact

if TYPE_CHECKING:
    from launcher import Incident


def document(incident: Incident) -> dict[str, Any]:
    """Return it as its file has it: names of the record -> what JSON knows; paths of requests without their query."""
    said: dict[str, Any] = {one.name: _plain(getattr(incident, one.name)) for one in fields(incident)}
    for request in said["in_flight"]:
        request["path"] = str(request.get("path", "")).partition("?")[0]
    return said


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in value]
    return redact(str(value))
