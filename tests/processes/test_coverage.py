"""Does the coverage of `make test` see what runs in other processes?"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.projects import MakeProject
    from support.spawning import Spawner

ROOT = Path(__file__).parents[2]
OUTER_COVERAGE = [name for name in os.environ if name.startswith("COVERAGE_")]
FILES = {
    "outer.py": """
        import subprocess, sys
        subprocess.run([sys.executable, "inner.py"], check=True)
        """,
    "inner.py": """
        import os, sys
        from launcher.units import seconds
        seconds("5m")
        os.execve(sys.executable, [sys.executable, "replaced.py"], dict(os.environ))
        """,
    "replaced.py": """
        import os
        from launcher.units import fraction, size_bytes
        size_bytes("5M")
        child = os.fork()
        if child == 0:
            fraction("5%")
            os._exit(0)
        os.waitpid(child, 0)
        """,
}


def test_subprocess_exec_and_fork_are_measured(spawn: Spawner, project: MakeProject) -> None:
    """What a subprocess runs, what it becomes by exec and what that forks are all in the combined report."""
    folder = project(FILES)

    def coverage(word: str, *rest: str) -> int:
        argv = [sys.executable, "-m", "coverage", word, f"--rcfile={ROOT / 'pyproject.toml'}", *rest]
        return spawn(argv, cwd=folder, env=dict.fromkeys(OUTER_COVERAGE)).wait()

    statuses = [coverage("run", "outer.py"), coverage("combine"), coverage("json", "--fail-under=0")]

    assert [0, 0, 0] == statuses
    report = json.loads((folder / "coverage.json").read_text())
    functions = report["files"][str(ROOT / "launcher" / "units.py")]["functions"]
    assert {"seconds", "size_bytes", "fraction"} == {
        name for name, function in functions.items() if name and function["summary"]["covered_lines"]
    }
