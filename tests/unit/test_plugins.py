"""Is the right plugin found, and is a broken one named?"""

from __future__ import annotations

import textwrap
import tomllib
from importlib.metadata import entry_points
from pathlib import Path
from typing import Protocol

import pytest

from launcher.errors import ExitCode, PluginError, UsageError
from launcher.hook_plugins import hook_plugins
from launcher.plugins import BUILT_IN, in_modules, installed, load_kind, words

HOOK = "def launcher_event(event): ..."
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"


class Install(Protocol):
    """What the fixture `install` is."""

    def __call__(self, name: str, entry_points: str, modules: dict[str, str]) -> None:
        """Install a distribution with this `entry_points.txt` and these modules."""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Install distributions for one test."""
    monkeypatch.syspath_prepend(tmp_path)

    def made(name: str, entry_points: str, modules: dict[str, str]) -> None:
        info = tmp_path / f"{name.replace('-', '_')}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(textwrap.dedent(entry_points))
        for module, text in modules.items():
            (tmp_path / f"{module}.py").write_text(textwrap.dedent(text))

    return made


def test_built_in_words_are_the_entry_points() -> None:
    """The table that spares a start the metadata says the same as pyproject.toml."""
    groups = tomllib.loads(PYPROJECT.read_text())["project"]["entry-points"]

    assert {f"launcher.{kind}": table for kind, table in BUILT_IN.items()} == groups


@pytest.mark.parametrize(("kind", "word"), [(kind, word) for kind, table in BUILT_IN.items() for word in table])
def test_every_built_in_word_loads(kind: str, word: str) -> None:
    """Behind each built-in word is a class."""
    assert isinstance(load_kind(kind, word), type)  # type: ignore[arg-type]  # a Literal from the table


def test_hook_plugins_are_those_that_python_finds(install: Install) -> None:
    """What is read from the metadata of distributions without importlib.metadata is what that finds, in its order."""
    install(
        "zz-first", "[launcher]\na = hooked_a\n\n[console_scripts]\nlauncher_no = hooked_no:main\n", {"hooked_a": HOOK}
    )
    install("Other_One", "[x]\ny = z\n[launcher]\n# c = hooked_no\nb = hooked_b [extra]\n", {"hooked_b": HOOK})
    expected = [
        (point.value.partition(" ")[0], f"{point.dist.name} {point.dist.version}" if point.dist else "")
        for point in sorted(entry_points(group="launcher"), key=lambda point: point.name)
    ]

    assert expected == [(plugin.target, plugin.who) for plugin in hook_plugins(unused=True)]
    assert {"hooked_a", "hooked_b"} < {plugin.target for plugin in hook_plugins(unused=True)}


def test_an_installed_word_is_found(install: Install) -> None:
    """A distribution's entry point is found, named with its version, and loaded."""
    install("launcher-good", "[launcher.steps]\ngood = good_one:Good\n", {"good_one": "class Good: ..."})

    assert "Good" == load_kind("steps", "good").__name__
    assert ("launcher-good", "1.2") in {(o.distribution, o.version) for o in installed() if o.word == "good"}


BROKEN = {
    "raises": "raise RuntimeError('on purpose')",
    "leaves": "import sys; sys.exit(0)",
    "is-no-python": "class",
    "has-no-such-name": "",
    "is-no-class": "Broken = 1",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_entry_point_is_named(install: Install, text: str, request: pytest.FixtureRequest) -> None:
    """The error names word, distribution and version, means exit code 2, and the others still load."""
    module = f"broken_{request.node.callspec.id.replace('-', '_')}"
    points = f"[launcher.steps]\nbroken = {module}:Broken\nfine = fine_{module}:Fine\n"
    install("launcher-broken", points, {module: text, f"fine_{module}": "class Fine: ..."})
    with pytest.raises(PluginError) as caught:
        load_kind("steps", "broken")

    assert "step 'broken' of launcher-broken 1.2" in caught.value.message
    assert ExitCode.USAGE == caught.value.exit_code
    assert "Fine" == load_kind("steps", "fine").__name__
    assert "RunStep" == load_kind("steps", "run").__name__


def test_words_load_nothing(install: Install) -> None:
    """Listing the words imports no plugin, so a broken one does not keep the list from anybody."""
    install("launcher-x", "[launcher.locks]\nx = module_that_is_not_there:X\n", {})

    assert {"file", "x"} <= words("locks")


@pytest.mark.parametrize("text", [*list(BROKEN.values())[:3], "launcher_steps = ['word']", "launcher_steps = {'w': 1}"])
def test_a_broken_module_is_named(install: Install, text: str, request: pytest.FixtureRequest) -> None:
    """A module of `plugins = [...]` that cannot be used is named, and what is built in still loads."""
    module = f"module_{abs(hash(request.node.name))}"
    install("unrelated", "", {module: text})
    with pytest.raises(PluginError, match=f"plugin {module}: "):
        load_kind("steps", "w", [module])
    with pytest.raises(PluginError, match=f"plugin {module}: "):
        list(in_modules([module]))

    assert "RunStep" == load_kind("steps", "run", [module]).__name__


def test_a_module_brings_its_words(install: Install) -> None:
    """A module's table is a plugin without a distribution; a built-in word stays what it is."""
    text = "class Mine: ...\nlauncher_steps = {'mine': Mine, 'run': Mine}"
    install("unrelated", "", {"my_ops": text})

    assert "Mine" == load_kind("steps", "mine", ["my_ops"]).__name__
    assert "RunStep" == load_kind("steps", "run", ["my_ops"]).__name__


def test_an_unknown_word_suggests_the_nearest() -> None:
    """A slip of the pen is answered with the word that was meant."""
    with pytest.raises(UsageError, match="unknown step type 'alembik'") as caught:
        load_kind("steps", "alembik")

    assert "did you mean 'alembic'?" in caught.value.cure
    assert "wait-for" in caught.value.cure


def test_two_of_the_same_word_are_both_named(install: Install) -> None:
    """Which of two distributions is meant cannot be guessed: both are named."""
    for name in ("one", "two"):
        install(f"launcher-{name}", f"[launcher.locks]\nsame = lock_{name}:Lock\n", {f"lock_{name}": "class Lock: ..."})

    with pytest.raises(PluginError, match="lock 'same' is brought by launcher-one and launcher-two"):
        load_kind("locks", "same")
