"""Are heads read from the files the heads that Alembic has?"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

import pytest
from alembic.config import Config
from alembic.runtime.environment import EnvironmentContext
from alembic.script import ScriptDirectory
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import NullPool, create_engine, text

from launcher.steps.revisions import CannotTell, read_revision, read_revisions
from support.alembic_projects import migration

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

ENV_PY = """
from alembic import context
context.configure(connection=context.config.attributes["connection"])
with context.begin_transaction():
    context.run_migrations()
"""
Below = tuple[tuple[str, ...], tuple[str, ...]]  # down_revision, depends_on


def scripts(folder: Path, graph: Mapping[str, Below]) -> ScriptDirectory:
    """Write one migration per entry and return Alembic's view of them."""
    versions = folder / "versions"
    versions.mkdir(parents=True)
    (folder / "env.py").write_text(ENV_PY)
    for revision, (down, depends_on) in graph.items():
        plain = down[0] if len(down) == 1 else (down or None)
        (versions / f"{revision}_x.py").write_text(migration(revision, plain, depends_on or None))
    return ScriptDirectory(folder)


def upgraded(script: ScriptDirectory) -> set[str]:
    """Run `upgrade heads` on an empty database and return the rows it leaves."""
    engine = create_engine("sqlite://", poolclass=NullPool)  # closed with the block, not by the garbage collector
    with engine.connect() as connection:
        config = Config(attributes={"connection": connection})
        with EnvironmentContext(config, script, fn=lambda rows, _: script._upgrade_revs("heads", rows)):  # noqa: SLF001 - what alembic.command.upgrade does
            script.run_env()
        return set(connection.execute(text("SELECT version_num FROM alembic_version")).scalars())


CHAIN: dict[str, Below] = {"a": ((), ()), "b": (("a",), ()), "c": (("b",), ())}
GRAPHS: dict[str, dict[str, Below]] = {
    "one": {"a": ((), ())},
    "a chain": CHAIN,
    "a branch": CHAIN | {"d": (("b",), ())},
    "a merge": CHAIN | {"d": (("b",), ()), "e": (("c", "d"), ())},
    "two roots": CHAIN | {"x": ((), ()), "y": (("x",), ())},
    "a head that is depended on": CHAIN | {"x": ((), ("c",))},
    "a middle that is depended on": CHAIN | {"x": ((), ("b",)), "y": (("x",), ())},
    "a dependency given twice": CHAIN | {"x": ((), ("c",)), "y": (("x",), ("c",))},
    "a branch that depends on the other": CHAIN | {"d": (("b",), ("c",))},
    "dependencies of dependencies": CHAIN | {"x": ((), ("c",)), "m": ((), ("x",))},
}


@pytest.mark.parametrize("name", GRAPHS)
def test_heads_are_the_rows_that_an_upgrade_leaves(tmp_path: Path, name: str) -> None:
    """Alembic's own head list and what it really writes both agree."""
    script = scripts(tmp_path / "m", GRAPHS[name])
    found = read_revisions([tmp_path / "m" / "versions"])

    assert {revision.revision for revision in script.get_revisions("heads")} == found.heads
    assert upgraded(script) == found.heads
    assert GRAPHS[name].keys() == found.ids


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, Below]:
    """Return any migration history without circles: each revision needs only earlier ones."""
    graph: dict[str, Below] = {}
    for number in range(draw(st.integers(1, 9))):
        earlier = st.lists(st.sampled_from(sorted(graph)), unique=True, max_size=2) if graph else st.just([])
        graph[f"r{number}"] = (tuple(draw(earlier)), tuple(draw(earlier)))
    return graph


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=graphs())
def test_heads_agree_with_alembic_for_any_history(
    tmp_path_factory: pytest.TempPathFactory, graph: dict[str, Below]
) -> None:
    """Merges, branches, roots and dependencies in any mixture."""
    folder = tmp_path_factory.mktemp("graph") / "m"
    script = scripts(folder, graph)
    found = read_revisions([folder / "versions"])

    assert {revision.revision for revision in script.get_revisions("heads")} == found.heads
    assert [] == list(script.iterate_revisions("heads", tuple(found.heads), implicit_base=True))


@pytest.mark.parametrize(
    "text",
    [
        "revision = 'a'\ndown_revision = None\n",
        "revision: str = 'a'\ndown_revision: str | None = None\n",
        "x = revision = 'a'\ndown_revision = ()\n",
        "revision = (\n    'a'\n)\ndown_revision = None\n",
        "'''\ndef upgrade(): in a docstring\n'''\nrevision = 'a'\ndown_revision = None\n",
        "def f():\n    revision = 'b'\nrevision = 'a'\ndown_revision = None\n",
        "revision = 'a'\ndown_revision = None\ndef upgrade():\n    op.execute('revision = 1')\n",
        "from x import *\nrevision = 'a'\ndown_revision = branch_labels = depends_on = None\n",
        "# -*- coding: latin-1 -*-\nrevision = 'a'\ndown_revision = None  # \xe9\n",
    ],
)
def test_plainly_written_files_are_read(tmp_path: Path, text: str) -> None:
    """What is literal at module level counts, in every spelling."""
    path = tmp_path / "1_a.py"
    path.write_bytes(text.encode("latin-1"))

    assert ("a", ()) == (read_revision(path).id, read_revision(path).down)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "revision = 'a'\n",
        "revision = f'{1}'\ndown_revision = None\n",
        "revision = 'a'\ndown_revision = PREVIOUS\n",
        "revision = 'a'\ndown_revision = None\nif True:\n    down_revision = 'b'\n",
        "revision = 'a'\ndown_revision = None\ntry:\n    from x import depends_on\nexcept ImportError:\n    pass\n",
        "revision, down_revision = 'a', None\n",
        "revision = 'a'\ndown_revision = None\ndef depends_on(): pass\n",
        "revision = 'a'\ndown_revision = None\nglobals()['down_revision'] = 'b'\n",
        "revision = 'a'\ndown_revision = None\ndef f():\n    global down_revision\n    down_revision = 'b'\nf()\n",
        "revision = 'a'\ndown_revision = None\ndown_revision += 'b'\n",
        "revision = 'a'\ndown_revision = None\nfor down_revision in 'b': pass\n",
        "from x import *\nrevision = 'a'\ndown_revision = None\n",
        "revision = 'a'\ndown_revision = 3\n",
        "revision = 'a'\ndown_revision = None\nimport x as depends_on\n",
        "revision = 'a'\ndown_revision = None\n(depends_on := 'b')\n",
        "revision = 'a\n",
        "revision = 'a'\ndown_revision = None\n\0",
    ],
)
def test_everything_else_cannot_be_told(tmp_path: Path, text: str) -> None:
    """Whatever could be another value at run time is left to Alembic."""
    path = tmp_path / "1_a.py"
    path.write_text(text)

    with pytest.raises(CannotTell):
        read_revision(path)


@pytest.mark.parametrize(
    "files",
    [
        {"1.py": migration("a"), "2.py": migration("a")},
        {"1.py": migration("b", "a")},
        {"1.py": migration("a"), "2.py": migration("b", depends_on="label")},
        {"1.py": migration("a", "b"), "2.py": migration("b", "a")},
        {"1.py": migration("abc"), "2.py": migration("b", "ab")},
    ],
    ids=["twice", "missing", "label", "circle", "shortened"],
)
def test_a_broken_history_cannot_be_told(tmp_path: Path, files: dict[str, str]) -> None:
    """Alembic's own message is the better one."""
    for name, content in files.items():
        (tmp_path / name).write_text(content)

    with pytest.raises(CannotTell):
        read_revisions([tmp_path])


@pytest.mark.parametrize("recursive", [True, False])
def test_the_same_files_count_as_in_alembic(tmp_path: Path, *, recursive: bool) -> None:
    """Hidden editor files, __init__, caches, subfolders and folders given twice."""
    script = scripts(tmp_path / "m", CHAIN)
    versions = tmp_path / "m" / "versions"
    (versions / "__init__.py").write_text("")
    (versions / ".#b_x.py").write_text("1/0")
    (versions / "notes.txt").write_text("1/0")
    (versions / "__pycache__").mkdir()
    (versions / "__pycache__" / "d.py").write_text("1/0")
    (versions / "later").mkdir()
    (versions / "later" / "d_x.py").write_text(migration("d", "c"))
    script = ScriptDirectory(tmp_path / "m", recursive_version_locations=recursive)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = {revision.revision for revision in script.get_revisions("heads")}

    assert expected == read_revisions([versions, versions], recursive=recursive).heads
