"""Are stacks of every origin read as Sentry wants them?"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import traceback

import pytest
from launcher_sentry.stacks import Stack, decisive, fatal, stacks

import launcher

INSTALLED = f"{sysconfig.get_path('purelib')}/uvicorn/server.py"
HANG = f"""Main thread:
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "{INSTALLED}", line 66, in run
    return asyncio_run(self.serve(sockets=sockets))
  File "/usr/lib/python3.11/selectors.py", line 468, in select
    fd_event_list = self._selector.poll(timeout, max_ev)
2 asyncio tasks:
Task Task-1:
  File "{INSTALLED}", line 71, in serve
    await self._serve(sockets)
Task Task-2:
  File "{INSTALLED}", line 86, in main
  File "/app/main.py", line 12, in lifespan
    await warm_up()
  File "/app/caches.py", line 7, in warm_up.<locals>.inner
Fatal Python error: Aborted

Thread 0x00007f006bd816c0 [pump] (most recent call first):
  File "/app/pump.py", line 3 in waits
  File "/usr/lib/python3.11/threading.py", line ??? in run

Current thread 0x00007f006c81eb80 (most recent call first):
  File "/usr/lib/python3.11/selectors.py", line 468 in select
  File "{INSTALLED}", line 66 in run

Current thread's C stack trace (most recent call first):
  Binary file "/usr/lib/libc.so.6", at __poll+0x4f [0x7f]

Extension modules: httptools.parser.parser (total: 1)
"""
GROUP = """  + Exception Group Traceback (most recent call last):
  |   File "/app/main.py", line 12, in start
  |     async with TaskGroup():
  | ExceptionGroup: many (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/app/jobs.py", line 3, in job
    |     raise KeyError("y")
    | KeyError: 'y'
    +------------------------------------
"""


def places(stack: Stack) -> list[tuple[str, str, int | None]]:
    """Return the frames of a stack, outermost first."""
    return [(frame.short("/app"), frame.function, frame.lineno) for frame in stack.frames]


def named(found: list[Stack]) -> dict[str, Stack]:
    """Return the stacks by their names."""
    return {stack.name: stack for stack in found}


def test_a_segmentation_fault_is_read_from_what_faulthandler_writes() -> None:
    """Each thread with its frames, the outermost first; the one that was hit is the decisive one."""
    source = (
        "import ctypes, faulthandler, threading\nfaulthandler.enable()\n"
        "started = threading.Event()\ndef waits():\n    started.set(); threading.Event().wait(60)\n"
        "threading.Thread(target=waits, daemon=True).start()\nstarted.wait()\n"
        "def crash():\n    ctypes.string_at(0)\ncrash()\n"
    )
    ran = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=False)
    found = stacks(ran.stderr)
    main = decisive(found)

    assert "Segmentation fault" == fatal(ran.stderr)
    assert main is not None
    assert main.current
    assert [("<string>", "<module>", 10), ("<string>", "crash", 9), ("ctypes/__init__.py", "string_at")] == [
        *places(main)[:2],
        places(main)[2][:2],
    ]
    assert [["waits"]] == [[f.function for f in one.frames if f.filename == "<string>"] for one in found if one != main]


def raises() -> None:
    """Raise an exception that has a cause."""
    empty: dict[str, str] = {}
    try:
        empty["missing"]
    except KeyError as error:
        raise RuntimeError("two\nlines") from error


def test_tracebacks_are_exceptions_and_a_cause_comes_first() -> None:
    """Types and texts as Python writes them, also texts of several lines."""
    with pytest.raises(RuntimeError) as raised:
        raises()
    found = stacks(f"said before\n{''.join(traceback.format_exception(raised.value))}")

    assert [("KeyError", "'missing'"), ("RuntimeError", "two\nlines")] == [(one.type, one.value) for one in found]
    assert ["raises", "raises"] == [one.frames[-1].function for one in found]
    assert decisive(found) is found[1]


def test_an_exception_group_is_read_with_its_members() -> None:
    """The member that is told last is the decisive one."""
    found = stacks(GROUP)

    assert [("ExceptionGroup", [("main.py", "start", 12)]), ("KeyError", [("jobs.py", "job", 3)])] == [
        (one.type, places(one)) for one in found
    ]


def test_a_hang_is_told_by_the_task_that_waits_in_the_application() -> None:
    """Not by the thread that was hit while it waited in its event loop."""
    found = stacks(HANG)
    main = decisive(found, waited=True)
    hit = decisive(found)

    assert ["Main thread", "Task Task-1", "Task Task-2", "pump", "0x00007f006c81eb80"] == [one.name for one in found]
    assert main is named(found)["Task Task-2"]
    assert [
        ("uvicorn/server.py", "main", 86),
        ("main.py", "lifespan", 12),
        ("caches.py", "warm_up.<locals>.inner", 7),
    ] == places(main)
    assert [("threading.py", "run", None), ("pump.py", "waits", 3)] == places(named(found)["pump"])
    assert hit is named(found)["0x00007f006c81eb80"]


@pytest.mark.parametrize(
    ("filename", "short"),
    [
        ("/app/main.py", "main.py"),
        ("/srv/other/x.py", "/srv/other/x.py"),
        ("/app/.venv/lib/python3.12/site-packages/a/b.py", "a/b.py"),
        ("/usr/lib/python3/dist-packages/a.py", "a.py"),
        (launcher.__file__, "launcher/__init__.py"),
        ("<frozen runpy>", "<frozen runpy>"),
    ],
)
def test_files_are_named_without_what_differs_from_host_to_host(filename: str, short: str) -> None:
    """And the application's are told from the others."""
    frame = stacks(f'Main thread:\n  File "{filename}", line 1, in f')[0].frames[0]

    assert short == frame.short("/app")
    assert ("/app/main.py" == filename or filename.startswith("/srv")) == frame.in_app


@pytest.mark.parametrize("text", ["", "nothing\n\n", 'File "x", line 1, in f', "Traceback (most recent call last):\n"])
def test_what_is_no_stack_is_passed_over(text: str) -> None:
    """Empty ones are, too."""
    assert [] == stacks(text)
    assert None is decisive([])
