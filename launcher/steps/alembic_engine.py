"""How does the engine that env.py made connect, and under which name?

For the child only, where SQLAlchemy is imported already.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import Dialect

_NAME = "PGAPPNAME"  # libpq's; a lock in PostgreSQL sets it for each step
_OF_A_STEP = "asgi-launcher step"  # how it begins then (`launcher.locks.postgresql`)
_WITH_KEYWORD = {"psycopg", "psycopg_async", "psycopg2", "psycopg2cffi", "pg8000"}  # application_name=...


@dataclass(frozen=True, slots=True, weakref_slot=True)  # SQLAlchemy refers to its listeners so
class _Tag:
    """A `do_connect` listener: the step's name instead of what the application calls its sessions."""

    name: str

    def __call__(self, dialect: Dialect, _record: object, _arguments: list[Any], options: dict[str, Any]) -> None:
        """Add the name to what the driver's `connect` gets; there it wins over a DSN's and over PGAPPNAME."""
        if dialect.driver == "asyncpg":
            settings = options.get("server_settings") or {}
            options["server_settings"] = {**settings, "application_name": self.name}
        elif dialect.name == "postgresql" and dialect.driver in _WITH_KEYWORD:
            options["application_name"] = self.name


def is_whole(connection: Connection) -> bool:
    """Whether the engine connects by its URL and arguments alone: neither a `creator` nor a `do_connect` listener."""
    creator = getattr(connection.engine.pool, "_creator", None)  # no public name; create_engine's own is in its module
    own = getattr(creator, "__module__", None) == sqlalchemy.create_engine.__module__
    return own and all(isinstance(each, _Tag) for each in connection.dialect.dispatch.do_connect)


def name_connections() -> None:
    """Let every connection that SQLAlchemy makes to PostgreSQL carry the step's name: by it a takeover finds them.

    The name is read here and not when connecting: env.py may change the environment. Not done for an engine with a
    `creator`, which connects in its own way.
    """
    name = os.environ.get(_NAME, "")
    if name.startswith(_OF_A_STEP):
        event.listen(sqlalchemy.Engine, "do_connect", _Tag(name))
