"""Which programs contend for a lock file in a test?"""

from __future__ import annotations

# `contender("")`, `contender("file's path")` or `contender("sqlite:///app.db")` in the working directory.
COMMON = """
import os, random, signal, sys, time
from pathlib import Path
import filelock, msgspec
from launcher.errors import LauncherError
from launcher.locks import LockContext, Owner
from launcher.locks.file import FileLock
from launcher.locks.file_ledger import FileLedger
from launcher.locks.sqlite import SqliteLock
OWNER = Owner(host="here", pid=os.getpid(), release=None)
def contender(where=""):
    scheme, _, rest = where.rpartition("sqlite:")
    kind = SqliteLock if _ else FileLock
    return kind(LockContext(scheme=_.rstrip(":"), where=rest, cwd=Path.cwd(), owner=OWNER, namespace=""))
"""

# It says that it has the lock by a file; `how` the descriptor is then given to a child that outlives it.
HOLD = """
from common import *
import subprocess
where, sign, how = [*sys.argv[1:], "", "", ""][:3]
held = contender(where).try_acquire()
assert held is not None
held.say_step("seed")
children = {"inherited": held.descriptors(), "closed": ()}
if how in children:
    subprocess.Popen(["sleep", "300"], pass_fds=children[how])
if how == "forked" and os.fork() == 0:
    signal.pause()
Path(sign or "held").touch()
time.sleep(300)
"""

# One try; as another user where one is named: everything has been imported, so that the folder of Python may be closed.
TRY = """
from common import *
import filelock._soft, launcher.state
uid, where = int(sys.argv[1]), sys.argv[2]
if uid:
    os.setgroups([])
    os.setgid(uid)
    os.setuid(uid)
try:
    lock = contender(where)
    held = lock.try_acquire()
    print("taken" if held is not None else "busy", type(getattr(held, "_flock", None)).__name__)
    for number in range(3):
        lock.ledger.finish(lock.ledger.begin("seed", f"r{number}"), "done", exit_code=0, tail="x" * 3000)
except LauncherError as error:
    print(f"{type(error).__name__}: {error.message} / {error.cure}")
try:
    print(len(lock.ledger.records()), "records")
except LauncherError as error:
    print(f"{type(error).__name__}: {error.message}")
except NameError:
    pass
"""

PROGRAMS = {"common.py": COMMON, "hold.py": HOLD, "once.py": TRY}
