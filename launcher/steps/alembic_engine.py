"""How does the engine that env.py made connect, and under which name?

For the child only, where SQLAlchemy is imported already.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import sqlalchemy
from sqlalchemy import event

if TYPE_CHECKING:
    from sqlalchemy import Connection
    from sqlalchemy.engine.interfaces import Dialect

_NAME = "PGAPPNAME"  # libpq's; the launcher sets it for each step


def is_whole(connection: Connection) -> bool:
    """Whether the engine connects by its URL and arguments alone: neither a `creator` nor a `do_connect` listener."""
    creator = getattr(connection.engine.pool, "_creator", None)  # no public name; create_engine's own is in its module
    own = getattr(creator, "__module__", None) == sqlalchemy.create_engine.__module__
    return own and all(each is _pass_name for each in connection.dialect.dispatch.do_connect)


def name_connections() -> None:
    """Let connections through asyncpg carry $PGAPPNAME too, which it does not read: by it a takeover finds them."""
    if os.environ.get(_NAME):
        event.listen(sqlalchemy.Engine, "do_connect", _pass_name)


def _pass_name(dialect: Dialect, _record: object, _arguments: list[Any], options: dict[str, Any]) -> None:
    """Add the name to what asyncpg.connect gets; one that the application has chosen stays."""
    if dialect.driver == "asyncpg":
        settings = options.get("server_settings") or {}
        options["server_settings"] = {"application_name": os.environ[_NAME], **settings}
