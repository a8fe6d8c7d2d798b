"""Which app is found in which files, and what is said where none is?"""

from __future__ import annotations

from pathlib import Path
from time import perf_counter

import pytest

from launcher.discovery import App, AppRequest, find_app
from launcher.errors import UsageError
from launcher.origin import DEFAULT, Origin, OriginKind, Sourced
from support.projects import write_project

ARGUMENT = Origin(OriginKind.COMMAND_LINE, "APP argument")
FASTAPI = "from fastapi import FastAPI\napp = FastAPI()\n"
BARE = "async def app(scope, receive, send):\n    pass\n"
WSGI = "from flask import Flask\napp = Flask(__name__)\n"


def sourced(text: str | None) -> Sourced[str] | None:
    """Return what was typed as a setting from the command line."""
    return None if text is None else Sourced(text, ARGUMENT)


def find(
    root: Path,
    app: str | None = None,
    *,
    variable: str | None = None,
    factory: bool = False,
    app_dir: str | None = None,
) -> App:
    """Find the app from `root`, as the command line would ask."""
    return find_app(AppRequest(sourced(app), sourced(variable), factory, Path(app_dir) if app_dir else None), root)


def found(root: Path, app: str | None = None, **asked: str) -> tuple[str, str]:
    """Return the import string and the import folder as seen from `root`."""
    result = find(root, app, **asked)  # type: ignore[arg-type]  # only text is passed here
    return result.import_string, result.import_dir.relative_to(root).as_posix()


def refused(root: Path, app: str | None = None, *, variable: str | None = None, factory: bool = False) -> str:
    """Return the message and the cure of the refusal."""
    with pytest.raises(UsageError) as caught:
        find(root, app, variable=variable, factory=factory)
    assert caught.value.exit_code == 2
    return f"{caught.value.message}\ncure: {caught.value.cure}"


TREES = {
    "fastapi": ({"main.py": FASTAPI}, "main:app", "."),
    "starlette": ({"asgi.py": "import starlette.applications as s\napi = s.Starlette()\n"}, "asgi:api", "."),
    "litestar": ({"app.py": "from litestar import Litestar\nsite = Litestar([])\n"}, "app:site", "."),
    "quart": ({"api.py": "import quart\napp = quart.Quart(__name__)\n"}, "api:app", "."),
    "django": (
        {
            "mysite/__init__.py": "",
            "mysite/asgi.py": "from django.core.asgi import get_asgi_application as get\napplication = get()\n",
            "manage.py": "",
        },
        "mysite.asgi:application",
        ".",
    ),
    "bare": ({"main.py": BARE}, "main:app", "."),
    "bare under another name": ({"main.py": BARE.replace("app", "serve")}, "main:serve", "."),
    "instance": (
        {"main.py": "class Site:\n    async def __call__(self, scope, receive, send): ...\n\nsite = Site()\n"},
        "main:site",
        ".",
    ),
    "subclass": (
        {"main.py": "from fastapi import FastAPI\nclass Api(FastAPI): ...\nserver = Api()\n"},
        "main:server",
        ".",
    ),
    "made by a factory": (
        {"main.py": "def build(debug) -> 'FastAPI':\n    return make(debug)\n\nserver = build(True)\n"},
        "main:server",
        ".",
    ),
    "wrapped": ({"main.py": FASTAPI + "app = GZipMiddleware(app)\n"}, "main:app", "."),
    "wrapped under another name": (
        {"main.py": "a = FastAPI()\nb = CORSMiddleware(a)\nadmin = Admin(a)\n"},
        "main:b",
        ".",
    ),
    "wrapped inline": ({"main.py": "server = LogMiddleware(app=FastAPI())\n"}, "main:server", "."),
    "WSGI made ASGI": (
        {"main.py": "site = Flask(__name__)\nserver = WsgiToAsgi(site)\n"},
        "main:server",
        ".",
    ),
    "blacksheep": ({"main.py": "from blacksheep import Application as A\nx = A()\n"}, "main:x", "."),
    "falcon": ({"main.py": "import falcon.asgi\nx = falcon.asgi.App()\n"}, "main:x", "."),
    "imported": ({"main.py": "from .core import app\n"}, "main:app", "."),
    "conditional": (
        {"main.py": "app = None\nif DEBUG:\n    app = FastAPI()\nelse:\n    app = None\n"},
        "main:app",
        ".",
    ),
    "annotated": ({"main.py": "server: ASGIApp = build()\n"}, "main:server", "."),
    "global": ({"main.py": "app = None\ndef main():\n    global app\n    app = make()\n"}, "main:app", "."),
    "package": ({"app/__init__.py": "", "app/main.py": FASTAPI}, "app.main:app", "."),
    "re-export": ({"app/__init__.py": "from .web import app\n", "app/web.py": FASTAPI}, "app:app", "."),
    "collision": ({"app/__init__.py": "from .app import app\n", "app/app.py": FASTAPI}, "app.app:app", "."),
    "folder without __init__": ({"app/main.py": FASTAPI}, "main:app", "app"),
    "src layout": ({"src/shop/__init__.py": "", "src/shop/main.py": FASTAPI}, "shop.main:app", "src"),
    "src package": ({"src/shop/__init__.py": "from .web import app\n"}, "shop:app", "src"),
    "src file": ({"src/main.py": FASTAPI}, "main:app", "src"),
    "main before app": ({"main.py": FASTAPI, "app.py": FASTAPI}, "main:app", "."),
    "not a command line": (
        {"main.py": "import typer\napp = typer.Typer()\n", "app/__init__.py": "", "app/api.py": FASTAPI},
        "app.api:app",
        ".",
    ),
    "not a function": ({"main.py": FASTAPI.replace("app =", "api =") + "def app():\n    print()\n"}, "main:api", "."),
    "not a module": ({"main.py": "import app\nfrom . import api\nserver = FastAPI()\n"}, "main:server", "."),
    "not a submodule": (
        {"main.py": "from shop import api\nserver = FastAPI()\n", "shop/api.py": ""},
        "main:server",
        ".",
    ),
    "not the script's": (
        {"main.py": "server = FastAPI()\nif __name__ == '__main__':\n    app = FastAPI()\n"},
        "main:server",
        ".",
    ),
    "not copies": (
        {"env/pyvenv.cfg": "", "env/asgi.py": BARE, "tests/asgi.py": BARE, ".x/asgi.py": BARE, "site/asgi.py": BARE},
        "asgi:app",
        "site",
    ),
}


@pytest.mark.parametrize("case", TREES)
def test_found_without_asking(case: str, tmp_path: Path) -> None:
    """With no APP the usual places and names are looked through, in the order of the contract."""
    files, import_string, import_dir = TREES[case]
    root = write_project(tmp_path / "project", files)

    assert (import_string, import_dir) == found(root)


PACKAGE = {"shop/__init__.py": "", "shop/web.py": FASTAPI, "shop/main.py": FASTAPI, "loose/main.py": FASTAPI}
ASKED = {
    "shop.web:app": ("shop.web:app", "."),
    "shop.web:app.router": ("shop.web:app.router", "."),
    "shop.web": ("shop.web:app", "."),
    "shop": ("shop.main:app", "."),
    "shop/": ("shop.main:app", "."),
    "shop/web.py": ("shop.web:app", "."),
    "./shop/web.py:app": ("shop.web:app", "."),
    "loose": ("main:app", "loose"),
    "loose/main.py": ("main:app", "loose"),
    "loose.main": ("loose.main:app", "."),
    "loose.main:app": ("loose.main:app", "."),
    "not.here:app": ("not.here:app", "."),
    "  shop.web:app ": ("shop.web:app", "."),
    "": ("made:app", "."),
}


@pytest.mark.parametrize("text", ASKED)
def test_asked_for(text: str, tmp_path: Path) -> None:
    """Every form of APP: modules are seen from the working directory, files as FastAPI's command sees them."""
    root = write_project(tmp_path / "project", PACKAGE)
    if not text:
        write_project(root, {"main.py": "from made import app\n", "made.py": FASTAPI})
        text = "made.py"

    assert ASKED.get(text, ("made:app", ".")) == found(root, text)


def test_absolute_path_with_a_colon(tmp_path: Path) -> None:
    """An absolute path keeps its drive's colon and may still be followed by a variable."""
    root = write_project(tmp_path / "project", {"main.py": FASTAPI})
    path = str(root / "main.py")

    assert found(root, path) == ("main:app", ".")
    assert found(root, f"{path}:app") == ("main:app", ".")


def test_variable(tmp_path: Path) -> None:
    """`--app NAME` is the variable in a file, a module, or in the first usual file that has it."""
    two = FASTAPI + "internal = FastAPI()\n"
    root = write_project(tmp_path / "project", {"main.py": FASTAPI, "app.py": two})

    assert found(root, "app.py", variable="internal") == ("app:internal", ".")
    assert found(root, "app", variable="internal") == ("app:internal", ".")
    assert found(root, variable="internal") == ("app:internal", ".")
    assert "main.py has no `intrenal`" in refused(root, "main.py", variable="intrenal")
    assert "did you mean app:internal?" in refused(root, "app:intrenal")
    assert "leave one of them out" in refused(root, "app:app", variable="internal")


@pytest.mark.parametrize("asked", ["main:create_app()", "main:create_app", "main.py:create_app()", "main", None])
def test_factory(asked: str | None, tmp_path: Path) -> None:
    """A factory is asked for by `()` or by --factory, which also finds it."""
    root = write_project(tmp_path / "project", {"main.py": "def create_app():\n    return FastAPI()\n"})
    with_option = asked is None or "()" not in asked

    result = find(root, asked, factory=with_option)

    assert (result.import_string, result.factory) == ("main:create_app", True)


def test_app_dir(tmp_path: Path) -> None:
    """With --app-dir modules and files are named as seen from that folder."""
    root = write_project(tmp_path / "project", {"code/app/main.py": FASTAPI})

    assert found(root, "app.main:app", app_dir="code") == ("app.main:app", "code")
    assert found(root, "code/app/main.py", app_dir="code") == ("app.main:app", "code")
    assert found(root, app_dir="code") == ("app.main:app", "code")
    with pytest.raises(UsageError, match="nowhere is not a folder"):
        find(root, app_dir="nowhere")


def test_src_is_seen_by_modules(tmp_path: Path) -> None:
    """A module that is only below src/ is found there; one that exists in both places is the nearer one."""
    root = write_project(tmp_path / "project", {"src/shop/web.py": FASTAPI, "src/near.py": FASTAPI, "near.py": FASTAPI})

    assert found(root, "shop.web:app") == ("shop.web:app", "src")
    assert found(root, "near:app") == ("near:app", ".")


def test_installed_module(tmp_path: Path) -> None:
    """A bare module that is installed is read where it is, and its parents are not imported."""
    assert "no ASGI app" in refused(tmp_path, "json.decoder")
    assert "there is no module no.such" in refused(tmp_path, "no.such")


def test_because(tmp_path: Path) -> None:
    """The reason names the file, the statement and who asked."""
    root = write_project(tmp_path / "project", {"main.py": FASTAPI, "pkg/web.py": "from .db import x\n" + FASTAPI})

    assert find(root).because == "found main.py, its `app = FastAPI()`"
    assert find(root).origin is DEFAULT
    assert find(root, "main:app").because == "asked for by APP argument, found main.py"
    assert "expected to be installed" in find(root, "other:app").because
    assert "need pkg/__init__.py, or `launcher run pkg.web:app`" in find(root, "pkg/web.py").because


REFUSED = {
    "nothing": ({"readme.txt": ""}, None, ["main.py, app.py", "launcher run module:attribute"]),
    "why each was not it": (
        {"main.py": "app = typer.Typer()\n", "api.py": "def helper(): ...\n"},
        None,
        ["main.py: `app = typer.Typer()` is not an ASGI app", "api.py: no ASGI app, it defines `def helper()`"],
    ),
    "factory": (
        {"main.py": "def create_app() -> FastAPI:\n    return make()\n"},
        None,
        ["factory `def create_app()`", "main:create_app()", "--factory"],
    ),
    "several": (
        {"main.py": "one = FastAPI()\ntwo = FastAPI()\n"},
        None,
        ["`one = FastAPI()`, `two = FastAPI()`", "main:one"],
    ),
    "several asgi.py": (
        {"a/__init__.py": "", "a/asgi.py": BARE, "b/__init__.py": "", "b/asgi.py": BARE},
        None,
        ["a.asgi:app, b.asgi:app"],
    ),
    "WSGI found": ({"main.py": WSGI}, None, ["`app = Flask(...)` is a WSGI app", "WsgiToAsgi"]),
    "WSGI asked": ({"main.py": WSGI}, "main:app", ["is a WSGI app"]),
    "WSGI function": ({"main.py": "def app(environ, start_response): ...\n"}, "main", ["is a WSGI app"]),
    "syntax": ({"main.py": "app = FastAPI()\n\ndef broken(:\n"}, None, ["main.py:3: "]),
    "syntax in a file": ({"main.py": "def broken(:\n"}, "main.py", ["main.py:1: "]),
    "null bytes": ({"main.py": "app = 1\0"}, "main.py", ["main.py"]),
    "absent": ({"main.py": FASTAPI}, "main:aplication", ["main.py has no `aplication`", "did you mean main:app?"]),
    "no such file": (
        {"main.py": FASTAPI},
        "mian.py",
        ["mian.py (APP argument) does not exist", "did you mean main.py?"],
    ),
    "not Python": ({"x/notes.txt": ""}, "x/notes.txt", ["is not a Python file"]),
    "empty folder": ({"x/notes.txt": ""}, "x/", ["the folder x/ has none of"]),
    "dot in a name": ({"my.app.py": FASTAPI}, "my.app.py", ["rename the file"]),
    "no attribute": ({"main.py": FASTAPI}, "main:", ["is not the name of an app"]),
    "arguments": ({"main.py": FASTAPI}, "main:create_app('x')", ["is not the name of an app"]),
    "no module": ({"main.py": FASTAPI}, ":app", ["is not a module, a file or a folder"]),
    "a sentence": ({"main.py": FASTAPI}, "run it", ["is not a module, a file or a folder"]),
    "star import": ({"main.py": "from core import *\n"}, "main", ["star import", "module:attribute"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    """What cannot be served is said in one message that names the file and the cure."""
    files, asked, parts = REFUSED[case]
    root = write_project(tmp_path / "project", files)

    message = refused(root, asked)

    assert [part for part in parts if part not in message] == [], message


@pytest.mark.parametrize(
    "source",
    [
        "def broken(:\n",
        "from core import *\n",
        "def __getattr__(name): ...\n",
        "globals()['app'] = 1\n",
        "import app\n",
    ],
)
def test_explicit_attribute_is_believed(source: str, tmp_path: Path) -> None:
    """An attribute that may come to be, and a file that cannot be parsed, are left to the server."""
    root = write_project(tmp_path / "project", {"main.py": source + "app\n" * ("broken" in source)})

    assert found(root, "main:app") == ("main:app", ".")


def test_speed(tmp_path: Path) -> None:
    """`module:attribute` costs under 2 ms and a search that parses a usual file under 15 ms, times 3 on slow CI."""
    routes = "".join(
        f"@app.get('/{n}')\nasync def route_{n}(a: int, b: str = 'x') -> dict:\n    return {{}}\n\n" for n in range(60)
    )
    root = write_project(tmp_path / "project", {"main.py": FASTAPI + routes})
    find(root)

    explicit_s = min(_seconds(root, "main:app") for _ in range(9))
    search_s = min(_seconds(root, None) for _ in range(9))

    assert explicit_s < 0.006
    assert search_s < 0.015


def _seconds(root: Path, app: str | None) -> float:
    begun = perf_counter()
    find(root, app)
    return perf_counter() - begun
