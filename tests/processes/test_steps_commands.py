"""Do `run`, `call` and PRE_START_PATH do what they say, with real processes?"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from launcher.errors import UsageError
from launcher.steps.call import CallStep
from launcher.steps.command import RunStep
from launcher.steps.pre_start_path import PreStartPathStep
from support.environment import clean_environment
from support.step_context import TestContext, settings

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from support.projects import MakeProject

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def context_in(folder: Path, variables: Mapping[str, str] | None = None, import_dir: Path | None = None) -> TestContext:
    """Return a context whose processes start in `folder` with a clean environment."""
    folder.mkdir(exist_ok=True)
    environ = clean_environment(folder, "", variables or {})
    return TestContext(cwd=folder, environ=environ, import_dir=import_dir)


def sourced(project: MakeProject, script: str, variables: Mapping[str, str] | None = None) -> Mapping[str, str | None]:
    """Run a PRE_START_PATH script to its end and return what it exports."""
    context = context_in(project({"prestart.sh": script}), variables)
    result, exports = context.carry_out(PreStartPathStep(settings("pre-start-path", "prestart.sh")))
    assert result.ok, result.tail
    return exports


def test_a_string_is_for_the_shell(project: MakeProject) -> None:
    """Pipes and variables work in a string."""
    context = context_in(project({}), {"WHO": "shell"})
    result, exports = context.carry_out(RunStep(settings("run", "echo $WHO | tr a-z A-Z")))

    assert (0, "SHELL\n", {}) == (result.status, result.tail, exports)


def test_a_list_is_for_no_shell(project: MakeProject) -> None:
    """What a shell would replace arrives as it was written."""
    context = context_in(project({}))
    result, _ = context.carry_out(RunStep(settings("run", ["printf", "%s\n", "$HOME *"])))

    assert (0, "$HOME *\n") == (result.status, result.tail)


def test_a_failing_command_keeps_its_exit_code(project: MakeProject) -> None:
    """The code of the command is the step's."""
    result, _ = context_in(project({})).carry_out(RunStep(settings("run", "exit 7")))

    assert 7 == result.status


CALLED = """
    import asyncio, os, sys

    def plain():
        print("plain in", os.getcwd() == sys.path[0])
        return 3

    async def awaited():
        await asyncio.sleep(0)
        print("awaited")

    def fails():
        raise ValueError("no seeds")

    def leaves():
        sys.exit(4)

    class Group:
        def method(): print("method")
"""


@pytest.mark.parametrize(
    ("target", "status", "said"),
    [
        ("seeds:plain", 0, "plain in True\n"),
        ("seeds:plain()", 0, "plain in True\n"),
        ("seeds:awaited", 0, "awaited\n"),
        ("seeds:Group.method", 0, "method\n"),
        ("seeds:leaves", 4, ""),
    ],
)
def test_a_function_is_called(project: MakeProject, target: str, status: int, said: str) -> None:
    """Functions are called, coroutines awaited, return values ignored, sys.exit obeyed."""
    result, _ = context_in(project({"seeds.py": CALLED})).carry_out(CallStep(settings("call", target)))

    assert (status, said) == (result.status, result.tail)


@pytest.mark.parametrize("target", ["seeds:fails", "seeds:nothing", "nowhere:main"])
def test_a_function_that_fails_shows_its_own_traceback(project: MakeProject, target: str) -> None:
    """The exit code is 1, and no line of the launcher stands in the traceback."""
    result, _ = context_in(project({"seeds.py": CALLED})).carry_out(CallStep(settings("call", target)))

    assert 1 == result.status
    assert "Error: " in result.tail.splitlines()[-1]
    assert "call_child" not in result.tail


def test_a_function_is_found_where_the_application_is(project: MakeProject) -> None:
    """The working directory comes first, then the import directory."""
    folder = project(
        {"both.py": "def main(): print('cwd')", "src/both.py": "", "src/there.py": "def main(): print('src')"}
    )
    context = context_in(folder, import_dir=folder / "src")
    said = [context.carry_out(CallStep(settings("call", name)))[0].tail for name in ("both:main", "there:main")]

    assert ["cwd\n", "src\n"] == said


def test_a_projects_modules_do_not_replace_ours(project: MakeProject) -> None:
    """A project's own launcher.py or argparse.py does not break the process that calls its function."""
    folder = project({"seeds.py": "def main(): print('here')", "launcher.py": "1/0", "inspect.py": "1/0"})
    result, _ = context_in(folder).carry_out(CallStep(settings("call", "seeds:main")))

    assert (0, "here\n") == (result.status, result.tail)


def test_exports_reach_the_server(project: MakeProject) -> None:
    """New, changed, empty and removed variables are reported; plain shell variables and the shell's own are not."""
    script = """
        export NEW=1 EMPTY= LINES_OF="a
        b=c" CHANGED=after
        unset GONE
        not_exported=1
        cd /
    """
    exports = sourced(project, script, {"GONE": "1", "CHANGED": "before", "SAME": "1"})

    assert {"NEW": "1", "EMPTY": "", "LINES_OF": "a\nb=c", "CHANGED": "after", "GONE": None} == exports


@pytest.mark.parametrize(
    "ending", ["exit 0", "exit", "return 0", "set -u; readonly X; f() { :; }; unset PATH", "exec 1>&2"]
)
def test_exports_survive_every_good_end(project: MakeProject, ending: str) -> None:
    """An `exit 0` in the script, which ended the retired images' containers, is an end like any other."""
    exports = sourced(project, f"export A=1\n{ending}\n")

    assert "1" == exports["A"]


def test_exports_survive_a_trap_of_the_script(project: MakeProject) -> None:
    """A script with an EXIT trap of its own still exports when its end is reached."""
    exports = sourced(project, "trap 'echo bye' EXIT\nexport A=1\n")

    assert {"A": "1"} == exports


@pytest.mark.parametrize(
    ("script", "status"), [("false\nexport A=1", 1), ("exit 9", 9), ("return 3", 3), ("nosuchthing", 127)]
)
def test_a_failing_script_keeps_its_exit_code(project: MakeProject, script: str, status: int) -> None:
    """`set -e` holds as in the images, and the trap that reports does not hide the code."""
    context = context_in(project({"prestart.sh": script}))
    result, _ = context.carry_out(PreStartPathStep(settings("pre-start-path", "prestart.sh")))

    assert status == result.status


@needs_bash
def test_a_script_for_bash_gets_bash(project: MakeProject) -> None:
    """The first line decides; the images gave `set -o pipefail` to a shell that does not know it."""
    script = "#!/usr/bin/env bash\nset -o pipefail\nx=(a b)\nexport SECOND=${x[1]}\n"

    assert {"SECOND": "b"} == sourced(project, script)


def test_what_only_the_step_had_is_not_exported(project: MakeProject) -> None:
    """Variables that the launcher gave the step alone do not reach the server."""
    context = context_in(project({"prestart.sh": "export A=1"}))
    step = PreStartPathStep(settings("pre-start-path", "prestart.sh"))
    launchers_own = context.environ
    context.environ = {**launchers_own, "ONLY_FOR_THE_STEP": "1", "LAUNCHER_STEP_NAME": "it"}
    result, _ = context.carry_out(step)
    context.environ = launchers_own

    assert {"A": "1"} == step.finished(context, result)


def test_bytes_that_are_no_text_survive(project: MakeProject) -> None:
    """A value that is not UTF-8 arrives as os.environ would hold it."""
    exports = sourced(project, "export RAW=$(printf '\\377')\n")

    assert b"\xff" == os.fsencode(exports["RAW"] or "")


def test_a_python_file_is_run(project: MakeProject) -> None:
    """A PRE_START_PATH that ends in .py is given to Python, not to a shell."""
    context = context_in(project({"prestart.py": "print('python')"}))
    result, exports = context.carry_out(PreStartPathStep(settings("pre-start-path", "prestart.py")))

    assert (0, "python\n", {}) == (result.status, result.tail, exports)


def test_a_missing_script_is_only_said(project: MakeProject) -> None:
    """No file: nothing to do, no error."""
    context = context_in(project({}))
    step = PreStartPathStep(settings("pre-start-path", "/app/prestart.sh"))

    assert (False, "There is no script /app/prestart.sh") == (step.due(context).due, step.due(context).because)


@pytest.mark.parametrize(
    ("kind", "value", "options"),
    [
        (RunStep, 3, {}),
        (RunStep, " ", {}),
        (RunStep, [], {}),
        (RunStep, ["a", 1], {}),
        (RunStep, "true", {"timeuot": "5m"}),
        (CallStep, "main", {}),
        (CallStep, "app.seed", {}),
        (CallStep, "app:1x", {}),
        (CallStep, ["app:main"], {}),
        (PreStartPathStep, None, {}),
    ],
)
def test_a_wrong_table_is_refused_by_name(kind: type, value: object, options: dict[str, str]) -> None:
    """The message names the step and the file it is in."""
    with pytest.raises(UsageError, match=r"step 'it'.*launcher\.toml"):
        kind(replace(settings("run", value), options=options))
