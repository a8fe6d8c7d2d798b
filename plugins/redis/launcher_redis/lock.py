"""How is one launcher of all hosts the only one, as far as Redis can tell?

A token under one key with a time to live (SET NX PX): the server forgets it unless the holder asks for it again, so it
is free again at most an expiry after its holder has died. What the server forgets earlier (fail-over, restart,
FLUSHALL, eviction) is given away while a step still runs: an efficiency lock (redis.io, "Distributed Locks").
"""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, ClassVar, Literal
from urllib.parse import quote

from launcher.errors import LockLost, UsageError
from launcher.locks import Holder, LockContext, LockCrowded, LockUnreachable, Owner
from launcher.locks.lease import Lease
from launcher_redis import scripts
from launcher_redis.ledger import RedisLedger
from launcher_redis.server import Server, address
from launcher_redis.trust import Findings, examine

_POLL_S, _CROWDED_POLL_S = (0.25, 0.4), (0.5, 1.5)  # at most 4 questions a second and waiter


class RedisLock:
    """A key with a time to live, and a ledger beside it; keeps `launcher.locks.Lock`."""

    kind: ClassVar[str] = "redis"
    hosts: ClassVar[Literal["this host", "every host"]] = "every host"
    uses: ClassVar[frozenset[str]] = frozenset({"lock_expiry"})  # its ledger is no table, and no backend works for it

    def __init__(self, context: LockContext) -> None:
        """Check the address and the durations. Raises UsageError."""
        self.context = context
        self.lease = Lease(expiry_s=context.expiry_s, kill_grace_s=context.kill_grace_s)
        self.lease.check()
        self.address = address(context.scheme, context.where)
        # One slot of a cluster, should a proxy make one look like a server: what is in braces decides.
        ours = f"{{asgi-launcher/{quote(context.namespace, safe='')}}}"
        self.keys = (f"{ours}:lock", f"{ours}:ledger")
        self.ledger = RedisLedger(self.run, self.fence, context.owner, self.lease.takeover_s)
        self._server: Server | None = None
        self._findings = Findings()
        self._token, self._held, self._crowded = _new_token(context.owner), False, False
        self._mark: object = None

    @property
    def where(self) -> str:
        """The URL without its password."""
        return self.address.shown

    @property
    def warning(self) -> str:
        """What kind of lock it is, and what the server does to make it worse, once it is known."""
        return self._findings.warning

    @property
    def look(self) -> str:
        """The command that shows the holder's token: host, process id and a number."""
        return f"redis-cli -u '{self.where}' GET '{self.keys[0]}'"

    @property
    def poll_s(self) -> tuple[float, float]:
        """Seldom enough for fifty waiters; more seldom while the server has no room."""
        return _CROWDED_POLL_S if self._crowded else _POLL_S

    @property
    def ttl_ms(self) -> int:
        """How long the server keeps the lock of a holder that is silent."""
        return round(self.lease.expiry_s * 1000)

    @property
    def answer_s(self) -> float:
        """How long an answer may take, in seconds.

        A holder gives up G after it was given the lock at the latest, but the server's time began before its answer
        came: what that takes comes on top of G + K, and the sum has to stay below the expiry.
        """
        return min(self.lease.give_up_s, self.lease.expiry_s - self.lease.takeover_s)

    def try_acquire(self) -> RedisHeld | None:
        """Ask once; see `Lock.try_acquire`."""
        self._crowded = False
        owner = json.dumps(asdict(self.context.owner))
        ours, self._mark = self.run(scripts.TAKE, self._token, self.ttl_ms, owner)
        if not ours or self._server is None:
            return None
        self._held = True
        return RedisHeld(self, self._server, self._token)

    def mark(self) -> object:
        """Return the counter that every write of the ledger increments, as the last try saw it; see `Lock.mark`."""
        return self._mark

    def ask(self, url: str, sql: str) -> list[tuple[object, ...]] | None:
        """Return None: Redis is not the database of a step; see `Lock.ask`."""
        del url, sql
        return None

    def holder(self) -> Holder | None:
        """Return what the holder wrote about itself; see `Lock.holder`."""
        token, note, now_ms = self.run(scripts.HOLDER)
        if not token or not note:
            return None
        said = json.loads(note)
        if said["token"] != token:
            return None
        age_s = max(0, int(now_ms) - said["since_ms"]) / 1000
        return Holder(owner=Owner(**said["owner"]), step=said["step"], age_s=age_s)

    def close(self) -> None:
        """Close the connection. A lock that is still held then is free when its time is over."""
        server, self._server = self._server, None
        if server is not None:
            server.close()

    def fence(self) -> str:
        """Return the token that must be in the lock for a record to be written; '' while it is not ours."""
        return self._token if self._held else ""

    def run(self, script: str, *values: str | float) -> Any:
        """Run a script; opens the connection unless the lock is held.

        Raises UsageError, LockUnreachable, LockCrowded; while the lock is held LockLost when the connection is gone.
        """
        server = self._opened()
        try:
            return server.run(script, self.keys, *values)
        except (UsageError, LockUnreachable, LockCrowded) as error:
            if self._held and isinstance(error, LockUnreachable):
                raise self.lost(error) from None
            self._crowded = isinstance(error, LockCrowded)
            if not self._held:
                self.close()
            raise

    def lost(self, why: object) -> LockLost:
        """Return what is raised when the lock is gone."""
        return LockLost(f"the lock {self.where} was lost: {why}")

    def given_back(self, token: str) -> None:
        """Note that the lock is not ours any more: nothing of it is open, and the next try is another holder's."""
        if token == self._token:
            self.close()
            self._token, self._held = _new_token(self.context.owner), False

    def _opened(self) -> Server:
        if self._server is None:
            if self._held:
                raise self.lost("its connection was closed")
            owner = self.context.owner
            name = f"asgi-launcher-lock-{quote(owner.host, safe='')}-{owner.pid}"
            try:
                server = Server(self.address, name=name, answer_s=self.answer_s)
                self._findings = examine(server, self.where)
            except LockCrowded:
                self._crowded = True
                raise
            self._server = server
        return self._server


class RedisHeld:
    """The lock while it is ours; keeps `launcher.locks.Held`."""

    def __init__(self, lock: RedisLock, server: Server, token: str) -> None:
        """Remember the token, and the connection that is never opened again."""
        self._lock, self._server, self._token = lock, server, token
        self.heartbeat_s: float | None = lock.lease.heartbeat_s
        self.give_up_s: float | None = lock.lease.give_up_s
        self.takeover_s = lock.lease.takeover_s

    def confirm(self) -> None:
        """Ask whether our token is still there, and for another expiry; see `Held.confirm`."""
        if not self._asked(scripts.CONFIRM, self._lock.ttl_ms):
            raise self._lock.lost("the server has no such token any more")

    def watched(self) -> int | None:
        """The socket: a server that is shut down closes it."""
        return self._server.fileno()

    def descriptors(self) -> tuple[int, ...]:
        """None: the lock does not hang on the connection."""
        return ()

    def environ(self) -> Mapping[str, str]:
        """None: the steps do not work in Redis."""
        return {}

    def orphans(self) -> tuple[str, ...]:
        """None, as the steps do not work in Redis."""
        return ()

    def say_step(self, step: str) -> None:
        """Change the note for those who wait."""
        with contextlib.suppress(UsageError, LockUnreachable, LockCrowded):
            self._server.run(scripts.SAY_STEP, self._lock.keys, self._token, step)

    def release(self) -> None:
        """Give it back, if the token is ours, and close the connection; see `Held.release`."""
        try:
            ours = self._asked(scripts.RELEASE)
        finally:
            self._lock.given_back(self._token)
        if not ours:
            raise LockLost(f"the lock {self._lock.where} was not ours any more when it was given back")

    def _asked(self, script: str, *values: float) -> bool:
        try:
            return bool(self._server.run(script, self._lock.keys, self._token, *values))
        except (UsageError, LockUnreachable, LockCrowded) as error:
            raise self._lock.lost(error) from None


def _new_token(owner: Owner) -> str:
    """Return what no other try has; the number decides, the rest is for people."""
    return f"{owner.host}/{owner.pid}/{uuid.uuid4().hex}"
