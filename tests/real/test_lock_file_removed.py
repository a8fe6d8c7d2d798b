"""Does a step stay alone when somebody removes the lock file that it runs under?"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.errors import ExitCode
from support.waiting import until

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Launch

# The kernel tells whether two steps were at work: a lock of the test's own. A step that does not end by TERM.
STEP = """
[[prestart]]
name = "seed"
run = '''
trap '' TERM
exec 9>work
flock -n 9 || touch overlapped
touch begun-$LAUNCHER_STEP_TOKEN
while [ ! -e go ]; do sleep 0.05; done
'''
"""


def test_a_successor_waits_for_the_old_step(launch: Launch, project: MakeProject) -> None:
    """The lock file is removed: the holder loses its step (75), and who has the new file begins when that is dead."""
    folder = project({"launcher.toml": STEP})
    words = ("prestart", "--lock", "file:my.lock", "--release", "r1")
    first = launch(*words, cwd=folder)
    until((folder / "begun-1").exists, "the first step", 20)
    (folder / "my.lock").unlink()
    second = launch(*words, cwd=folder)
    until((folder / "begun-2").exists, "the second step", 40)
    (folder / "go").touch()

    assert [ExitCode.LOCK_NOT_OBTAINED, 0] == [first.wait(), second.wait()], f"{first}\n{second}"
    assert not (folder / "overlapped").exists()
    assert 8 == second.wait_event("launcher.takeover_begun")["waits_s"]
