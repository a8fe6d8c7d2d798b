"""How are plays with several servers played at the same time, each with processes of its own?"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from support.pool import BARE
from support.spawning import Spawner

if TYPE_CHECKING:
    import pytest

T = TypeVar("T")


@contextlib.contextmanager
def side_by_side(
    tmp_path_factory: pytest.TempPathFactory, play: Callable[[Spawner, Path, str], T]
) -> Iterator[dict[str, T]]:
    """Call `play(spawn, folder, server)` for each server at once, most of it being waiting: server -> what it returned.

    What was started lives for the length of the block.
    """
    with contextlib.ExitStack() as stack, ThreadPoolExecutor() as threads:
        playing: dict[str, Future[T]] = {}
        for server in BARE:
            folder = tmp_path_factory.mktemp(server)
            spawner = Spawner(folder / "processes")
            stack.callback(spawner.end)
            playing[server] = threads.submit(play, spawner, folder, server)
        yield {server: played.result() for server, played in playing.items()}
