"""How does a test of the commands get a host with launchers that are none?"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from support.waiting import until

if TYPE_CHECKING:
    from support.launched import Launched
    from support.spawning import Launch, Spawner

TESTS = Path(__file__).parents[1]
STAND_IN = TESTS / "support" / "stand_in.py"


class Host:
    """A runtime directory, stand-ins in it, commands that look there."""

    def __init__(self, spawn: Spawner, launch: Launch, folder: Path) -> None:
        """Start nothing yet."""
        self._spawn, self._launch, self.folder = spawn, launch, folder
        self.runtime_dir = folder / "run"
        self.env = {"LAUNCHER_RUNTIME_DIR": str(self.runtime_dir)}

    def stand_in(self, cwd: Path | None = None, **asked: Any) -> Launched:
        """Start one; it answers when this returns."""
        asked.setdefault("runtime_dir", str(self.runtime_dir))
        where = self.folder if cwd is None else cwd
        argv = [sys.executable, str(STAND_IN), json.dumps(asked)]
        started = self._spawn(argv, cwd=where, env={"PYTHONPATH": str(TESTS)})
        until(lambda: "\n" in started.stdout, "the stand-in's address", 20)
        return started

    def begin(self, *words: str, **options: Any) -> Launched:
        """Start a command."""
        return self._launch(*words, cwd=options.pop("cwd", self.folder), env=self.env, **options)

    def run(self, *words: str, cwd: Path | None = None) -> Launched:
        """Run a command to its end."""
        launched = self.begin(*words, cwd=cwd or self.folder)
        launched.wait()
        return launched
