"""What do the plugin's tests get by naming it?"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from support import fixtures
from support.receiver import Receiver, receiving

if TYPE_CHECKING:
    from collections.abc import Iterator

spawn = fixtures.spawn
launch = fixtures.launch
project = fixtures.project


class Sentry(Receiver):
    """A Sentry of this test's."""

    @property
    def dsn(self) -> str:
        """Where to send to."""
        return f"http://public@{self.address}/42"

    @property
    def paths(self) -> list[str]:
        """Where to each request went."""
        return [got.path for got in self.got]

    @property
    def events(self) -> list[dict[str, Any]]:
        """The events of the envelopes that were taken."""
        return [event for got in self.got if got.status == 200 for event in _events(got.unpacked)]


def _events(envelope: bytes) -> Iterator[dict[str, Any]]:
    """Yield the events of an envelope (develop.sentry.dev/sdk/data-model/envelopes): a header, then header and item."""
    first, _, rest = envelope.partition(b"\n")
    assert json.loads(first)["event_id"]
    while rest:
        head, _, rest = rest.partition(b"\n")
        header = json.loads(head)
        length = header.get("length", len(rest.partition(b"\n")[0]))
        if header["type"] == "event":
            yield json.loads(rest[:length])
        rest = rest[length:].removeprefix(b"\n")


@pytest.fixture
def sentry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sentry]:
    """Run a receiver; what this process sends goes past the developer's proxy and environment."""
    for name in ("SENTRY_DSN", "SENTRY_ENVIRONMENT", "SENTRY_RELEASE", "SENTRY_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with receiving(Sentry()) as running:
        yield running
