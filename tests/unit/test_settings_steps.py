"""Do `[[prestart]]` tables and PRE_START_PATH become steps?"""

from __future__ import annotations

from pathlib import Path

import pytest

from launcher.settings.steps import BUILT_IN
from launcher.settings.topics import StepSettings
from support.asked import asked, reasons, refusal


def steps(folder: Path, toml: str, environ: dict[str, str] | None = None) -> list[StepSettings]:
    """Return the steps of a launcher.toml."""
    return list(asked(folder, environ=environ, files={"launcher.toml": toml}).prestart.steps)


@pytest.mark.parametrize("kind", [*BUILT_IN, "wait_for"])
def test_built_in_types(tmp_path: Path, kind: str) -> None:
    """A table needs one key, which names the type; the name is the type's."""
    [step] = steps(tmp_path, f'[[prestart]]\n{kind} = "value"')

    assert (kind.replace("_", "-"),) * 2 == (step.name, step.type)
    assert ("value", None, 600.0, 3, "[[prestart]] 1 in launcher.toml") == (
        step.value,
        step.once_per,
        step.timeout_s,
        step.attempts,
        step.origin.where,
    )


def test_all_keys(tmp_path: Path) -> None:
    """The common keys are ours, further ones are handed to the type."""
    text = '[[prestart]]\nrun = ["a", "b"]\nname = "n"\nonce_per = "content"\nfiles = ["x"]\ntimeout = "5m"\n'
    text += "attempts = 1\nshell = 1"
    [step] = steps(tmp_path, text)

    assert (["a", "b"], "n", "content", ("x",), 300.0, 1, {"shell": 1}) == (
        step.value,
        step.name,
        step.once_per,
        step.files,
        step.timeout_s,
        step.attempts,
        step.options,
    )


def test_names_are_unique(tmp_path: Path) -> None:
    """A second step of a type gets a number, past names that are taken."""
    text = '[[prestart]]\nrun = "a"\n[[prestart]]\nname = "run-2"\nrun = "b"\n[[prestart]]\nrun = "c"'

    assert ["run", "run-2", "run-3"] == [step.name for step in steps(tmp_path, text)]


def test_mode_in_a_file(tmp_path: Path) -> None:
    """`prestart` may be a word instead of tables."""
    settings = asked(tmp_path, files={"launcher.toml": 'prestart = "wait"'})

    assert ("wait", ()) == (settings.prestart.mode, settings.prestart.steps)


def test_steps_of_the_fleet(tmp_path: Path) -> None:
    """The project's steps replace the fleet's, which is said; without them the fleet's run."""
    fleet = {"root/etc/launcher.toml": '[[prestart]]\nrun = "fleet"'}
    both = asked(tmp_path, files={**fleet, "launcher.toml": '[[prestart]]\nrun = "own"'})
    (tmp_path / "launcher.toml").unlink()
    alone = asked(tmp_path, files=fleet)

    assert (["own"], ["fleet"]) == ([s.value for s in both.prestart.steps], [s.value for s in alone.prestart.steps])
    assert ["launcher.toml has its own"] == list(reasons(both).values())


@pytest.mark.parametrize(
    ("toml", "what", "cure"),
    [
        ("prestart = 3", "neither a text nor an array", "[[prestart]]"),
        ('[[prestart]]\nname = "x"', "no key names what to do", "wait-for"),
        ('[[prestart]]\nalembik = "x"', "'alembik' is no step type", "did you mean alembic?"),
        ('[[prestart]]\nrun = "x"\ncall = "y"', "run and call are two steps", "for each"),
        ('[[prestart]]\nrun = "x"\nname = ""', "name = ''", 'name = "seed"'),
        ('[[prestart]]\nrun = "x"\n[[prestart]]\ncall = "y"\nname = "run"', "another step is called 'run'", "own"),
        ('[[prestart]]\nrun = "x"\nonce_per = "day"', "once_per = 'day'", "start, release, content"),
        ('[[prestart]]\nrun = "x"\nonce_per = "content"', "without files", "files = "),
        ('[[prestart]]\nrun = "x"\ntimeout = "soon"', "timeout: 'soon'", '"5m"'),
        ('[[prestart]]\nrun = "x"\ntimeout = "0"', "timeout: '0' leaves no time", '"5m"'),
        ('[[prestart]]\nrun = "x"\ntimeout = 0.0', "timeout: 0.0 leaves no time", '"5m"'),
        ('[[prestart]]\nrun = "x"\ntimeout = -5', "timeout: '-5' is not a duration", '"5m"'),
        ('[[prestart]]\nrun = "x"\ntimeout = true', "timeout: 'True'", '"5m"'),
        ('[[prestart]]\nrun = "x"\nattempts = 0', "attempts = 0 is not a whole number from 1 on", "attempts = 3"),
        ('[[prestart]]\nrun = "x"\nattempts = "3"', "attempts = '3' is not", "attempts = 3"),
        ('[[prestart]]\nrun = "x"\nattempts = true', "attempts = True is not", "attempts = 3"),
        ("[[prestart]]\nattempts = 3", "no key names what to do", "wait-for"),
        ('[[prestart]]\nrun = "x"\nfiles = "a"', "files is not a list", "files = "),
    ],
)
def test_refused(tmp_path: Path, toml: str, what: str, cure: str) -> None:
    """A broken table is refused with its number, its file and what helps."""
    error = refusal(tmp_path, files={"launcher.toml": toml})

    assert error.exit_code == 2
    assert "launcher.toml" in error.message
    assert what in error.message
    assert cure in error.cure


def test_pre_start_path(tmp_path: Path) -> None:
    """The images' script runs before all other steps, at each start, because each replica needs its exports."""
    (tmp_path / "pre.sh").touch()
    first, second = steps(tmp_path, '[[prestart]]\nrun = "x"', {"PRE_START_PATH": "pre.sh"})

    assert ("pre-start", "pre-start-path", "pre.sh", "start", False, "PRE_START_PATH") == (
        first.name,
        first.type,
        first.value,
        first.once_per,
        first.found,
        first.origin.where,
    )
    assert second.value == "x"


def test_pre_start_path_of_the_images(tmp_path: Path) -> None:
    """The images' default path counts only when it is there, and is something that was found."""
    [step] = asked(tmp_path, files={"root/app/prestart.sh": ""}).prestart.steps

    assert (str(tmp_path / "root/app/prestart.sh"), True) == (step.value, step.found)


def test_missing_pre_start_path(tmp_path: Path) -> None:
    """A script that is not there was only a message in the images; here it is said to be ignored."""
    settings = asked(tmp_path, environ={"PRE_START_PATH": "none.sh"})

    assert () == settings.prestart.steps
    assert {"PRE_START_PATH": "there is no file none.sh"} == reasons(settings)
