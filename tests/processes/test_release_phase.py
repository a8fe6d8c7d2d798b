"""Does `launcher run` keep out of where only the steps are meant to run?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

FILES = {
    "main.py": "async def app(scope, receive, send): ...\n",
    "launcher.toml": '[[prestart]]\nname = "mark"\nrun = "touch marked"\n',
}


@pytest.mark.parametrize("phase", [{"RELEASE_COMMAND": "1"}, {"DYNO": "release.4711"}])
def test_run_refuses_the_release_phase(launch: Launch, project: MakeProject, phase: dict[str, str]) -> None:
    """A server would never end there: exit code 2, and the command that ends is named."""
    folder = project(FILES)
    ended = launch("run", cwd=folder, env=phase)

    assert 2 == ended.wait()
    assert "launcher prestart" in ended.stderr
    assert not (folder / "marked").exists()


@pytest.mark.parametrize("phase", [{"RELEASE_COMMAND": "1"}, {"DYNO": "release.4711"}])
def test_prestart_is_for_the_release_phase(launch: Launch, project: MakeProject, phase: dict[str, str]) -> None:
    """The steps run there, and the servers of the release find them done."""
    folder = project(FILES)
    code = launch("prestart", "--release", "r1", cwd=folder, env=phase).wait()
    checked = launch("prestart", "--prestart", "check", "--release", "r1", cwd=folder)

    assert [0, 0] == [code, checked.wait()]
    assert (folder / "marked").exists()
