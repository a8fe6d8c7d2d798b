"""What has to be waited for when the last holder did not say how it ended?

The lock is free, and the ledger says `running`: the holder was killed or cut off. Its step may still be dying (its
guard needs the grace). And the server may still be carrying out the last statement of a step that is dead, however it
died. Nobody runs a step before both are over (evidence/locks.md §4, "Takeover"; measured: without the wait two ran at
once).
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from launcher.boot.attempts import GONE
from launcher.boot.lock_side import SAY_EVERY_S, LockSide
from launcher.errors import LockNotObtained
from launcher.locks import Held, Record
from launcher.log import log

_LOOK_S = 0.5


def take_over(side: LockSide, held: Held, timeout_s: float) -> None:
    """Wait until nothing of a predecessor is at work, and close its records.

    On the server something may be left also of a step that was killed in good order: there it is always looked for.
    Raises LockLost, Interrupted, and LockNotObtained when the server works for it longer than `timeout_s` seconds.
    """
    records = side.ledger.records()
    side.seen = newest_tokens(records)
    left = unfinished(records)
    if left:
        _let_it_die(side, held, left)
    _outwait(side, held, timeout_s)
    for record in left:
        side.ledger.finish(record, "failed", exit_code=None, tail=GONE)


def _let_it_die(side: LockSide, held: Held, left: Sequence[Record]) -> None:
    """Wait for as long as the steps of cut-off holders may take to be killed."""
    grace_s = max(held.takeover_s, *(record.grace_s for record in left)) if held.takeover_s else 0.0
    names = [f"{record.step} of {record.owner.host} pid {record.owner.pid}, token {record.token}" for record in left]
    log.warning("launcher.takeover_begun", unfinished=names, waits_s=round(grace_s, 1))
    side.answer(lambda: held.say_step("taking over"))
    side.keep(held, grace_s)


def unfinished(records: Sequence[Record]) -> list[Record]:
    """Return the records that say `running`. Not those of an older token: whoever began after them has waited."""
    newest = newest_tokens(records)
    return [record for record in records if record.state == "running" and record.token == newest[record.step]]


def newest_tokens(records: Sequence[Record]) -> dict[str, int]:
    """Return step -> its highest token."""
    newest: dict[str, int] = {}
    for record in records:
        newest[record.step] = max(record.token, newest.get(record.step, 0))
    return newest


def _outwait(side: LockSide, held: Held, timeout_s: float) -> None:
    started, said_at = time.monotonic(), -SAY_EVERY_S
    while orphans := side.answer(held.orphans):
        waited_s = time.monotonic() - started
        if waited_s >= timeout_s:
            raise LockNotObtained(
                f"the server is still carrying out what a dead holder began: {'; '.join(orphans)}",
                cure="wait for it, end it on the server, or give --orphans terminate",
            )
        if waited_s - said_at >= SAY_EVERY_S:
            said_at = waited_s
            left = f"what a dead holder began on the server: {'; '.join(orphans)}"
            side.watch.doing(f"waiting for {left}", waiting_for=left)
            log.warning("launcher.orphans_awaited", orphans=list(orphans), waited_s=round(waited_s, 1))
        side.keep(held, _LOOK_S)
