"""Is a broken plugin named, and does it end a start with one message?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from launcher.errors import ExitCode

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

STEP = """
from launcher.steps import Command, Due

class Broken:
    once_per, needs_lock, tells_due = "start", True, False
    def __init__(self, settings):
        {init}
    def due(self, context):
        {due}
    def command(self, context):
        {command}
    def finished(self, context, result):
        {finished}
    def where(self):
        return "nowhere"

launcher_steps = {{"broken": Broken}}
"""
WORKING = {
    "init": "pass",
    "due": "return Due(True, 'always')",
    "command": "return Command(argv=('true',))",
    "finished": "return {}",
}
SETTINGS = 'plugins = ["ops"]\n[[prestart]]\nbroken = 1\n'


@pytest.mark.parametrize("method", ["init", "due", "command", "finished"])
def test_a_step_type_that_raises_is_named(launch: Launch, project: MakeProject, method: str) -> None:
    """Whichever method of a plugin's step raises, the start ends with code 2 and the plugin's name."""
    source = STEP.format(**{**WORKING, method: "raise RuntimeError('kaputt')"})
    folder = project({"ops.py": source, "launcher.toml": SETTINGS})
    ended = launch("prestart", cwd=folder)

    assert ended.wait() == ExitCode.USAGE
    assert "step type 'broken' (ops:Broken): RuntimeError: kaputt" in ended.stderr


def test_a_step_type_that_works_runs(launch: Launch, project: MakeProject) -> None:
    """The same class with nothing broken does its work: what the others test is the breakage."""
    folder = project({"ops.py": STEP.format(**WORKING), "launcher.toml": SETTINGS})
    ended = launch("prestart", cwd=folder)

    assert ended.wait() == ExitCode.OK
    assert ended.event("launcher.step_done")


def test_a_module_that_is_not_there_is_named(launch: Launch, project: MakeProject) -> None:
    """A misspelt name in `plugins` ends the start, used or not."""
    folder = project({"launcher.toml": 'plugins = ["opss"]\n[[prestart]]\nrun = "true"\n'})
    ended = launch("prestart", cwd=folder)

    assert ended.wait() == ExitCode.USAGE
    assert "plugin opss: ModuleNotFoundError" in ended.stderr
