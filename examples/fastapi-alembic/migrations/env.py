"""How does alembic reach the database of the application?"""

from __future__ import annotations

import asyncio
from logging.config import fileConfig
from typing import TYPE_CHECKING

from alembic import context
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

from app.database import database_url
from app.models import Base

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

if context.config.config_file_name is not None:
    fileConfig(context.config.config_file_name, disable_existing_loggers=False)


def write_sql() -> None:
    """Print the statements instead of executing them: `alembic upgrade head --sql`."""
    context.configure(url=database_url(), target_metadata=Base.metadata, literal_binds=True)
    with context.begin_transaction():
        context.run_migrations()


def migrate(connection: Connection) -> None:
    """Run the migrations on `connection`. SQLite alters a table by making it anew, hence the batches."""
    batches = connection.dialect.name == "sqlite"
    context.configure(connection=connection, target_metadata=Base.metadata, render_as_batch=batches)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    """Open one connection for the migrations, and no pool around it."""
    engine = create_async_engine(database_url(), poolclass=NullPool)
    async with engine.connect() as connection:
        await connection.run_sync(migrate)
    await engine.dispose()


if context.is_offline_mode():
    write_sql()
else:
    asyncio.run(connect_and_migrate())
