"""Does the Alembic step bring the schema up, and say what it finds?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.steps.alembic import UNKNOWN_REVISION, AlembicStep, found_alembic
from support.alembic_projects import INI, SYNC_ENV, alembic_project, migration
from support.alembic_starts import Started, put_rows, rows
from support.step_context import settings

if TYPE_CHECKING:
    from pathlib import Path

    from support.projects import MakeProject


@pytest.mark.parametrize("variables", [{}, {"DATABASE_URL": "sqlite:///app.db"}], ids=["env.py", "DATABASE_URL"])
def test_a_database_ahead_of_the_image_is_refused(project: MakeProject, variables: dict[str, str]) -> None:
    """It is told apart from a failure by its own exit code, with the revision and the cure; nothing is changed."""
    folder = project(alembic_project())
    put_rows(folder / "app.db", "zz9")
    start = Started(folder, variables)
    due, because, _ = start.due()
    status, said = start.upgrade()

    assert (True, "the database is at zz9, which this image does not know") == (due, because)
    assert UNKNOWN_REVISION == status
    assert "zz9" in said
    assert "--on-unknown-revision start" in said
    assert {"zz9"} == rows(folder / "app.db")


@pytest.mark.parametrize("variables", [{}, {"DATABASE_URL": "sqlite:///app.db"}], ids=["env.py", "DATABASE_URL"])
def test_a_database_ahead_of_the_image_may_be_started_on(project: MakeProject, variables: dict[str, str]) -> None:
    """With the policy `start` there is nothing to do, and an upgrade that happens all the same does nothing."""
    folder = project(alembic_project())
    put_rows(folder / "app.db", "zz9")
    start = Started(folder, variables, on_unknown_revision="start")
    due, because, _ = start.due()
    status, said = start.upgrade()

    assert (False, "the database is at zz9, which this image does not know") == (due, because)
    assert 0 == status
    assert "zz9" in said
    assert {"zz9"} == rows(folder / "app.db")


def test_one_unknown_row_beside_a_known_one_is_noticed(project: MakeProject) -> None:
    """Every row of the version table is checked."""
    folder = project(alembic_project())
    put_rows(folder / "app.db", "r2", "zz9")
    start = Started(folder, {"DATABASE_URL": "sqlite:///app.db"})

    assert ("zz9" in start.due()[1], UNKNOWN_REVISION) == (True, start.upgrade()[0])


def test_several_databases_are_all_compared(project: MakeProject, tmp_path: Path) -> None:
    """One of two behind is due; with two, nothing is remembered."""
    env = """
        from alembic import context
        from sqlalchemy import create_engine
        for name in ("a", "b"):
            with create_engine(f"sqlite:///{name}.db").connect() as connection:
                context.configure(connection=connection)
                with context.begin_transaction():
                    context.run_migrations()
    """
    folder = project(alembic_project(env))
    start = Started(folder)
    put_rows(folder / "a.db", "r2")
    put_rows(folder / "b.db", "r1")
    (folder / "migrations/versions/r2_x.py").write_text(migration("r2", "r1"))
    behind = start.due()
    upgraded = start.upgrade()
    after = start.due()

    assert (True, "database at r1, heads r2", ["ask"]) == behind
    assert (0, {"r2"}) == (upgraded[0], rows(folder / "b.db"))
    assert ((False, ["ask"]), {}) == ((after[0], after[2]), start.context.memory)


def test_branches_and_dependencies_are_at_head_after_an_upgrade(project: MakeProject) -> None:
    """With two heads and a dependency, both ways say that there is nothing to do."""
    files = alembic_project() | {
        "migrations/versions/x1.py": migration("x1"),
        "migrations/versions/x2.py": migration("x2", "x1", depends_on="r1"),
        "migrations/versions/r3.py": migration("r3", "r2", depends_on="x1"),
    }
    folder = project(files)
    start = Started(folder, {"DATABASE_URL": "sqlite:///app.db"})
    start.upgrade()
    fast = start.due()
    slow = Started(folder).due()

    assert {"r3", "x2"} == rows(folder / "app.db")
    assert ((False, []), (False, ["ask"])) == ((fast[0], fast[2]), (slow[0], slow[2]))


def test_a_migration_that_is_not_plainly_written_is_left_to_alembic(project: MakeProject) -> None:
    """What cannot be read for certain is asked of Alembic, with the same answer."""
    files = alembic_project()
    files["migrations/versions/r2_x.py"] = files["migrations/versions/r2_x.py"].replace("= 'r1'", "= 'r' + str(1)")
    folder = project(files)
    start = Started(folder, {"DATABASE_URL": "sqlite:///app.db"})
    before = start.due()
    start.upgrade()
    after = start.due()

    assert ((True, ["ask"]), (False, ["ask"])) == ((before[0], before[2]), (after[0], after[2]))


def test_a_broken_env_py_is_said_and_fails_the_upgrade(project: MakeProject) -> None:
    """Asking does not fail the start by itself; the upgrade shows the traceback."""
    start = Started(project(alembic_project("raise RuntimeError('no settings for postgresql://u:s3cret@h/d')\n")))
    due, because, _ = start.due()
    status, said = start.upgrade()

    assert due is None
    assert "no settings for postgresql://u:***@h/d" in because
    assert (1, True) == (status, "Traceback" in said)


def test_a_broken_migration_fails_and_nothing_is_learnt(project: MakeProject) -> None:
    """Exit code 1 with Alembic's own output."""
    files = alembic_project() | {"migrations/versions/r3.py": migration("r3", "r2", body="1/0")}
    start = Started(project(files))
    status, said = start.upgrade()

    assert (1, True, {}) == (status, "ZeroDivisionError" in said, start.context.memory)


def test_a_folder_called_alembic_does_not_take_alembics_place(project: MakeProject) -> None:
    """`alembic init alembic` is the tutorial's own spelling, and `.` is put on sys.path."""
    files = {name.replace("migrations/", "alembic/"): text for name, text in alembic_project().items()}
    files["alembic.ini"] = INI.replace("/migrations", "/alembic")
    files["alembic/__init__.py"] = ""
    start = Started(project(files))
    status, said = start.upgrade()

    assert (0, False) == (status, start.due()[0]), said


def test_env_py_can_import_the_application(project: MakeProject) -> None:
    """From the import directory, and from the working directory even without prepend_sys_path."""
    env = "import here, there\n" + SYNC_ENV.replace("\n    ", "\n")
    ini = INI.replace("    prepend_sys_path = .\n", "")
    folder = project(alembic_project(env, ini) | {"here.py": "", "src/there.py": ""})
    start = Started(folder)
    start.context.import_dir = folder / "src"
    status, said = start.upgrade()

    assert 0 == status, said


@pytest.mark.parametrize("options", [{"section": "second"}, {"name": "second"}])
def test_another_section_can_be_named(project: MakeProject, options: dict[str, str]) -> None:
    """As `alembic -n second`."""
    second = INI.replace("[alembic]", "[second]").replace("app.db", "second.db")
    folder = project(alembic_project(ini=second))
    start = Started(folder)
    step = AlembicStep(settings("alembic", "alembic.ini", section="second"))
    result, _ = start.context.carry_out(step)

    assert (0, {"r2"}) == (result.status, rows(folder / "second.db")), result.tail
    assert (False, []) == (start.due(**options)[0], start.due(**options)[2])
    assert "alembic.ini [second]" == step.where()


def test_a_project_without_an_ini_works(project: MakeProject) -> None:
    """`[tool.alembic]` in pyproject.toml is all that is needed, and it is found."""
    toml = '[tool.alembic]\nscript_location = "%(here)s/migrations"\nprepend_sys_path = ["."]\n'
    env = SYNC_ENV.replace('context.config.get_main_option("sqlalchemy.url")', '"sqlite:///app.db"')
    folder = project(alembic_project(env, leave_out=["alembic.ini"]) | {"pyproject.toml": toml})
    start = Started(folder)
    step = AlembicStep(settings("alembic", "pyproject.toml"))
    result, _ = start.context.carry_out(step)

    assert folder / "pyproject.toml" == found_alembic(folder)
    assert (0, {"r2"}) == (result.status, rows(folder / "app.db")), result.tail
    assert (False, []) == (start.context.due(AlembicStep(settings("alembic", "pyproject.toml"))).due, start.context.ran)


def test_whether_it_is_local_is_known_after_asking(project: MakeProject) -> None:
    """None before, then the database's place."""
    context = Started(project(alembic_project()), {"DATABASE_URL": "sqlite:///app.db"}).context
    put_rows(context.cwd / "app.db", "r2")
    step = AlembicStep(settings("alembic", "alembic.ini"))
    before = step.is_local
    step.due(context)

    assert (None, True) == (before, step.is_local)


@pytest.mark.parametrize(
    ("value", "options"),
    [
        ("", {}),
        (3, {}),
        ("alembic.ini", {"target": "+1"}),
        ("alembic.ini", {"target": "a:b"}),
        ("alembic.ini", {"targt": "a"}),
    ],
)
def test_a_wrong_table_is_refused_by_name(value: object, options: dict[str, str]) -> None:
    """The message names the step and the file it is in."""
    with pytest.raises(UsageError, match=r"step 'it'.*launcher\.toml"):
        AlembicStep(settings("alembic", value, timeout_s=1, **options))
