"""What do the tests with real components get by naming it?"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from support.fleet import Fleet, fleet_on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.postgresql import PostgreSQL
    from support.spawning import Spawner


@pytest.fixture
def fleet(postgresql: PostgreSQL, spawn: Spawner, tmp_path: Path) -> Iterator[Fleet]:
    """Make a fleet that locks in a database of the session's server."""
    with fleet_on(postgresql, postgresql, spawn, tmp_path) as made:
        yield made
