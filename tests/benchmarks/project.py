"""What is started in the benchmarks? A FastAPI application with many migrations, as alembic's templates lay it out."""

from __future__ import annotations

import compileall
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

BIN = Path(sys.executable).parent
REPOSITORY = Path(__file__).parents[2]
URL = "sqlite:///./app.db"  # what env.py falls back on, and what the cases with a known URL are told

APP = """
import sqlite3

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
def head() -> dict[str, str]:
    with sqlite3.connect("app.db") as connection:
        return {"head": connection.execute("SELECT version_num FROM alembic_version").fetchone()[0]}
"""

ALEMBIC_INI = """
[alembic]
script_location = %(here)s/migrations
prepend_sys_path = .
path_separator = os
sqlalchemy.url = sqlite:///./app.db

[loggers]
keys = root,sqlalchemy,alembic

[handlers]
keys = console

[formatters]
keys = generic

[logger_root]
level = WARNING
handlers = console
qualname =

[logger_sqlalchemy]
level = WARNING
handlers =
qualname = sqlalchemy.engine

[logger_alembic]
level = INFO
handlers =
qualname = alembic

[handler_console]
class = StreamHandler
args = (sys.stderr,)
level = NOTSET
formatter = generic

[formatter_generic]
format = %(levelname)-5.5s [%(name)s] %(message)s
datefmt = %H:%M:%S
"""

ENV_PY = """
import os
from logging.config import fileConfig

from alembic import context
from sqlalchemy import engine_from_config, pool

config = context.config
if "DATABASE_URL" in os.environ:
    config.set_main_option("sqlalchemy.url", os.environ["DATABASE_URL"])
if config.config_file_name is not None:
    fileConfig(config.config_file_name)

connectable = engine_from_config(config.get_section(config.config_ini_section), poolclass=pool.NullPool)
with connectable.connect() as connection:
    context.configure(connection=connection, target_metadata=None)
    with context.begin_transaction():
        context.run_migrations()
"""

MIGRATION = '''
"""table number {number}"""

import sqlalchemy as sa
from alembic import op

revision = "{revision}"
down_revision = {down}
branch_labels = None
depends_on = None


def upgrade():
    op.create_table("t{number}", sa.Column("id", sa.Integer, primary_key=True), sa.Column("text", sa.String(80)))


def downgrade():
    op.drop_table("t{number}")
'''


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a small environment with bytecode on, the commands of this interpreter first, and `changes`."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    return {**kept, "HOME": tempfile.gettempdir(), "PATH": f"{BIN}:/usr/local/bin:/usr/bin:/bin", **(changes or {})}


def make_project(folder: Path, migrations: int) -> Path:
    """Write the project, migrate its database to the head and compile it; return `folder`."""
    write(folder / "app" / "__init__.py", "")
    write(folder / "app" / "main.py", APP)
    write(folder / "alembic.ini", ALEMBIC_INI)
    write(folder / "migrations" / "env.py", ENV_PY)
    for number in range(migrations):
        down = repr(revision(number - 1)) if number else None
        text = MIGRATION.format(number=number, revision=revision(number), down=down)
        write(folder / "migrations" / "versions" / f"{revision(number)}_table.py", text)
    upgrade: list[str | Path] = [BIN / "alembic", "upgrade", "head"]
    subprocess.run(upgrade, cwd=folder, env=environment(), check=True, capture_output=True)
    for compiled in (folder, REPOSITORY / "launcher"):
        compileall.compile_dir(compiled, quiet=1)
    return folder


def revision(number: int) -> str:
    """Return an identifier of the length that alembic makes up."""
    return f"{number + 0xA000:012x}"


def write(path: Path, text: str) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.removeprefix("\n"))
