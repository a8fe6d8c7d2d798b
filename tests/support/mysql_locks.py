"""How do tests contend for the lock in a MySQL server?"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launcher.locks import LockContext, Owner
from launcher.locks.mysql import MysqlLock

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.launched import Launched
    from support.spawning import Spawner

DRIVERS = ["pymysql", "mysqldb", "aiomysql", "asyncmy"]
EXPIRY_S = 7.0  # the shortest that is allowed with the kill grace of 5 s

COMMON = """
import os, random, sys, time
from pathlib import Path
from launcher.locks import LockContext, Owner
from launcher.locks.mysql import MysqlLock
scheme, _, where = sys.argv[1].partition(":")
owner = Owner(host="there", pid=os.getpid(), release=None)
lock = MysqlLock(LockContext(
    where=where, scheme=scheme, cwd=Path.cwd(), owner=owner, namespace="", expiry_s=float(sys.argv[2])
))
"""
HOLD = """
held = lock.try_acquire()
assert held is not None
held.say_step("seed")
print("held", flush=True)
while True:
    held.confirm()
    time.sleep(0.2)
"""
CONTEND = """
while (held := lock.try_acquire()) is None:
    time.sleep(random.uniform(*lock.poll_s))
record = lock.ledger.read("seed", "ever")
if record is None or record.state != "done":
    record = lock.ledger.begin("seed", "ever")
    print("began", flush=True)
    lock.execute("INSERT INTO runs VALUES (1)")
    time.sleep(0.3)
    held.confirm()
    assert lock.ledger.finish(record, "done", exit_code=0, tail="")
held.release()
"""


class Contenders:
    """Locks that are closed after the test."""

    def __init__(self) -> None:
        """None yet."""
        self.made: list[MysqlLock] = []

    def __call__(self, url: str, namespace: str = "", **more: Any) -> MysqlLock:
        """Return a lock for one more contender; `more` as in LockContext."""
        scheme, _, where = url.partition(":")
        owner = Owner(host="here", pid=len(self.made), release=None)
        context = LockContext(where=where, scheme=scheme, cwd=Path(), owner=owner, namespace=namespace, **more)
        self.made.append(MysqlLock(context))
        return self.made[-1]


@contextmanager
def contenders() -> Iterator[Contenders]:
    """Make contenders for the length of the block: `made(url, "other")`."""
    made = Contenders()
    try:
        yield made
    finally:
        for lock in made.made:
            lock.close()


def start(spawn: Spawner, program: str, url: str, expiry_s: float = EXPIRY_S) -> Launched:
    """Start `HOLD` or `CONTEND`."""
    return spawn([sys.executable, "-W", "error", "-c", COMMON + program, url, str(expiry_s)])


def taken(lock: MysqlLock) -> bool:
    """Try; give it back when it was free."""
    held = lock.try_acquire()
    if held is not None:
        held.release()
    return held is not None
