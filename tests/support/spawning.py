"""How does a test start processes that are gone when it is over?"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypedDict

from support.environment import clean_environment
from support.launched import Launched
from support.reaping import alive, describe, kill_all
from support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import BinaryIO, Unpack

STRAYS_GRACE_S = 3.0  # what its parent told to end may need this long, and is no stray before


class Options(TypedDict, total=False):
    """How a process is started; every one may be left out.

    cwd: the folder it starts in, else an empty one of the test.
    env: added to the clean environment; None removes a name.
    stdin: text, or a file descriptor (a terminal's); else the null device.
    pass_fds: descriptors it inherits under their own number.
    allow_strays: it may leave processes behind; they are killed without failing the test.
    before: words before the command (`MemoryGroup.inside`).
    """

    cwd: Path | str
    env: Mapping[str, str | None]
    stdin: str | int | None
    pass_fds: Sequence[int]
    allow_strays: bool
    before: Sequence[str]


class Launch(Protocol):
    """What the fixture `launch` is."""

    def __call__(self, *args: str, python: str | Path = sys.executable, **options: Unpack[Options]) -> Launched:
        """Start the launcher with these arguments and return at once."""


class Spawner:
    """Starts processes in sessions of their own, and ends all of them."""

    def __init__(self, folder: Path) -> None:
        """Keep home, working folder, outputs, and what launchers keep in their default places, under `folder`."""
        self.mark = uuid.uuid4().hex
        self.started: list[Launched] = []
        self._folder = folder
        for name in ("home", "cwd", "run"):
            (folder / name).mkdir(parents=True)
        # Sockets and reports go to the test's own folder by the rules of the default place: what a setting names wins.
        self._places: dict[str, str | None] = {"XDG_RUNTIME_DIR": str(folder / "run")}

    def __call__(self, argv: Sequence[str | Path], **options: Unpack[Options]) -> Launched:
        """Start `argv` and return at once."""
        words = [str(word) for word in (*options.get("before", ()), *argv)]
        number = len(self.started)
        stdout_path, stderr_path = (self._folder / f"{number}.{stream}" for stream in ("stdout", "stderr"))
        with stdout_path.open("wb") as stdout, stderr_path.open("wb") as stderr, self._stdin(options, number) as stdin:
            popen = subprocess.Popen(
                words,
                cwd=options.get("cwd", self._folder / "cwd"),
                env=clean_environment(self._folder / "home", self.mark, {**self._places, **options.get("env", {})}),
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                pass_fds=tuple(options.get("pass_fds", ())),
            )
        launched = Launched(words, popen, stdout_path, stderr_path, options.get("allow_strays", False))
        self.started.append(launched)
        return launched

    def launch(self, *args: str, python: str | Path = sys.executable, **options: Unpack[Options]) -> Launched:
        """Start the launcher with these arguments, as a module: no `launcher` of another environment can be meant."""
        return self([python, "-m", "launcher", *args], **options)

    def end(self) -> None:
        """End everything; AssertionError when something outlived the process that had started it."""
        sessions = [launched.pid for launched in self.started]
        try:
            tidy = [launched.stop() for launched in self.started]
            strays = self._strays(sessions)
        finally:
            for launched in self.started:
                launched.popen.kill()  # does nothing to one that has ended
                launched.popen.wait()
            kill_all(sessions, self.mark)
        allowed = any(launched.allow_strays for launched in self.started)
        assert allowed or not strays, f"left behind (exit statuses {tidy}): {strays}"

    def _strays(self, sessions: Sequence[int]) -> list[str]:
        """Return what is still there after the grace; when strays are allowed, do not wait for them to end."""
        if not any(launched.allow_strays for launched in self.started):
            try:
                until(lambda: not alive(sessions, self.mark), "the descendants' end", STRAYS_GRACE_S)
            except AssertionError:
                return [describe(process) for process in alive(sessions, self.mark)]
        return []

    def _stdin(self, options: Options, number: int) -> BinaryIO:
        given = options.get("stdin")
        if isinstance(given, str):
            path = self._folder / f"{number}.stdin"
            path.write_text(given)
            return path.open("rb")
        source: str | int = os.devnull if given is None else given
        return open(source, "rb", closefd=given is None)
