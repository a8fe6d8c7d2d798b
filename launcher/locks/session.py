"""How does a session of a database server become a lock?

What PostgreSQL and MySQL have in common: one dedicated connection in autocommit, asked and never waited in, given back
between two tries when the server is short of them, never opened again behind a holder's back. The server itself ends a
session that is silent for the expiry (`launcher.locks.lease`), so the lock cannot outlive a host that is gone.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from launcher.databases import CannotAsk, Crowded, DatabaseUnreachable, Denied, Refused, TableMissing, redact, same
from launcher.databases.session import Rows, Session, open_session
from launcher.errors import LockLost, LockNotObtained, UsageError
from launcher.locks import OPTIONS, Holder, LockContext, LockCrowded, LockUnreachable
from launcher.locks.lease import Lease
from launcher.locks.session_name import own_options, shown_as
from launcher.locks.table_ledger import TIME_OVER, TableLedger

_CONNECT_S = 5.0
_POLL_S, _CROWDED_POLL_S = (0.25, 0.31), (0.5, 1.5)  # at most 4 questions a second and waiter


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one try has seen, in one question."""

    taken: bool
    crowded: bool  # the server is short of connections: this one is given back until the next try
    mark: object  # differs when the ledger has changed; None where there is no ledger yet


def digest(namespace: str, *more: str) -> bytes:
    """Return 32 bytes that are the lock's name: the same from every host, release, driver and spelling of the URL."""
    return hashlib.sha256(b"\0".join([b"asgi-launcher/v1", namespace.encode(), *(m.encode() for m in more)])).digest()


class SessionLock(ABC):
    """A lock that a server keeps for a session; keeps `launcher.locks.Lock`. What is abstract is a dialect's own."""

    kind: ClassVar[str]
    hosts: ClassVar[Literal["this host", "every host"]] = "every host"
    uses: ClassVar[frozenset[str]] = OPTIONS

    def __init__(self, context: LockContext) -> None:
        """Check the URL and the durations. Raises UsageError."""
        self.context = context
        self.lease = Lease(expiry_s=context.expiry_s, kill_grace_s=context.kill_grace_s)
        self.lease.check()
        self.url, self.session_pooled = own_options(context.url)
        self._session: Session | None = None
        self._held, self._closings = False, 0
        self._changing = threading.Lock()
        self._look = Look(taken=False, crowded=False, mark=None)
        self.ledger = self.make_ledger()

    @property
    def where(self) -> str:
        """The URL without its password."""
        return redact(self.url)

    @property
    def poll_s(self) -> tuple[float, float]:
        """Seldom enough for fifty waiters on one server; more seldom while it is short of connections."""
        return _CROWDED_POLL_S if self._look.crowded else _POLL_S

    @property
    @abstractmethod
    def warning(self) -> str | None:
        """What the server cannot do, once it is known."""

    @property
    @abstractmethod
    def look(self) -> str:
        """The query that shows the holder."""

    @abstractmethod
    def make_ledger(self) -> TableLedger:
        """Return the ledger, which speaks through `execute`."""

    @abstractmethod
    def prepare(self, session: Session) -> None:
        """Refuse what cannot be locked in safely (UsageError), and let the session be the lease."""

    @abstractmethod
    def take(self, session: Session) -> Look:
        """Try once."""

    @abstractmethod
    def owns(self, session: Session) -> bool:
        """Ask whether this very session has the lock."""

    @abstractmethod
    def give_back(self, session: Session) -> bool:
        """Let go of it; return whether it was ours."""

    @abstractmethod
    def tag(self) -> Mapping[str, str]:
        """Return `Held.environ`."""

    @abstractmethod
    def orphans(self, session: Session) -> tuple[str, ...]:
        """Return `Held.orphans`."""

    def try_acquire(self) -> SessionHeld | None:
        """Ask once; see `Lock.try_acquire`."""
        session = self.session()
        if self._held:
            return None  # a server would give it to its owner again
        try:
            look = self.take(session)
        except DatabaseUnreachable as error:
            raise self._trouble(error, session) from None
        with self._changing:
            if self._session is not session:  # closed meanwhile by whoever could not wait for the answer
                raise LockUnreachable(f"{self.where}: the answer came too late")
            self._look, self._held = look, look.taken
        if look.taken:
            return SessionHeld(self, session)
        if look.crowded:
            self.close()
        return None

    def mark(self) -> object:
        """Return what the last try has seen of the ledger; see `Lock.mark`."""
        return self._look.mark

    def holder(self) -> Holder | None:
        """Return who says to have it; see `Lock.holder`."""
        return self.ledger.holder()

    def ask(self, url: str, sql: str) -> list[tuple[object, ...]] | None:
        """See `Lock.ask`. A session that the server has ended is let go: None, so that it is asked elsewhere."""
        session = self._session
        if session is None or self._held or not same(url, self.url):
            return None
        try:
            return session.execute(sql)
        except Refused:
            raise
        except DatabaseUnreachable as error:
            self._trouble(error, session)
            return None

    def execute(self, sql: str, *values: object) -> Rows:
        """Carry out one statement of the ledger's.

        Raises TableMissing, Refused, UsageError, LockUnreachable, LockCrowded; while the lock is held LockLost.
        """
        session = self.session()
        try:
            return session.execute(sql, *values)
        except Refused:
            raise
        except DatabaseUnreachable as error:
            raise self._trouble(error, session) from None

    def session(self) -> Session:
        """Return the open session, opened now if there is none and none is needed to hold the lock."""
        with self._changing:
            session, held, closings = self._session, self._held, self._closings
        if session is not None:
            return session
        if held:
            raise LockLost(f"the lock {self.where} was lost: its connection is closed")
        session = self._opened()
        with self._changing:
            if closings == self._closings:
                self._session = session
                return session
        session.close()
        raise LockUnreachable(f"{self.where}: the connection came too late")

    def _opened(self) -> Session:
        """Return a new session in which the lock may be taken."""
        try:
            session = open_session(self.url, connect_timeout_s=_CONNECT_S, application=self.application)
        except DatabaseUnreachable as error:
            raise self._trouble(error) from None
        try:
            self.prepare(session)
        except DatabaseUnreachable as error:
            session.close()
            raise self._trouble(error) from None
        except BaseException:
            session.close()
            raise
        return session

    @property
    def application(self) -> str:
        """What the server shows the lock's session as: at most 63 bytes in PostgreSQL."""
        return shown_as(self.context.owner)

    def close(self) -> None:
        """Close the connection; the lock, if we have it, is free then. Another thread's question ends with an error."""
        with self._changing:
            session, self._session = self._session, None
            self._closings += 1
        if session is not None:
            session.close()

    def released(self) -> None:
        """Note that the lock is not ours any more."""
        self._held = False

    def _trouble(self, error: DatabaseUnreachable, session: Session | None = None) -> Exception:
        """Return what a database's refusal means for somebody who wants the lock; its session is closed.

        Only that one: another thread may have gone on with a new one.
        """
        if session is not None:
            session.close()
        with self._changing:
            held = self._held and session in {self._session, None}
            if session is self._session:
                self._session = None
        if held:
            return LockLost(f"the lock {self.where} was lost: {error}")
        if isinstance(error, Crowded):
            return LockCrowded(str(error))
        if isinstance(error, CannotAsk):
            return UsageError(
                f"the lock {self.where} cannot be opened: {error}",
                cure="--lock URL (LAUNCHER_LOCK) names the database to lock in, for a driver that is installed",
            )
        if isinstance(error, Denied) or (isinstance(error, Refused) and error.code not in TIME_OVER):
            return UsageError(
                f"the lock {self.where} cannot be opened: {error}",
                cure="--lock URL (LAUNCHER_LOCK) names the database to lock in, with a user and password of its own",
            )
        return LockUnreachable(f"{self.where}: {error}")


class SessionHeld:
    """The lock while it is ours; keeps `launcher.locks.Held`."""

    def __init__(self, lock: SessionLock, session: Session) -> None:
        """Remember the very session: another one is another owner."""
        self._lock, self._session = lock, session
        self.heartbeat_s: float | None = lock.lease.heartbeat_s
        self.give_up_s: float | None = lock.lease.give_up_s
        self.takeover_s = lock.lease.takeover_s

    def confirm(self) -> None:
        """Ask the server whether this session has the lock; see `Held.confirm`."""
        try:
            ours = self._lock.owns(self._session)
        except DatabaseUnreachable as error:
            raise LockLost(f"the lock {self._lock.where} was lost: {error}") from None
        if not ours:
            raise LockLost(f"the lock {self._lock.where} was lost: the server says that it is not ours")

    def watched(self) -> int | None:
        """The socket: a server that ends the session closes it."""
        return self._session.fileno()

    def descriptors(self) -> tuple[int, ...]:
        """None: a copy of the socket would keep the session alive when we are dead."""
        return ()

    def environ(self) -> Mapping[str, str]:
        """See `Held.environ`."""
        return self._lock.tag()

    def orphans(self) -> tuple[str, ...]:
        """See `Held.orphans`. Raises LockLost."""
        try:
            return self._lock.orphans(self._session)
        except DatabaseUnreachable as error:
            raise LockLost(f"the lock {self._lock.where} was lost: {error}") from None

    def say_step(self, step: str) -> None:
        """Write the holder's note beside the ledger."""
        with contextlib.suppress(TableMissing, UsageError, LockNotObtained):
            self._lock.ledger.say_holder(step)

    def release(self) -> None:
        """Give it back and close the connection; see `Held.release`."""
        try:
            ours = self._lock.give_back(self._session)
        except DatabaseUnreachable as error:
            raise LockLost(f"the lock {self._lock.where} was lost: {error}") from None
        finally:
            self._lock.close()
            self._lock.released()
        if not ours:
            raise LockLost(f"the lock {self._lock.where} was not ours any more when it was given back")
