"""Where was each thread, each task and each exception of a process that ended?

Read from what it wrote while it died: tracebacks of Python's (of groups, too), the dumps of faulthandler ("most recent
call first", docs.python.org/3/library/faulthandler.html), and the launcher's own lists of asyncio tasks.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import launcher

_FRAME = re.compile(r' *File "(?P<filename>.+)", line (?P<lineno>\d+|\?+),? in (?P<function>.+)')
_THREAD = re.compile(
    r"(?P<current>Current thread|Thread) (?P<id>0x[0-9a-fA-F]+)(?: \[(?P<name>.*?)\])?[^(]*"
    r"\(most recent call first.*\):"
)
_TASK = re.compile(r"(?P<name>Main thread|Task .+):")
_TRACEBACK = re.compile(r"(?:Exception Group )?Traceback \(most recent call last\):")
_ERROR = re.compile(r"(?P<type>[A-Za-z_][\w.<>]*)(?:: (?P<value>.*))?")
_FATAL = re.compile(r"^Fatal Python error: (?:\w+: )?(?P<what>.+)$", re.MULTILINE)
_MARGIN = re.compile(r"^ +[|+] ")  # of what belongs to an exception group
_INSTALLED = re.compile(r"/lib(?:64)?/python\d[\w.]*/(?:(?:site|dist)-packages/)?|/(?:site|dist)-packages/")
_LAUNCHER = f"{Path(launcher.__file__).parent}/"  # installed from its sources it is in no such folder
_MOST_LINES = 20  # of an exception's own text

Kind = Literal["exception", "task", "thread"]


@dataclass(frozen=True, slots=True)
class Frame:
    """A place in the code; `lineno` is None where nobody knew it."""

    filename: str
    function: str
    lineno: int | None

    @property
    def in_app(self) -> bool:
        """Whether it is the application's: neither Python's library nor something installed."""
        return not (self.filename.startswith(("<", _LAUNCHER)) or _INSTALLED.search(self.filename))

    def short(self, cwd: str) -> str:
        """Return the file without what differs from host to host: the folder of packages, or of the application."""
        if installed := _INSTALLED.search(self.filename):
            return self.filename[installed.end() :]
        return self.filename.removeprefix(_LAUNCHER.removesuffix("launcher/")).removeprefix(f"{cwd.rstrip('/')}/")


@dataclass(frozen=True, slots=True)
class Stack:
    """Frames, the outermost call first. type, value: of an exception. current: the thread that was hit."""

    kind: Kind
    name: str
    frames: tuple[Frame, ...]
    current: bool = False
    type: str = ""
    value: str = ""

    @property
    def innermost(self) -> Frame | None:
        """Return the innermost frame of the application's, the innermost at all where there is none."""
        inwards = self.frames[::-1]
        return next((frame for frame in inwards if frame.in_app), next(iter(inwards), None))


def stacks(text: str) -> list[Stack]:
    """Return what stands in a report's `stacks`, in this order; what is nothing of the kind is passed over."""
    found: list[_Open] = []
    taking = False
    for line in (_MARGIN.sub("", one) for one in text.splitlines()):
        if opened := _opened(line):
            found.append(opened)
            taking = True
        elif taking:
            taking = found[-1].take(line)
    return [one.closed() for one in found if one.frames or one.type]


def decisive(found: Sequence[Stack], *, waited: bool = False) -> Stack | None:
    """Return the stack that tells why: the last exception, else the thread that was hit, else the main thread's.

    waited: nothing was hit, it did not come to an end. Then a thread that is in its event loop tells less than a task
    that waits in the application.
    """
    exceptions = [stack for stack in found if stack.kind == "exception"]
    hit = [stack for kind in ("thread", "task") for stack in found if stack.current and stack.kind == kind]
    tasks = [stack for stack in found if stack.kind == "task"]
    in_app = [stack for stack in (*hit, *tasks) if waited and stack.innermost and stack.innermost.in_app]
    return next(iter((*exceptions[-1:], *in_app, *hit, *found)), None)


def fatal(text: str) -> str:
    """Return what faulthandler calls the end ("Segmentation fault"), empty when it said nothing."""
    return found["what"] if (found := _FATAL.search(text)) else ""


@dataclass(slots=True)
class _Open:
    """A stack that is being read."""

    kind: Kind
    name: str = ""
    current: bool = False
    frames: list[Frame] = field(default_factory=list)
    type: str = ""
    value: list[str] = field(default_factory=list)

    def take(self, line: str) -> bool:
        """Read a line; False when it does not belong here any more, nor do those behind it."""
        if not line.strip():
            return False
        if not self.type and (frame := _FRAME.fullmatch(line)):
            lineno = int(frame["lineno"]) if frame["lineno"].isdecimal() else None
            self.frames.append(Frame(frame["filename"], frame["function"], lineno))
            return True
        if self.type:
            self.value.append(line)
            return len(self.value) < _MOST_LINES
        return line[0] == " " or self._take_error(line)

    def closed(self) -> Stack:
        """Return it as it was read."""
        frames = tuple(reversed(self.frames) if self.kind == "thread" else self.frames)
        return Stack(self.kind, self.name, frames, self.current, self.type, "\n".join(self.value))

    def _take_error(self, line: str) -> bool:
        if self.kind != "exception" or not (error := _ERROR.fullmatch(line)):
            return False
        self.type, self.value = error["type"], [error["value"] or ""]
        return True


def _opened(line: str) -> _Open | None:
    """Return the stack that begins with this line."""
    if thread := _THREAD.fullmatch(line):
        return _Open("thread", thread["name"] or thread["id"], current=thread["current"] == "Current thread")
    if task := _TASK.fullmatch(line):
        return _Open("task", task["name"], current=task["name"] == "Main thread")
    return _Open("exception") if _TRACEBACK.fullmatch(line) else None
