"""Who ran which step when, told by somebody who is never cut off?

A database of its own that no test restarts or partitions. Each run of a step beats there until its last moment, so the
lifetime of one that was killed is known as well, by one clock. Overlaps are found by SQL.
"""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from support.waiting import until

if TYPE_CHECKING:
    from datetime import datetime

    import psycopg

    from support.postgresql import PostgreSQL

_DATABASE = "witness"
_MAKING = threading.Lock()  # the lanes of the soak begin at the same time
_TABLES = """
CREATE TABLE IF NOT EXISTS runs (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    fleet text NOT NULL, step text NOT NULL, token bigint NOT NULL, attempt int NOT NULL, member text NOT NULL,
    started timestamptz NOT NULL DEFAULT clock_timestamp(), seen timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended timestamptz, others int);
CREATE TABLE IF NOT EXISTS gates (fleet text PRIMARY KEY);
"""
_OVERLAPS = """
SELECT a.member, a.token, b.member, b.token FROM runs a JOIN runs b ON a.fleet = b.fleet AND a.id < b.id
WHERE a.fleet = %s AND a.started <= b.seen AND b.started <= a.seen AND (a.token, a.member) <> (b.token, b.member)
"""

# `step.py SECONDS|gate [WORD...]`: beats for so long, or until the gate is opened. `deaf`: it ignores TERM.
# `daemon`: two processes beat, one in a session of its own.
# `fails-until=N`: attempts before N exit with 1. `sql=SECONDS,SECONDS`: first one statement in DATABASE_URL, so long in
# the first attempt, so long in the second.
STEP = """
import os
import signal
import sys
import time

import psycopg

seconds, *words = sys.argv[1:]
options = dict(word.partition("=")[::2] for word in words)
if "deaf" in options:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "daemon" in options and os.fork() == 0:
    os.setsid()  # a second one beats beside the first
environ = os.environ
facts = ["LAUNCHER_STEP_NAME", "LAUNCHER_STEP_TOKEN", "LAUNCHER_STEP_ATTEMPT"]
who = [environ[name] for name in ("FLEET", *facts, "MEMBER")]
witness = psycopg.connect(environ["WITNESS"], autocommit=True)
begun = "INSERT INTO runs (fleet, step, token, attempt, member) VALUES (%s, %s, %s, %s, %s) RETURNING id"
run = witness.execute(begun, who).fetchone()
opened = "EXISTS (SELECT FROM gates g WHERE g.fleet = runs.fleet)"
beat = f"UPDATE runs SET seen = clock_timestamp() WHERE id = %s RETURNING {opened}"
if "sql" in options:
    length = options["sql"].split(",")[int(who[3]) - 1]
    with psycopg.connect(environ["DATABASE_URL"], autocommit=True) as database:
        others = database.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'DO%%pg_sleep%%'"
            " AND datname = current_database()").fetchone()
        witness.execute("UPDATE runs SET others = %s WHERE id = %s", [*others, *run])
        database.execute(
            f"DO $$ BEGIN PERFORM pg_sleep({length}); INSERT INTO work VALUES ({who[2]}); END $$")
until = time.monotonic() + (1e9 if seconds == "gate" else float(seconds))
while True:
    is_open = witness.execute(beat, run).fetchone()[0]
    if time.monotonic() >= until or (seconds == "gate" and is_open):
        break
    time.sleep(0.02)
if int(who[3]) < int(options.get("fails-until", 0)):
    sys.exit("failed on purpose")
witness.execute("UPDATE runs SET seen = clock_timestamp(), ended = clock_timestamp() WHERE id = %s", run)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """One run of a step; `ended` None: it never came to its own end."""

    token: int
    attempt: int
    member: str
    started: datetime
    seen: datetime
    ended: datetime | None
    others: int | None  # runs of the long statement that the database was still carrying out when this one began


class Witness:
    """What the witness knows of one fleet."""

    def __init__(self, server: PostgreSQL) -> None:
        """Make the tables, if they are not there."""
        self.fleet = uuid.uuid4().hex[:12]
        with _MAKING, server.connect() as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [_DATABASE]).fetchall():
                connection.execute(f"CREATE DATABASE {_DATABASE}".encode())
            self._connection: psycopg.Connection[tuple[Any, ...]] = server.connect(_DATABASE)
            self._connection.execute(_TABLES)
        # The Unix socket leads into a network namespace too; the name keeps a step's own PGAPPNAME off.
        where = f"host={server.log_path.parent} port={server.port} user=postgres dbname={_DATABASE}"
        self.conninfo = f"{where} application_name=witness"

    def runs(self) -> list[Seen]:
        """Return every run until now, oldest first."""
        sql = "SELECT token, attempt, member, started, seen, ended, others FROM runs WHERE fleet = %s ORDER BY id"
        names = ("token", "attempt", "member", "started", "seen", "ended", "others")
        return [Seen(**dict(zip(names, row, strict=True))) for row in self._connection.execute(sql, [self.fleet])]

    def overlaps(self) -> list[tuple[Any, ...]]:
        """Return pairs of runs (member and token of each) that lived together; the processes of one run are one."""
        return self._connection.execute(_OVERLAPS, [self.fleet]).fetchall()

    def wait_runs(self, count: int, timeout_s: float = 50) -> list[Seen]:
        """Return the runs once there are so many."""

        def enough() -> list[Seen]:
            runs = self.runs()
            return runs if len(runs) >= count else []

        return until(enough, f"{count} runs", timeout_s)

    def wait_beat(self, timeout_s: float = 10) -> None:
        """Return when the newest run has beaten once more."""
        before = self.runs()[-1].seen
        until(lambda: self.runs()[-1].seen > before, "a beat", timeout_s)

    def now(self) -> datetime:
        """Return the time by the witness's clock."""
        (moment,) = self._connection.execute("SELECT clock_timestamp()").fetchone() or ()
        return cast("datetime", moment)

    def open_gate(self) -> None:
        """Let steps with `gate` come to their end, now and later."""
        self._connection.execute("INSERT INTO gates VALUES (%s) ON CONFLICT DO NOTHING", [self.fleet])

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()
