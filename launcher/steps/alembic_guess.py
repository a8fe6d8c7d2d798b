"""May DATABASE_URL be asked before env.py was ever run?

Only when env.py itself reads it and nothing speaks against it; else env.py is asked once, and then it is known.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from launcher.databases import same
from launcher.databases import url as databases
from launcher.steps.alembic_memory import Table
from launcher.steps.alembic_project import Project

_VARIABLE = "DATABASE_URL"
_DIALECTS = {"sqlite", "postgresql", "mysql", "mariadb"}  # whose quoting and errors are known here


def by_variable(project: Project, cwd: Path, environ: Mapping[str, str]) -> Table | None:
    """Return DATABASE_URL's version table, if nothing speaks against that being the one env.py migrates."""
    value = environ.get(_VARIABLE, "").strip()
    try:
        known = databases.parse(value).dialect in _DIALECTS
    except ValueError:
        return None
    rivals = (other for name, other in environ.items() if name != _VARIABLE and "://" in other)
    if not known or "%" in value.rpartition("/")[2] or any(_is_rival(other, value) for other in rivals):
        return None
    if project.is_unusual() or not project.reads(_VARIABLE):
        return None
    return Table(url=databases.absolute(value, cwd))


def _is_rival(other: str, url: str) -> bool:
    """Whether another variable names another database of the same kind: env.py may mean that one."""
    try:
        return databases.parse(other).dialect == databases.parse(url).dialect and not same(other, url)
    except ValueError:
        return False
