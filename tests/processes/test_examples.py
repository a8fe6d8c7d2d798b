"""Does every example do what its README says, with nothing but its own folder?"""

from __future__ import annotations

import functools
import hashlib
import http.server
import json
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import threading
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launcher.errors import ExitCode
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from support.launched import Launched
    from support.postgresql import PostgreSQL
    from support.spawning import Launch

REPOSITORY = Path(__file__).parents[2]
EXAMPLES = REPOSITORY / "examples"
# What running or checking an example leaves behind: each test begins with the files of a fresh clone.
LEFT_BEHIND = shutil.ignore_patterns(
    "__pycache__", ".*_cache", ".launcher", "*.db", "*.db-*", "*.sqlite3*", "*.egg-info"
)
SEEDED = re.compile(r"seeded \d+ items")  # what app/seed.py prints

pytestmark = pytest.mark.timeout(90)


def copied(name: str, tmp_path: Path) -> Path:
    """Return a copy of the example, as a fresh clone has it."""
    return Path(shutil.copytree(EXAMPLES / name, tmp_path / name, ignore=LEFT_BEHIND))


def serve(launch: Launch, folder: Path, env: Mapping[str, str | None] | None = None) -> tuple[Launched, int]:
    """Start the example by the README's command, on a free port given as platforms give it."""
    port = free_port()
    return launch("run", cwd=folder, env={"PORT": str(port), "WEB_CONCURRENCY": "1"} | dict(env or {})), port


def stop(launched: Launched) -> int:
    """Ask it to end as an orchestrator does; return its exit status."""
    launched.signal(signal.SIGTERM)
    return launched.wait()


def test_bare_application_is_found_and_served(launch: Launch, tmp_path: Path) -> None:
    """`launcher run` in a folder with one main.py serves it, and TERM ends it with 0."""
    launched, port = serve(launch, copied("bare", tmp_path))

    assert launched.wait_http(port, "/here") == (200, "Hello from /here\n")
    assert stop(launched) == 0


def test_fastapi_begins_with_an_empty_folder(launch: Launch, tmp_path: Path) -> None:
    """Migrations and seed stand before the first answer, and a second start repeats neither."""
    folder = copied("fastapi-alembic", tmp_path)
    first, port = serve(launch, folder)
    answer = first.wait_http(port)
    first_status = stop(first)
    second, port = serve(launch, folder)
    second_answer = second.wait_http(port)
    second_status = stop(second)

    assert answer == (200, '{"items":3,"seeded":3}')
    assert second_answer == answer
    assert (first_status, second_status) == (0, 0)
    assert SEEDED.findall(first.stdout + first.stderr) == ["seeded 3 items"]
    assert SEEDED.findall(second.stdout + second.stderr) == []


@pytest.mark.parametrize("driver", ["asyncpg", "psycopg"])
def test_fastapi_takes_another_database(
    launch: Launch,
    tmp_path: Path,
    postgresql: PostgreSQL,
    driver: str,
) -> None:
    """`DATABASE_URL` alone takes application, migrations and seed to PostgreSQL."""
    folder = copied("fastapi-alembic", tmp_path)
    # The lock types of databases come later; until then the lock is said to be a file.
    env = {"DATABASE_URL": postgresql.url(f"items_{driver}", driver), "LAUNCHER_LOCK": "file"}
    launched, port = serve(launch, folder, env)

    assert launched.wait_http(port) == (200, '{"items":3,"seeded":3}')
    assert stop(launched) == 0
    assert not (folder / "app.db").exists()


def test_django_is_found_migrated_and_served(launch: Launch, tmp_path: Path) -> None:
    """`launcher run` finds mysite/asgi.py and runs `manage.py migrate` before it."""
    launched, port = serve(launch, copied("django", tmp_path))
    status, body = launched.wait_http(port)

    assert (status, json.loads(body)) == (200, {"questions": []})
    assert stop(launched) == 0


@pytest.fixture(scope="session")
def installed_plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install examples/own-plugin for real, into a folder of its own beside the environment's packages."""
    target = tmp_path_factory.mktemp("plugin") / "site"
    source = Path(shutil.copytree(EXAMPLES / "own-plugin", target.with_name("source"), ignore=LEFT_BEHIND))
    uv = shutil.which("uv", path=f"{REPOSITORY / '.venv-tools' / 'bin'}:{sysconfig.get_path('scripts')}") or "uv"
    install: list[str | Path] = [
        uv,
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--python",
        sys.executable,
        "--target",
        target,
        source,
    ]
    subprocess.run(install, check=True, cwd=target.parent)
    return target


@contextmanager
def published(folder: Path) -> Iterator[str]:
    """Serve a folder over HTTP on loopback; yields its URL."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Keep pytest's output free of access lines."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def with_download(folder: Path, url: str, content: bytes) -> Path:
    """Add the plugin's step to a project, for a file with this content."""
    checksum = hashlib.sha256(content).hexdigest()
    keys = {"name": "model", "download": url, "to": "data/model.bin", "sha256": checksum}
    table = "\n".join(f"{key} = {json.dumps(value)}" for key, value in keys.items())
    (folder / "launcher.toml").write_text(f"[[prestart]]\n{table}\n")
    return folder


def test_own_plugin_runs_once_installed(launch: Launch, tmp_path: Path, installed_plugin: Path) -> None:
    """The installed distribution's step type fetches the file; the next start finds it and asks nobody."""
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "model.bin").write_bytes(b"weights")
    env = {"PYTHONPATH": str(installed_plugin)}
    with published(tmp_path / "published") as url:
        folder = with_download(copied("bare", tmp_path), f"{url}/model.bin", b"weights")
        first, port = serve(launch, folder, env)
        first_answer = first.wait_http(port)
        first_status = stop(first)
    second, port = serve(launch, folder, env)  # what it was fetched from is gone

    assert first_answer == (200, "Hello from /\n")
    assert first_status == 0
    assert (folder / "data" / "model.bin").read_bytes() == b"weights"
    assert second.wait_http(port) == first_answer
    assert stop(second) == 0


def test_own_plugin_fails_as_a_step_fails(launch: Launch, tmp_path: Path, installed_plugin: Path) -> None:
    """A file with the wrong content ends the start with 10 and the plugin's own sentence; nothing is left of it."""
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "model.bin").write_bytes(b"something else")
    with published(tmp_path / "published") as url:
        folder = with_download(copied("bare", tmp_path), f"{url}/model.bin", b"weights")
        launched, _ = serve(launch, folder, {"PYTHONPATH": str(installed_plugin)})
        status = launched.wait()

    assert status == ExitCode.STEP_FAILED
    assert "model.bin should have the SHA-256" in launched.stderr
    assert list((folder / "data").iterdir()) == []


def test_own_plugin_is_named_when_it_is_not_installed(launch: Launch, tmp_path: Path) -> None:
    """Without the distribution the word is nobody's: exit 2, and the message has the word."""
    folder = with_download(copied("bare", tmp_path), "http://127.0.0.1:9/model.bin", b"weights")
    launched, _ = serve(launch, folder)

    assert launched.wait() == ExitCode.USAGE
    assert "download" in launched.stderr


def test_module_of_the_application_registers_a_step(launch: Launch, tmp_path: Path) -> None:
    """`plugins = ["ops"]` is enough for a step type of one's own: it refuses a start, and lets the next one pass."""
    folder = copied("own-plugin", tmp_path) / "inside_app"
    refused, _ = serve(launch, folder)
    refused_status = refused.wait()
    accepted, port = serve(launch, folder, {"GREETING": "hello"})

    assert refused_status == ExitCode.STEP_FAILED
    assert "not set: GREETING" in refused.stderr
    assert accepted.wait_http(port) == (200, "hello")
    assert stop(accepted) == 0
