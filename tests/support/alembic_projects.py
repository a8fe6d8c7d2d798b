"""How does a test write a project with migrations?"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INI = """
    [alembic]
    script_location = %(here)s/migrations
    prepend_sys_path = .
    path_separator = os
    sqlalchemy.url = sqlite:///app.db
"""

URL_OF_ENV = 'os.environ.get("DATABASE_URL") or context.config.get_main_option("sqlalchemy.url")'

ENGINE_OF_ENV = "create_engine(url, poolclass=pool.NullPool)"

SYNC_ENV = """
    import os
    from alembic import context
    from sqlalchemy import create_engine, pool

    url = os.environ.get("DATABASE_URL") or context.config.get_main_option("sqlalchemy.url")
    engine = create_engine(url, poolclass=pool.NullPool)
    with engine.connect() as connection:
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()
"""

ASYNC_ENV = """
    import asyncio
    import os
    from alembic import context
    from sqlalchemy import pool
    from sqlalchemy.ext.asyncio import create_async_engine

    url = os.environ.get("DATABASE_URL") or "sqlite+aiosqlite:///app.db"

    def migrate(connection):
        context.configure(connection=connection)
        with context.begin_transaction():
            context.run_migrations()

    async def main():
        engine = create_async_engine(url, poolclass=pool.NullPool)
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
        await engine.dispose()

    asyncio.run(main())
"""


def migration(revision: str, down: object = None, depends_on: object = None, body: str = "pass") -> str:
    """Return the text of a migration as Alembic's template writes it."""
    return (
        f'"""{revision}\n\nRevision ID: {revision}\n"""\n\nfrom typing import Sequence, Union\n\n'
        "from alembic import op\n\n\n"
        f"revision: str = {revision!r}\ndown_revision: Union[str, Sequence[str], None] = {down!r}\n"
        f"branch_labels = None\ndepends_on = {depends_on!r}\n\n\ndef upgrade() -> None:\n    {body}\n"
    )


def table_migrations(count: int) -> dict[str, str]:
    """Return a chain of migrations r1, r2, ... that create a table each, by path."""
    return {
        f"migrations/versions/r{number}_x.py": migration(
            f"r{number}", f"r{number - 1}" if number > 1 else None, body=f"op.execute('CREATE TABLE t{number} (x int)')"
        )
        for number in range(1, count + 1)
    }


def alembic_project(
    env: str = SYNC_ENV, ini: str = INI, count: int = 2, leave_out: Sequence[str] = ()
) -> dict[str, str]:
    """Return the files of a project with this env.py and a chain of `count` migrations."""
    files = {"alembic.ini": ini, "migrations/env.py": env, **table_migrations(count)}
    return {name: text for name, text in files.items() if name not in leave_out}
