"""Do the files of the project agree with each other?"""

from __future__ import annotations

import ast
import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

import launcher

ROOT = Path(__file__).parents[2]
PYPROJECTS = sorted([ROOT / "pyproject.toml", *ROOT.glob("plugins/*/pyproject.toml")])


def pyproject(path: Path = ROOT / "pyproject.toml") -> dict[str, Any]:
    """Return a parsed pyproject.toml."""
    return tomllib.loads(path.read_text())


def entry_points() -> list[tuple[str, str, str]]:
    """Return group, name and object reference of everything the core registers."""
    project = pyproject()["project"]
    groups = {"console_scripts": project["scripts"], **project["entry-points"]}
    return [(group, name, value) for group, members in groups.items() for name, value in members.items()]


def modules() -> list[str]:
    """Return the files of the core, relative to the root, as test ids that are the same on every machine."""
    return [str(path.relative_to(ROOT)) for path in sorted((ROOT / "launcher").rglob("*.py"))]


@pytest.mark.parametrize("path", PYPROJECTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_one_version(path: Path) -> None:
    """The core and each plugin have the version that the package says."""
    assert launcher.__version__ == pyproject(path)["project"]["version"]


def test_changelog_names_the_version() -> None:
    """The newest release in the changelog is the version, with room for unreleased changes above it."""
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)

    assert ["Unreleased", launcher.__version__] == headings[:2]


@pytest.mark.parametrize(("group", "name", "value"), entry_points())
def test_entry_points_resolve(group: str, name: str, value: str) -> None:
    """Every command and every built-in kind is an object that can be imported."""
    loaded = EntryPoint(name=name, value=value, group=group).load()

    assert callable(loaded)


def test_public_names_are_sorted_and_there() -> None:
    """`__all__` is sorted, and every name in it exists."""
    assert sorted(launcher.__all__) == list(launcher.__all__)
    assert [] == [name for name in launcher.__all__ if not hasattr(launcher, name)]


def test_typed() -> None:
    """The package tells type checkers that its annotations count."""
    assert (ROOT / "launcher" / "py.typed").is_file()


def test_every_lint_exception_has_its_reason() -> None:
    """Each rule that is switched off for the project or a folder has a comment beside it."""
    text = (ROOT / "pyproject.toml").read_text()
    section = text.partition("[tool.ruff.lint]")[2].partition("[tool.ruff.lint.flake8")[0]
    listed = re.findall(r'^    "[A-Z]+\d*",.*$', section, flags=re.MULTILINE)

    assert listed
    assert [] == [line for line in listed if not re.search(r"# \S.{5,}", line)]


def test_every_silenced_line_has_its_reason() -> None:
    """Each `noqa` and each `type: ignore` names its rule and says why after a dash."""
    silenced = re.compile(r"#\s*(noqa|type:\s*ignore)(?!: [A-Z0-9, ]+ - \S|\[[a-z-, ]+\]  # \S)")
    files = [path for folder in ("launcher", "plugins", "tests", ".ci") for path in (ROOT / folder).rglob("*.py")]

    assert [] == [
        f"{path.relative_to(ROOT)}:{number}"
        for path in files
        if path != Path(__file__)
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if silenced.search(line)
    ]


@pytest.mark.parametrize("name", modules())
def test_a_module_answers_a_question(name: str) -> None:
    """The first line of a module's docstring is the one question the module answers."""
    docstring = ast.get_docstring(ast.parse((ROOT / name).read_text()))

    assert (docstring or "").partition("\n")[0].endswith("?")


@pytest.mark.parametrize("name", modules())
def test_a_module_is_short(name: str) -> None:
    """No file of the core has more than 300 lines."""
    assert len((ROOT / name).read_text().splitlines()) <= 300
