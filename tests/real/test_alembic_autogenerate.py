"""Does autogenerate leave the ledger alone, in the way the documents say?"""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.settings.load import load
from support.alembic_projects import ASYNC_ENV, SYNC_ENV, alembic_project

if TYPE_CHECKING:
    from support.postgresql import PostgreSQL
    from support.projects import MakeProject
    from support.spawning import Spawner

PAGE = Path(__file__).parents[2] / "docs/how-to/alembic.md"
SCRIPT = """
from alembic import op
import sqlalchemy as sa
revision = ${repr(up_revision)}
down_revision = ${repr(down_revision)}
def upgrade():
    ${upgrades if upgrades else "pass"}
"""
MODELS = """
import sqlalchemy
target_metadata = sqlalchemy.MetaData()
sqlalchemy.Table("t1", target_metadata, sqlalchemy.Column("x", sqlalchemy.Integer))
"""


def snippet() -> tuple[str, str]:
    """Return the function of the page, and the call of `configure` that uses it."""
    text = PAGE.read_text(encoding="utf-8").partition("autogenerate\n")[2].partition("```python\n")[2].partition("```")
    function, call, rest = text[0].partition("context.configure(")
    return function, call + rest.strip()


@pytest.mark.parametrize(("env", "driver"), [(SYNC_ENV, "psycopg"), (ASYNC_ENV, "asyncpg")], ids=["sync", "async"])
@pytest.mark.parametrize("excluded", [True, False], ids=["as the page says", "control"])
def test_the_ledger_is_not_dropped(
    spawn: Spawner, project: MakeProject, postgresql: PostgreSQL, env: str, driver: str, *, excluded: bool
) -> None:
    """With the page's function in env.py nothing is dropped; without it the ledger would be."""
    name = f"autogenerate_{driver}_{excluded}".lower()
    url = postgresql.url(name, driver)
    ledger = load({}, cwd=PAGE.parent, environ={}, root=PAGE.parent).prestart.ledger_table
    with postgresql.connect(name) as connection:
        for table in (ledger, f"{ledger}_holder", "t1"):
            connection.execute(f"CREATE TABLE {table} (x int)".encode())
    function, call = snippet()
    configure = call if excluded else "context.configure(connection=connection, target_metadata=target_metadata)"
    text = textwrap.dedent(env).replace("context.configure(connection=connection)", configure)
    folder = project(alembic_project(MODELS + function + text, count=0) | {"migrations/script.py.mako": SCRIPT})
    (folder / "migrations/versions").mkdir()
    made = spawn(["alembic", "revision", "--autogenerate"], cwd=folder, env={"DATABASE_URL": url})

    assert 0 == made.wait(), str(made)
    [migration] = (folder / "migrations/versions").glob("*.py")
    assert excluded is (f"drop_table('{ledger}')" not in migration.read_text()), migration.read_text()
    assert excluded is ("drop_table" not in migration.read_text())
