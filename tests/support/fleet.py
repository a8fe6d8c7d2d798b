"""How does a test start many launchers that share one lock in a database?"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from support.projects import write_project
from support.waiting import until
from support.witness import STEP, Witness

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import psycopg

    from support.launched import Launched
    from support.postgresql import PostgreSQL
    from support.spawning import Spawner

EXPIRY_S = 8.0  # R; the shortest that is allowed is a little less
GIVE_UP_S = EXPIRY_S / 5  # G
TAKEOVER_S = GIVE_UP_S + 5.0  # G + K
# What a member is replaced by when its steps are done: it only sleeps.
_SERVER = """
from launcher.servers import ServerCommand

class StandIn:
    name = "stand-in"

    def command(self, plan):
        return ServerCommand(argv=("sleep", "600"))

launcher_servers = {"stand-in": StandIn}
"""
_APP = "async def app(scope, receive, send): ..."
_HEAD = 'plugins = ["stand_in"]\nserver = "stand-in"\nworkers = 1\n'
_SESSIONS = """
SELECT pid, client_port, application_name FROM pg_stat_activity a
WHERE datname = %s AND application_name LIKE 'asgi-launcher lock %%'
"""
_HOLDS = "AND EXISTS (SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'advisory' AND l.granted)"


class Server(Protocol):
    """A PostgreSQL server of the tests, the session's or one of one's own."""

    def connect(self, database: str = "postgres") -> psycopg.Connection[tuple[Any, ...]]:
        """Return an autocommit connection."""

    def url(self, database: str, driver: str = "") -> str:
        """Return the URL of a new, empty database."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """The connection in which a lock is held or asked for. `owner`: the launcher's pid, as it says itself."""

    backend: int
    client_port: int
    owner: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One record of the ledger."""

    step: str
    key: str
    state: str
    token: int
    attempt: int
    exit_code: int | None


@dataclass(slots=True, kw_only=True)
class Fleet:
    """Launchers of one folder that share a lock, and what is known of them."""

    spawn: Spawner
    folder: Path
    server: Server
    database: str
    lock: str  # the URL
    witness: Witness
    prefix: Sequence[str] = ()  # words before each command: the way into a network
    members: dict[str, Launched] = field(default_factory=dict)

    def step(self, *words: str, settings: str = "", prefix: Sequence[str] = ()) -> None:
        """Let one step of `support.witness.STEP` with these words be all that is to be done."""
        argv = ", ".join(repr(word) for word in (*prefix, sys.executable, "step.py", *words))
        toml = f'{_HEAD}[[prestart]]\nname = "work"\nrun = [{argv}]\n{settings}\n'
        files = {"step.py": STEP, "launcher.toml": toml, "stand_in.py": _SERVER, "main.py": _APP}
        write_project(self.folder, files)

    def start(
        self, member: str, *words: str, command: str = "prestart", env: Mapping[str, str] | None = None, **more: Any
    ) -> Launched:
        """Start one member and return at once. `prefix` (words) and `release` (an id) may be given."""
        own = ["--uds", f"{member}.sock"] if command == "run" else []
        own += ["--lock", self.lock, "--lock-expiry", f"{EXPIRY_S:g}s", "--lock-timeout", "60s"]
        own += ["--release", more.pop("release", "r1")]
        return self.start_as(member, command, *own, *words, env=env, **more)

    def start_as(
        self, member: str, *words: str, prefix: Sequence[str] = (), env: Mapping[str, str] | None = None
    ) -> Launched:
        """Start one member with these words alone."""
        argv = [*self.prefix, *prefix, sys.executable, "-m", "launcher", *words]
        variables = {"WITNESS": self.witness.conninfo, "FLEET": self.witness.fleet, "MEMBER": member}
        url = {"DATABASE_URL": self.lock.replace("postgresql+asyncpg", "postgresql")}
        launched = self.spawn(argv, cwd=self.folder, env={**variables, **url, **(env or {})})
        self.members[member] = launched
        return launched

    def start_waiting(self, *names: str, words: Sequence[str] = (), **options: Any) -> None:
        """Start these members and wait until each has found the lock taken."""
        started = [self.start(name, *words, **options) for name in names]
        for launched in started:
            launched.wait_event("launcher.lock_busy", 30)

    def start_working(self, member: str, *words: str, **options: Any) -> Launched:
        """Start a member and wait until its step beats."""
        already = len(self.witness.runs())
        launched = self.start(member, *words, **options)
        self.witness.wait_runs(already + 1)
        self.witness.wait_beat()
        return launched

    def statuses(self, timeout_s: float = 60) -> dict[str, int]:
        """Return the exit status of each member when all have ended."""
        return {name: launched.wait(timeout_s) for name, launched in self.members.items()}

    def holder(self) -> Session:
        """Return the session that holds the lock, once there is one."""
        (found,) = until(lambda: self.sessions(holder=True), "a holder of the lock", 20)
        return found

    def sessions(self, *, holder: bool) -> list[Session]:
        """Return the sessions that have the lock, or all that have it or want it."""
        with self.server.connect() as connection:
            rows = connection.execute((_SESSIONS + _HOLDS * holder).encode(), [self.database]).fetchall()
        return [Session(backend=pid, client_port=port, owner=int(name.split()[-1])) for pid, port, name in rows]

    def terminate(self, session: Session) -> None:
        """End a session from the server's side."""
        with self.server.connect() as connection:
            connection.execute("SELECT pg_terminate_backend(%s)", [session.backend])

    def rows(self) -> list[Row]:
        """Return the ledger."""
        sql = "SELECT step, key, state, token, attempt, exit_code FROM asgi_launcher_ledger ORDER BY started_at"
        names = ("step", "key", "state", "token", "attempt", "exit_code")
        return [Row(**dict(zip(names, row, strict=True))) for row in self.query(sql)]

    def execute(self, sql: str) -> None:
        """Carry out SQL in the fleet's own database."""
        with self.server.connect(self.database) as connection:
            connection.execute(sql.encode())

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Return what SQL answers in the fleet's own database."""
        with self.server.connect(self.database) as connection:
            return connection.execute(sql.encode()).fetchall()

    def __str__(self) -> str:
        """Return what a person needs to see when an assertion failed."""
        runs = "\n".join(map(str, self.witness.runs()))
        return f"runs:\n{runs}\nledger:\n{self.rows()}\n" + "\n".join(map(str, self.members.values()))


@contextmanager
def fleet_on(server: Server, witness: PostgreSQL, spawn: Spawner, folder: Path, **options: Any) -> Iterator[Fleet]:
    """Make a fleet that locks in a new database of `server`; `driver` and `prefix` may be given."""
    observer = Witness(witness)
    database = f"fleet_{observer.fleet}"
    url = server.url(database, options.get("driver", ""))
    try:
        yield Fleet(
            spawn=spawn,
            folder=folder / database,
            server=server,
            database=database,
            lock=url,
            witness=observer,
            prefix=options.get("prefix", ()),
        )
    finally:
        observer.close()


def reached_server(launched: Launched) -> bool:
    """Tell whether a member of `run` has become its server; AssertionError when it has ended instead."""
    assert launched.running, f"ended before it served: {launched}"
    return launched.event("launcher.handed_over") is not None
