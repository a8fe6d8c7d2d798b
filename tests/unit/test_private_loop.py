"""Does a private loop answer what blocks, and let the process end meanwhile?"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time

import pytest

from launcher.databases.loop import PrivateLoop

# A blocking call that never ends, as a look-up of a name may not for minutes; the caller gives up on it.
HANGS = """
import asyncio, contextlib, threading
from launcher.databases.loop import PrivateLoop

async def look_up():
    await asyncio.wait_for(asyncio.get_running_loop().run_in_executor(None, threading.Event().wait), 0.01)

with contextlib.suppress(TimeoutError):
    PrivateLoop().run(look_up())
print("over", flush=True)
"""


async def _called(function: type[int], text: str) -> int:
    return await asyncio.get_running_loop().run_in_executor(None, function, text)


def test_what_blocks_is_answered() -> None:
    """With what the call returns, or raises."""
    loop = PrivateLoop()
    answer = loop.run(_called(int, "7"))

    with pytest.raises(ValueError, match="invalid literal"):
        loop.run(_called(int, "seven"))
    loop.close()
    assert answer == 7


def test_a_call_that_hangs_does_not_hold_up_the_end() -> None:
    """The interpreter joins the threads of its pools before it exits; this one is not waited for."""
    began = time.monotonic()
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=30, check=False)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "over\n", "")
    assert time.monotonic() - began < 20
