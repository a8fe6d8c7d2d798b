"""What has been done, as a Redis server remembers it?

One hash a namespace, each record a JSON text of its own. A write is compared with the newest token of the step and,
while the lock is held, with the lock itself, in the same script: who has lost it writes nothing.
"""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

from launcher.errors import LockLost, LockNotObtained, UsageError
from launcher.locks import LockCrowded, LockUnreachable, Owner, Record, State
from launcher_redis import scripts

KEPT = 50  # records of one step; the oldest go first, so that the hash stays small through years of releases
_TAIL_CHARS = 4096  # what a record keeps of a step's output: a screenful


class Run(Protocol):
    """How a script gets to the server."""

    def __call__(self, script: str, *values: str | float) -> Any:
        """Return its answer. Raises UsageError, LockUnreachable, LockCrowded; LockLost where a held lock is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stored:
    """A record as it lies there. `serial`: the place in the order of writing; `*_ms`: of the epoch, by Redis' clock."""

    schema: Literal[1]  # another version's record is not guessed at
    step: str
    key: str
    state: State
    token: int
    attempt: int
    owner: Owner
    started_ms: int
    serial: int
    grace_s: float
    finished_ms: int | None = None
    exit_code: int | None = None
    tail: str = ""


class RedisLedger:
    """A ledger in a hash; keeps `launcher.locks.Ledger`."""

    def __init__(self, run: Run, fence: Callable[[], str], owner: Owner, grace_s: float) -> None:
        """Write for `owner`; `fence` tells the token of the lock that must be there for a write, '' for none."""
        self._run, self._fence, self._owner, self._grace_s = run, fence, owner, grace_s

    def read(self, step: str, key: str) -> Record | None:
        """Return what is known of a step for a key; see `Ledger.read`. Raises as `Run` and UsageError."""
        now_ms, text = self._run(scripts.READ, _field(step, key))
        return _record(_stored(text), int(now_ms)) if text else None

    def records(self) -> list[Record]:
        """Return everything that is known, oldest first. Raises as `read`."""
        now_ms, *texts = self._run(scripts.RECORDS)
        found = sorted((_stored(text) for text in texts), key=lambda stored: stored.serial)
        return [_record(stored, int(now_ms)) for stored in found]

    def begin(self, step: str, key: str, *, after: int | None = None) -> Record:
        """Write `running`; see `Ledger.begin`. Raises LockLost, LockNotObtained."""
        draft = {
            "schema": 1,
            "step": step,
            "key": key,
            "state": "running",
            "owner": asdict(self._owner),
            "grace_s": self._grace_s,
        }
        values = (_field(step, key), _beginning(step), KEPT, json.dumps(draft), "" if after is None else after)
        try:
            text = self._run(scripts.BEGIN, self._fence(), step, *values)
        except (UsageError, LockUnreachable, LockCrowded) as error:
            raise LockNotObtained(
                f"the ledger cannot be written: {error}: step {step!r} was not begun",
                cure="what cannot be recorded is not begun: look at the Redis server",
            ) from None
        if text is None:
            raise LockLost(f"the lock was lost before step {step!r} was begun")
        stored = _stored(text)
        return _record(stored, stored.started_ms)

    def finish(self, record: Record, state: State, *, exit_code: int | None, tail: str) -> bool:
        """Write the end; see `Ledger.finish`. Raises LockLost, LockNotObtained."""
        # As bytes and back: half a pair of surrogates is no JSON for the server.
        kept = tail[-_TAIL_CHARS:].encode(errors="replace").decode()
        end = json.dumps({"state": state, "exit_code": exit_code, "tail": kept})
        values = (record.step, _field(record.step, record.key), record.token, end)
        try:
            return bool(self._run(scripts.FINISH, self._fence(), *values))
        except (UsageError, LockUnreachable, LockCrowded) as error:
            how = "without an exit code" if exit_code is None else f"with exit code {exit_code}"
            raise LockNotObtained(
                f"step {record.step!r} ended {how}, but that could not be recorded, so it will run again: {error}",
                cure="look at the Redis server, and whether the step may run twice",
            ) from None


def _field(step: str, key: str) -> str:
    return f"{_beginning(step)}{json.dumps(key)}]"


def _beginning(step: str) -> str:
    """Return what the fields of all records of a step begin with, and of no other step's."""
    return f"record:[{json.dumps(step)}, "


def _stored(text: str) -> _Stored:
    import msgspec  # 6 ms: with nothing to do no ledger is read

    try:
        return msgspec.json.decode(text, type=_Stored)
    except ValueError as error:
        raise UsageError(
            f"the ledger cannot be read: {error}",
            cure="start the version that wrote it; if its hash is deleted, every step counts as not done",
        ) from error


def _record(stored: _Stored, now_ms: int) -> Record:
    since_ms = stored.started_ms if stored.finished_ms is None else stored.finished_ms
    return Record(
        step=stored.step,
        key=stored.key,
        state=stored.state,
        token=stored.token,
        attempt=stored.attempt,
        owner=stored.owner,
        started_at=_at(stored.started_ms),
        finished_at=None if stored.finished_ms is None else _at(stored.finished_ms),
        exit_code=stored.exit_code,
        tail=stored.tail,
        grace_s=stored.grace_s,
        age_s=max(0, now_ms - since_ms) / 1000,
    )


def _at(epoch_ms: int) -> str:
    return dt.datetime.fromtimestamp(epoch_ms / 1000, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
