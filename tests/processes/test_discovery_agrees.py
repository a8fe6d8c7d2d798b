"""Does Python agree: can what was found be imported, and does it serve?"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from launcher.discovery import AppRequest, find_app
from launcher.origin import Origin, OriginKind, Sourced
from support.environment import clean_environment
from support.projects import write_project

if TYPE_CHECKING:
    from pathlib import Path

    from launcher.discovery import App

# What a server does with an import string: import, look the attribute up, call a factory, serve one request.
SERVE = """
import asyncio, functools, importlib, sys

folder, import_string, factory = sys.argv[1:]
sys.path.insert(0, folder)
module, _, attribute = import_string.partition(":")
app = functools.reduce(getattr, attribute.split("."), importlib.import_module(module))
app = app() if factory == "True" else app
status = []

async def request():
    body = [{"type": "http.request", "body": b"", "more_body": False}]
    gone = asyncio.Event()

    async def receive():
        if body:
            return body.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message):
        if message["type"] == "http.response.start":
            status.append(message["status"])

    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "GET",
        "scheme": "http", "path": "/", "raw_path": b"/", "query_string": b"", "root_path": "", "state": {},
        "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }
    await app(scope, receive, send)

asyncio.run(request())
print(*status)
"""

BARE = """
async def {name}(scope, receive, send):
    await send({{"type": "http.response.start", "status": 200, "headers": []}})
    await send({{"type": "http.response.body", "body": b"ok"}})
"""
FASTAPI = """
from fastapi import FastAPI
app = FastAPI()
@app.get("/")
async def root() -> dict[str, str]:
    return {}
"""
STARLETTE = """
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
site = Starlette(routes=[Route("/", lambda request: PlainTextResponse("ok"))])
"""
LITESTAR = """
from litestar import Litestar, get
@get("/")
async def index() -> str:
    return "ok"
application = Litestar([index])
"""
QUART = """
from quart import Quart
api = Quart(__name__)
@api.get("/")
async def index():
    return "ok"
"""
DJANGO = {
    "mysite/__init__.py": "",
    "mysite/settings.py": "ROOT_URLCONF = 'mysite.urls'\nSECRET_KEY = 'x'\nALLOWED_HOSTS = ['*']\n",
    "mysite/urls.py": """
        from django.http import HttpResponse
        from django.urls import path
        urlpatterns = [path("", lambda request: HttpResponse("ok"))]
        """,
    "mysite/asgi.py": """
        import os
        from django.core.asgi import get_asgi_application
        os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
        application = get_asgi_application()
        """,
}
INSTANCE = """
from ok import answer
class Site:
    async def __call__(self, scope, receive, send):
        await answer(scope, receive, send)
site = Site()
"""
FACTORY = "def create_app():\n    from ok import answer\n    return answer\n"
MIDDLEWARE = STARLETTE + "from starlette.middleware.gzip import GZipMiddleware\nouter = GZipMiddleware(site)\n"
OK = {"ok.py": BARE.format(name="answer")}

CASES: dict[str, tuple[dict[str, str], str | None]] = {
    "fastapi": ({"main.py": FASTAPI}, None),
    "starlette": ({"app.py": STARLETTE}, None),
    "starlette wrapped": ({"app.py": MIDDLEWARE}, None),
    "litestar": ({"asgi.py": LITESTAR}, None),
    "quart": ({"api.py": QUART}, None),
    "django": (DJANGO, None),
    "bare": ({"main.py": BARE.format(name="app")}, None),
    "instance": ({"main.py": INSTANCE, **OK}, None),
    "factory": ({"main.py": FACTORY, **OK}, "main:create_app()"),
    "src layout": ({"src/shop/__init__.py": "", "src/shop/main.py": FASTAPI}, None),
    "src layout, asked": ({"src/shop/__init__.py": "", "src/shop/main.py": FASTAPI}, "shop.main:app"),
    "re-export": ({"app/__init__.py": "from .web import app\n", "app/web.py": FASTAPI}, None),
    "package and variable of one name": ({"app/__init__.py": "from .app import app\n", "app/app.py": FASTAPI}, "app"),
    "folder without __init__": ({"app/main.py": "from ok import answer as app\n", "app/ok.py": OK["ok.py"]}, None),
    "namespace package": ({"shop/main.py": "from .ok import answer as app\n", "shop/ok.py": OK["ok.py"]}, "shop.main"),
    "dotted attribute": ({"main.py": "class holder:\n    from ok import answer\n", **OK}, "main:holder.answer"),
    "file in a package": ({"a/__init__.py": "", "a/b/__init__.py": "", "a/b/web.py": FASTAPI}, "a/b/web.py"),
}


@pytest.mark.parametrize("case", CASES)
def test_found_app_serves(case: str, tmp_path: Path) -> None:
    """The import string, imported by another Python from the import folder, answers one request with 200."""
    files, asked = CASES[case]
    root = write_project(tmp_path / "project", files)
    origin = Origin(OriginKind.COMMAND_LINE, "APP argument")
    app = find_app(AppRequest(Sourced(asked, origin) if asked else None), root)

    served = serve(app, tmp_path)

    assert ("200\n", 0) == (served.stdout, served.returncode), f"{app}\n{served.stderr}"


def test_fastapi_names_the_same_module(tmp_path: Path) -> None:
    """For a path the module and the import folder are those of FastAPI's own command."""
    files = {"a/__init__.py": "", "a/b/__init__.py": FASTAPI, "a/b/web.py": FASTAPI, "loose/main.py": FASTAPI}
    root = write_project(tmp_path / "project", files)
    paths = ["a/b/web.py", "a/b/__init__.py", "a/b", "loose/main.py"]
    ours = [find_app(AppRequest(Sourced(path, Origin(OriginKind.COMMAND_LINE, "APP"))), root) for path in paths]
    asked = (
        "import sys; from pathlib import Path; from fastapi_cli.discover import get_module_data_from_path as get\n"
        "for path in sys.argv[1:]:\n"
        "    data = get(Path(path)); print(data.module_import_str, data.extra_sys_path)\n"
    )

    theirs = run(root, tmp_path, asked, *paths)

    assert [f"{app.import_string.partition(':')[0]} {app.import_dir}" for app in ours] == theirs.stdout.splitlines()


def test_nothing_is_imported(tmp_path: Path) -> None:
    """Finding an app imports neither it nor a framework, and none of what makes start-up slow."""
    root = write_project(tmp_path / "project", {"main.py": FASTAPI})
    asked = (
        "import sys; from pathlib import Path; from launcher.discovery import AppRequest, find_app\n"
        "find_app(AppRequest(), Path.cwd())\n"
        "print(sorted({'main', 'fastapi', 'asyncio', 'importlib.metadata', 'rich'} & set(sys.modules)))\n"
    )

    done = run(root, tmp_path, asked)

    assert "[]\n" == done.stdout, done.stderr


def serve(app: App, home: Path) -> subprocess.CompletedProcess[str]:
    """Import and serve in a new Python, started where nothing of the project is."""
    return run(home, home, SERVE, str(app.import_dir), app.import_string, str(app.factory))


def run(folder: Path, home: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program text in a new Python in `folder`."""
    return subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=folder,
        env=clean_environment(home, "discovery", {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
