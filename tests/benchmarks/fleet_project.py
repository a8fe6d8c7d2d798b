"""What is started fifty times at once? An application with one migration in PostgreSQL.

Two of them: one as people have them (FastAPI, SQLAlchemy), and the smallest there can be. A server says by itself that
it is there, by a datagram from its lifespan: asking fifty ports over and over would cost as much as what is measured.
"""

from __future__ import annotations

import compileall
import json
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.bench_start import kill_group
from benchmarks.project import ALEMBIC_INI, BIN, REPOSITORY, environment, write

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

DEADLINE_S = 180

# Says that the server is there.
THERE = """
import os
import socket


def say_there():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
        there.sendto(os.environ["PORT"].encode(), os.environ["BENCH_READY"])
"""

ORDERS = """
import os
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from there import say_there

engine = create_async_engine(os.environ["DATABASE_URL"])


@asynccontextmanager
async def lifespan(app):
    async with engine.connect() as connection:
        await connection.execute(text("SELECT version_num FROM alembic_version"))
    say_there()
    yield
    await engine.dispose()


app = FastAPI(lifespan=lifespan)


@app.get("/")
async def head() -> dict[str, str]:
    async with engine.connect() as connection:
        return {"head": str(await connection.scalar(text("SELECT version_num FROM alembic_version")))}
"""

SMALLEST = """
from there import say_there


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        say_there()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
    else:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"here"})
"""

# What a launcher becomes where only the way there is measured.
NOTHING = """
from launcher.servers import ServerCommand


class Nothing:
    name = "nothing"

    def command(self, plan):
        return ServerCommand(argv=("true",))


launcher_servers = {"nothing": Nothing}
"""

ENV_PY = """
import os

from alembic import context
from sqlalchemy import create_engine, pool

with create_engine(os.environ["DATABASE_URL"], poolclass=pool.NullPool).connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

MIGRATION = '''
"""two seconds, from when the gate is open"""

import os
import time
from pathlib import Path

from alembic import op

revision = "a0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade():
    gate = os.environ.get("BENCH_GATE")
    while gate and not Path(gate).exists():
        time.sleep(0.01)
    time.sleep(float(os.environ.get("BENCH_MIGRATION_S", "0")))
    op.execute("CREATE TABLE t (x int)")
    with open(os.environ["BENCH_JOURNAL"], "a") as journal:
        journal.write(f"{time.time()}\\n")


def downgrade():
    op.execute("DROP TABLE t")
'''


@dataclass(frozen=True, slots=True)
class Started:
    """One process of a fleet, and the file that has its output."""

    process: subprocess.Popen[bytes]
    output: Path

    @property
    def events(self) -> list[dict[str, Any]]:
        """The launcher's whole lines, in their order."""
        lines = self.output.read_text(errors="replace").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def has(self, event: str) -> bool:
        """Tell whether it has said this; cheaper than `events`."""
        return f'"{event}"' in self.output.read_text(errors="replace")


class Project:
    """The application in a folder, and fleets of it."""

    def __init__(self, folder: Path) -> None:
        """Write and compile it."""
        self.folder = folder / "project"
        self.journal, self.gate = folder / "journal", folder / "gate"
        self._ready, self._outputs = folder / "ready", folder / "outputs"
        self._outputs.mkdir()
        for name, text in (("there", THERE), ("orders", ORDERS), ("smallest", SMALLEST), ("nothing", NOTHING)):
            write(self.folder / f"{name}.py", text)
        write(self.folder / "alembic.ini", ALEMBIC_INI)
        write(self.folder / "migrations" / "env.py", ENV_PY)
        write(self.folder / "migrations" / "versions" / "a0001_table.py", MIGRATION)
        for compiled in (self.folder, REPOSITORY / "launcher"):
            compileall.compile_dir(compiled, quiet=1)

    def environment(self, url: str, changes: Mapping[str, str]) -> dict[str, str]:
        """Return what each process gets."""
        own = {"DATABASE_URL": url, "BENCH_JOURNAL": str(self.journal), "BENCH_READY": str(self._ready)}
        return environment({**own, **changes})

    def migrate(self, url: str) -> None:
        """Bring a database to the head."""
        upgrade: list[str | Path] = [BIN / "alembic", "upgrade", "head"]
        subprocess.run(upgrade, cwd=self.folder, env=self.environment(url, {}), check=True, capture_output=True)

    @contextmanager
    def fleet(self, argv: Sequence[str], environments: Sequence[Mapping[str, str]]) -> Iterator[list[Started]]:
        """Start one process for each environment, at once; afterwards nothing of them is left."""
        started: list[Started] = []
        try:
            for number, variables in enumerate(environments):
                output = self._outputs / str(number)
                with output.open("wb") as file:
                    process = subprocess.Popen(
                        argv,
                        cwd=self.folder,
                        env=variables,
                        stdin=subprocess.DEVNULL,
                        stdout=file,
                        stderr=file,
                        start_new_session=True,
                    )
                started.append(Started(process, output))
            yield started
        finally:
            for each in started:
                kill_group(each.process)

    def seconds_until_served(self, argv: Sequence[str], url: str, ports: Sequence[int]) -> float:
        """Start one server a port; return the seconds until the last one is there. RuntimeError when one is not."""
        environments = [self.environment(url, {"PORT": str(port)}) for port in ports]
        self._ready.unlink(missing_ok=True)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as there:
            there.bind(str(self._ready))
            there.settimeout(1)
            before = time.perf_counter()
            with self.fleet(argv, environments) as started:
                missing = {str(port).encode() for port in ports}
                while missing:
                    missing -= {_received(there)}
                    _check(started, before + DEADLINE_S)
                return time.perf_counter() - before


def _received(there: socket.socket) -> bytes:
    try:
        return there.recv(16)
    except TimeoutError:
        return b""


def _check(started: Sequence[Started], deadline: float) -> None:
    ended = [each for each in started if each.process.poll() is not None]
    if ended or time.perf_counter() > deadline:
        shown = (ended or started)[0]
        raise RuntimeError(f"{shown.process.args!r} did not serve:\n{shown.output.read_text(errors='replace')}")


@contextmanager
def temporary_project() -> Iterator[Project]:
    """Write it into a temporary folder for the length of the block."""
    with tempfile.TemporaryDirectory(prefix="launcher-bench-") as folder:
        yield Project(Path(folder))
