"""Which heads do these migration files have?

Read from their content, without Alembic and without running them: importing Alembic, SQLAlchemy and sixty modules is
most of the time of `alembic upgrade head` with nothing to do. Whatever is not plainly written raises CannotTell, and
then Alembic is asked: a wrong "at head" would start a server on an old schema.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

# The names that Alembic's `Script` reads from a module.
_NAMES = frozenset({"revision", "down_revision", "depends_on", "branch_labels"})
_IS_MIGRATION = re.compile(r"(?!\.#|__init__).*\.py$")  # ScriptDirectory's own rule for file names
_BODY = re.compile(rb"^(?:def|async|class|@|if|for|while|try|with)\b|^@", re.MULTILINE)
_MENTIONED = re.compile(rb"\b(?:revision|down_revision|depends_on|branch_labels|globals|exec|setattr)\b")
_GLOBAL = re.compile(rb"\bglobal\s[^\n]*\b(?:revision|down_revision|depends_on|branch_labels)\b")
_IMPORT_OF_ALL = re.compile(rb"^\s*from\s.*\bimport\s*\(?\s*\*", re.MULTILINE)


class CannotTell(Exception):
    """The files do not say it plainly; the text is why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Revision:
    """One migration file: its id and the ids it needs below it."""

    id: str
    down: tuple[str, ...]
    depends_on: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Revisions:
    """All migrations of one project: the ids, and which of them `alembic upgrade heads` leaves in the version table."""

    ids: frozenset[str]
    heads: frozenset[str]


def read_revisions(folders: Iterable[Path], *, recursive: bool = False) -> Revisions:
    """Return ids and heads of the migrations in these folders. Raises CannotTell."""
    found: dict[str, Revision] = {}
    for path in sorted({path.resolve() for folder in folders for path in _files(folder, recursive=recursive)}):
        revision = read_revision(path)
        if revision.id in found:
            raise CannotTell(f"two migrations have the id {revision.id}")
        found[revision.id] = revision
    return Revisions(ids=frozenset(found), heads=heads(found))


def heads(revisions: Mapping[str, Revision]) -> frozenset[str]:
    """Return the ids that no other revision needs, by descent or by `depends_on`. Raises CannotTell for a broken chain.

    These are the rows that Alembic keeps: a revision that another one implies has no row of its own.
    """
    needed = {below for revision in revisions.values() for below in (*revision.down, *revision.depends_on)}
    if missing := needed - revisions.keys():  # a label, a shortened id, or a file that is not there
        raise CannotTell(f"no migration has the id {min(missing)}")
    ends = frozenset(revisions.keys() - needed)
    if _below(ends, revisions) != revisions.keys():
        raise CannotTell("the migrations form a circle")
    return ends


def read_revision(path: Path) -> Revision:
    """Return what one migration file says. Raises CannotTell."""
    try:
        values = _assigned(path.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError) as error:
        raise CannotTell(f"{path.name}: {error}") from error
    except CannotTell as error:
        raise CannotTell(f"{path.name}: {error}") from None
    revision = values.get("revision")
    if not isinstance(revision, str) or not revision or "down_revision" not in values:
        raise CannotTell(f"{path.name}: no revision with a down_revision")
    down, depends_on = (_ids(values.get(name), path) for name in ("down_revision", "depends_on"))
    return Revision(id=revision, down=down, depends_on=depends_on)


def _below(ends: Iterable[str], revisions: Mapping[str, Revision]) -> set[str]:
    """Return all that these need, themselves included."""
    seen: set[str] = set()
    waiting = list(ends)
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            waiting += (*revisions[one].down, *revisions[one].depends_on)
    return seen


def _ids(value: object, path: Path) -> tuple[str, ...]:
    if value is None:
        return ()
    several = value if isinstance(value, list | tuple | set) else (value,)
    if not all(isinstance(one, str) and one for one in several):
        raise CannotTell(f"{path.name}: {value!r} is no revision id")
    return tuple(str(one) for one in several)


def _files(folder: Path, *, recursive: bool) -> Iterable[Path]:
    for root, _, names in os.walk(folder):
        if not root.endswith("__pycache__"):
            yield from (Path(root, name) for name in names if _IS_MIGRATION.match(name))
        if not recursive:
            return


def _assigned(source: bytes) -> dict[str, object]:
    """Return the names with their values; only the head of the file is parsed when the rest cannot matter."""
    body = _BODY.search(source)
    if body is not None and not _MENTIONED.search(source, body.start()):
        try:
            return _values(ast.parse(source[: body.start()]), source)
        except SyntaxError:
            pass  # the word stood in a docstring
    return _values(ast.parse(source), source)


def _values(module: ast.Module, source: bytes) -> dict[str, object]:
    values: dict[str, object] = {}
    understood: set[int] = set()
    for statement in module.body:
        if isinstance(statement, ast.Assign | ast.AnnAssign):
            targets = statement.targets if isinstance(statement, ast.Assign) else [statement.target]
            for target in targets:
                if isinstance(target, ast.Name) and target.id in _NAMES and statement.value is not None:
                    values[target.id] = ast.literal_eval(statement.value)
                    understood.add(id(target))
    _refuse_other_bindings(module, understood)
    if _IMPORT_OF_ALL.search(source) and not values.keys() >= _NAMES:
        raise CannotTell("names may come from an import of `*`")
    if _GLOBAL.search(source):
        raise CannotTell("a function may change the names")
    return values


def _refuse_other_bindings(module: ast.Module, understood: set[int]) -> None:
    """Raise CannotTell when one of the names is bound in any other way at module level."""
    for node in _outside_functions(module):
        names: set[str] = set()
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and id(node) not in understood:
            names = {node.id}
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names = {node.name}
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.asname or alias.name for alias in node.names}
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in {"globals", "exec"}:
            names = set(_NAMES)
        if names & _NAMES:
            raise CannotTell(f"line {getattr(node, 'lineno', '?')} is not a plain assignment")


def _outside_functions(node: ast.AST) -> Iterable[ast.AST]:
    for child in ast.iter_child_nodes(node):
        yield child
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            yield from _outside_functions(child)
