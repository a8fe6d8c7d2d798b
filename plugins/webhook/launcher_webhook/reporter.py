"""Who has which report?

The launcher asks again until every receiver has it; who has it already is not sent it a second time by this process.
Receivers are sent to at the same time, each in a thread, so that a slow one takes nobody's time.
"""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from launcher_webhook import slack
from launcher_webhook.document import document
from launcher_webhook.sending import NotTaken, post, signature

if TYPE_CHECKING:
    from launcher import Incident
    from launcher_webhook.settings import Webhook

LONGEST_S = 9.0  # of a call; the launcher leaves it behind after 10 s (launcher/hookspecs.py)
_MOST_KNOWN = 1000  # ids of each receiver
_TAKEN = range(200, 300)
_FINAL = range(400, 500)
_TRANSIENT = frozenset({408, 425, 429})  # RFC 9110 §15.5.9, RFC 8470 §5.2, RFC 6585 §4: say that it may be tried again

_log = logging.getLogger("launcher_webhook")


@dataclass(slots=True, eq=False)
class _Receiver:
    webhook: Webhook
    clock: Callable[[], float]
    done: dict[str, None] = field(default_factory=dict)  # ids, the oldest first
    said: set[int] = field(default_factory=set)  # statuses that were logged
    current: tuple[str, Future[None]] | None = None

    def wants(self, report: Mapping[str, Any]) -> bool:
        kinds = self.webhook.kinds
        return report["id"] not in self.done and (not kinds or report["kind"] in kinds)

    def begin(self, report: Mapping[str, Any]) -> Future[None]:
        """Send in a thread; while one has not come back (no timeout ends a slow name server) no other one is begun."""
        if self.current is not None and not self.current[1].done():
            identity, running = self.current
            if identity == report["id"]:
                return running
            refused: Future[None] = Future()
            refused.set_exception(NotTaken("the attempt before has not ended"))
            return refused
        future: Future[None] = Future()
        self.current = (report["id"], future)
        threading.Thread(target=self._run, args=(report, future), name="webhook", daemon=True).start()
        return future

    def _run(self, report: Mapping[str, Any], future: Future[None]) -> None:
        try:
            self._attempt(report)
        except Exception as error:  # noqa: BLE001 - whoever waits for the future raises it
            future.set_exception(error)
        else:
            future.set_result(None)

    def _attempt(self, report: Mapping[str, Any]) -> None:
        shaped = slack.message(report) if self.webhook.format == "slack" else report
        body = json.dumps(shaped, ensure_ascii=False, separators=(",", ":")).encode(errors="backslashreplace")
        headers = {"X-Launcher-Delivery": report["id"]}
        if self.webhook.secret:
            headers["X-Launcher-Signature"] = signature(self.webhook.secret, body, int(self.clock()))
        status = post(self.webhook, body, headers)
        if status in _FINAL and status not in _TRANSIENT:
            self._give_up(status)
        elif status not in _TAKEN:
            redirect = " (a redirect is not followed)" if status in range(300, 400) else ""
            raise NotTaken(f"answered {status}{redirect}")
        self._note(report["id"])

    def _give_up(self, status: int) -> None:
        """Say, once for each status, that asking again would not help."""
        if status not in self.said:
            self.said.add(status)
            _log.warning("%s answered %d: what it refuses is not sent to it again", self.webhook, status)

    def _note(self, identity: str) -> None:
        self.done[identity] = None
        while len(self.done) > _MOST_KNOWN:
            del self.done[next(iter(self.done))]


class Reporter:
    """Sends reports."""

    def __init__(self, webhooks: Iterable[Webhook], clock: Callable[[], float] = time.time) -> None:
        """Send to these; `clock` is Unix time."""
        self._receivers = [_Receiver(webhook, clock) for webhook in webhooks]

    def send(self, incident: Incident) -> None:
        """Send it to all who want it and have not got it. Raises NotTaken, with the reasons, after 9 s at most."""
        report = document(incident)
        attempts = {receiver.begin(report): receiver for receiver in self._receivers if receiver.wants(report)}
        wait(attempts, timeout=LONGEST_S)
        reasons = [
            f"{receiver.webhook}: {_reason(future)}" for future, receiver in attempts.items() if not _went(future)
        ]
        if reasons:
            raise NotTaken("; ".join(reasons))


def _went(future: Future[None]) -> bool:
    return future.done() and future.exception() is None


def _reason(future: Future[None]) -> str:
    if not future.done():
        return f"no answer within {LONGEST_S:g} s"
    error = future.exception()
    return str(error) if isinstance(error, NotTaken) else f"{type(error).__name__}: {error}"
