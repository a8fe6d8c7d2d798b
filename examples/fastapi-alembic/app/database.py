"""Which database, and how is it reached?"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from sqlalchemy.engine import URL, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

# Platforms hand out URLs without an async driver, Heroku even with a scheme that SQLAlchemy does not know.
ASYNC_DRIVERS = {
    "postgres": "postgresql+asyncpg",
    "postgresql": "postgresql+asyncpg",
    "sqlite": "sqlite+aiosqlite",
}


def database_url(environ: Mapping[str, str] = os.environ) -> URL:
    """Return `DATABASE_URL` with an async driver; without the variable, a SQLite file in the working directory."""
    url = make_url(environ.get("DATABASE_URL") or "sqlite+aiosqlite:///./app.db")
    return url.set(drivername=ASYNC_DRIVERS.get(url.drivername, url.drivername))


engine: AsyncEngine = create_async_engine(database_url(), pool_pre_ping=True)
sessions = async_sessionmaker(engine, expire_on_commit=False)


async def session() -> AsyncIterator[AsyncSession]:
    """Give one request its session."""
    async with sessions() as opened:
        yield opened
