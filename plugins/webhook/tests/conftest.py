"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from support import crash_report, fixtures
from support.receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

spawn = fixtures.spawn
report = crash_report.report
incident = crash_report.incident


class Hook(Receiver):
    """Where a webhook leads."""

    @property
    def url(self) -> str:
        """Return an address with something in it that nobody may see."""
        return f"{self.scheme}://{self.address}/hook/geheim"


@pytest.fixture
def receivers() -> Iterator[Callable[[], Hook]]:
    """Run as many receivers as are asked for."""
    with contextlib.ExitStack() as running:
        yield lambda: running.enter_context(receiving(Hook()))


@pytest.fixture
def receiver(receivers: Callable[[], Hook]) -> Hook:
    """Run one."""
    return receivers()
