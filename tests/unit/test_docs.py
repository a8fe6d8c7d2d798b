"""Do the documents say what the code does?"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from launcher.cli.main import FIRST, MORE
from launcher.errors import ExitCode
from launcher.settings.load import load

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "examples").glob("*/*.md")]


def events_in_code() -> set[str]:
    """Return every event that the source writes."""
    sources = [path.read_text(encoding="utf-8") for path in (ROOT / "launcher").rglob("*.py")]
    return {event for text in sources for event in re.findall(r'(?:log\.\w+|say|warn)\(\s*"(launcher\.[a-z_]+)"', text)}


def test_every_event_is_documented() -> None:
    """The table of events has each event of the code, and no other."""
    page = (ROOT / "docs/reference/events.md").read_text(encoding="utf-8")

    assert events_in_code() == set(re.findall(r"^\| `(launcher\.[a-z_]+)`", page, re.MULTILINE))


def test_every_exit_code_is_in_the_readme() -> None:
    """The table of exit codes has each code of the code, and no other."""
    table = README.partition("## Exit codes")[2].partition("##")[0]
    numbers = {int(number) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for number in row.split(",")}

    assert {int(code) for code in ExitCode if code != ExitCode.SIGNALLED} == numbers
    assert "128+n" in table


def test_every_command_is_in_the_readme() -> None:
    """A reader of the README meets each command."""
    assert [] == [name for name in (*FIRST, *MORE) if f"`launcher {name}" not in README]


def test_the_settings_of_the_readme_can_be_read(tmp_path: Path) -> None:
    """The example of `launcher.toml` is one: three steps of the types and policies that it shows."""
    example = README.partition("```toml\n")[2].partition("```")[0]
    (tmp_path / "launcher.toml").write_text(example, encoding="utf-8")
    settings = load({}, cwd=tmp_path, environ={}, root=tmp_path)

    assert ["wait-for", "alembic", "run"] == [step.type for step in settings.prestart.steps]
    assert [60.0, 600.0, 300.0] == [step.timeout_s for step in settings.prestart.steps]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    """A relative link of a page leads to a file or folder of the repository."""
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8"))

    assert [] == [target for target in targets if not (page.parent / target).exists()]
