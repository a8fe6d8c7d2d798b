"""Are the conventions of platforms, gunicorn, uvicorn and the retired images kept?"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from launcher.settings.uvicorn_variables import LEFT_TO_UVICORN, TWINS
from support.asked import asked, reasons, refusal

GUNICORN_CONF = "gunicorn.conf.py"
# As the retired images' own file computes, prints and names things (evidence: peers §4.1).
IMAGES_FILE = """
import json, os
default_web_concurrency = 1.0 * 64
web_concurrency = int(os.getenv("WEB_CONCURRENCY") or 64)
host, port = os.getenv("HOST", "0.0.0.0"), os.getenv("PORT", "80")
bind = os.getenv("BIND") or f"{host}:{port}"
workers = web_concurrency
accesslog = os.getenv("ACCESS_LOG", "-") or None
keepalive = int(os.getenv("KEEP_ALIVE", "5"))
worker_tmp_dir = "/dev/shm"
print(json.dumps({"workers": workers}))
"""


@pytest.mark.parametrize(
    ("environ", "expected", "ignored"),
    [
        ({"WEB_CONCURRENCY": "3"}, 3, None),
        ({"WEB_CONCURRENCY": " 3 "}, 3, None),
        ({"WEB_CONCURRENCY": "auto"}, None, None),
        ({"WEB_CONCURRENCY": ""}, None, "it is blank, which counts as not set"),
        (
            {"WEB_CONCURRENCY": "8", "WEB_CONCURRENCY_SET_BY": "heroku/python"},
            None,
            "it is a platform's guess (set by heroku/python): the sum wins",
        ),
        ({"WEB_CONCURRENCY": "8", "WEB_CONCURRENCY_SET_BY": ""}, 8, None),
    ],
)
def test_web_concurrency(tmp_path: Path, environ: dict[str, str], expected: int | None, ignored: str | None) -> None:
    """A number counts, `auto` and blank leave it to the sum, and so does a platform's guess."""
    settings = asked(tmp_path, environ=environ)

    assert expected == (settings.pool.workers and settings.pool.workers.value)
    assert ignored == reasons(settings).get("WEB_CONCURRENCY")


@pytest.mark.parametrize(
    ("environ", "files", "winner"),
    [
        ({"GUNICORN_CMD_ARGS": "--workers 3"}, {}, "workers in GUNICORN_CMD_ARGS wins"),
        ({"LAUNCHER_WORKERS": "3"}, {}, "LAUNCHER_WORKERS wins"),
        ({"LAUNCHER_WORKERS": "auto"}, {}, "the sum wins"),
        ({}, {"launcher.toml": "reload = true"}, "reload in launcher.toml means one process"),
    ],
)
def test_who_wins_over_a_guess(tmp_path: Path, environ: dict[str, str], files: dict[str, str], winner: str) -> None:
    """A platform's guess is said to lose against what really gives the number, the sum or somebody's wish."""
    guess = {"WEB_CONCURRENCY": "8", "WEB_CONCURRENCY_SET_BY": "heroku"}
    settings = asked(tmp_path, environ=guess | environ, files=files)

    assert f"it is a platform's guess (set by heroku): {winner}" == reasons(settings)["WEB_CONCURRENCY"]


@pytest.mark.parametrize("text", ["0", "2.5", "abc", "-1"])
def test_web_concurrency_refused(tmp_path: Path, text: str) -> None:
    """What is no number of workers is refused, and not taken for the default."""
    error = refusal(tmp_path, environ={"WEB_CONCURRENCY": text})

    assert error.exit_code == 2
    assert error.message.startswith("WEB_CONCURRENCY: ")


@pytest.mark.parametrize("text", ["auto", "", "2.5"])
def test_gunicorn_never_sees_a_number_that_ends_it(tmp_path: Path, text: str) -> None:
    """The import of gunicorn fails on a WEB_CONCURRENCY that is no integer: it is not in the server's environment."""
    settings = asked(tmp_path, {"workers": "1"}, {"WEB_CONCURRENCY": text, "GUNICORN_CMD_ARGS": "--keep-alive 7"})

    assert "WEB_CONCURRENCY" not in settings.environ
    assert settings.http.keep_alive == 7


@pytest.mark.parametrize(
    ("given", "environ", "toml", "expected"),
    [
        ({}, {"PORT": "80"}, "", ["0.0.0.0:80"]),
        ({}, {"HOST": "::"}, "", ["[::]:8000"]),
        ({}, {"HOST": "h", "PORT": "80"}, "", ["h:80"]),
        ({}, {"BIND": "b:1", "HOST": "h", "PORT": "80"}, "", ["b:1"]),
        ({}, {"PORT": "80"}, 'host = "h"', ["h:80"]),
        ({"port": "1"}, {"BIND": "b:2", "HOST": "h"}, "", ["h:1"]),
        ({"host": "h"}, {"PORT": "80"}, 'bind = "unix:s"', ["h:80"]),
        ({}, {"PORT": "80"}, 'bind = ["a:1", "b"]', ["a:1", "b:8000"]),
        ({"uds": "s"}, {"PORT": "80"}, "", ["unix:s"]),
        ({}, {"LAUNCHER_FD": "3", "UVICORN_UDS": "s"}, "", ["fd://3"]),
        ({}, {"UVICORN_PORT": "81", "PORT": "80"}, "", ["0.0.0.0:81"]),
        ({}, {"UVICORN_UDS": "s", "UVICORN_PORT": "81"}, "", ["unix:s"]),
        ({"reload": True}, {}, "", ["127.0.0.1:8000"]),
        ({"reload": True}, {"HOST": "h"}, "", ["h:8000"]),
    ],
)
def test_addresses(
    tmp_path: Path, given: dict[str, object], environ: dict[str, str], toml: str, expected: list[str]
) -> None:
    """Host and port combine over places; a whole address of a stronger place sets both aside."""
    settings = asked(tmp_path, given, environ, {"launcher.toml": toml})

    assert expected == [address.value for address in settings.bind.bind]


def test_lost_address_is_said(tmp_path: Path) -> None:
    """PORT beside BIND is said to be ignored, and why."""
    assert {"PORT": "BIND wins"} == reasons(asked(tmp_path, environ={"BIND": "b:1", "PORT": "80"}))


@pytest.mark.parametrize(
    ("environ", "pyproject", "expected"),
    [
        ({"APP_MODULE": "a:a", "MODULE_NAME": "b", "UVICORN_APP": "c:c"}, True, "a:a"),
        ({"MODULE_NAME": "b", "UVICORN_APP": "c:c"}, True, "b:app"),
        ({"MODULE_NAME": "b", "VARIABLE_NAME": "api"}, True, "b:api"),
        ({"UVICORN_APP": "c:c"}, True, "c:c"),
        ({}, True, "d:d"),
        ({}, False, None),
    ],
)
def test_app(tmp_path: Path, environ: dict[str, str], *, pyproject: bool, expected: str | None) -> None:
    """The application is named in the order of DESIGN §6."""
    files = {"pyproject.toml": '[tool.fastapi]\nentrypoint = "d:d"\n'} if pyproject else {}
    app = asked(tmp_path, environ=environ, files=files).app.app

    assert expected == (app and app.value)


def test_own_setting_beats_every_convention_for_the_app(tmp_path: Path) -> None:
    """The settings' app is stronger than APP_MODULE."""
    app = asked(tmp_path, environ={"APP_MODULE": "a:a"}, files={"launcher.toml": 'app = "z:z"'}).app.app

    assert app
    assert app.value == "z:z"


@pytest.mark.parametrize(
    ("name", "option", "text", "value"),
    [
        ("MAX_WORKERS", "max_workers", "4", 4),
        ("WORKERS_PER_CORE", "workers_per_core", "0.5", 0.5),
        ("TIMEOUT", "worker_timeout", "120", "2m"),
        ("GRACEFUL_TIMEOUT", "graceful_timeout", "60", "1m"),
        ("KEEP_ALIVE", "keep_alive", "5", "5s"),
        ("LOG_LEVEL", "log_level", "WARN", "warning"),
        ("ACCESS_LOG", "access_log", "", False),
        ("ACCESS_LOG", "access_log", "-", True),
        ("ACCESS_LOG", "access_log", "a.log", "a.log"),
        ("ERROR_LOG", "error_log", "", False),
        ("FORWARDED_ALLOW_IPS", "forwarded_allow_ips", "*", "*"),
        ("WORKER_CLASS", "worker_class", "uvicorn.workers.UvicornWorker", "uvicorn"),
        ("WORKER_CLASS", "worker_class", "gunicorn.workers.gasgi.ASGIWorker", "asgi"),
        ("WORKER_CLASS", "worker_class", "my.workers.Worker", "my.workers.Worker"),
    ],
)
def test_images_variables(tmp_path: Path, name: str, option: str, text: str, value: object) -> None:
    """The retired images' variables mean what they meant there."""
    said = asked(tmp_path, environ={name: text}).origins[option]

    assert (value, name) == (said.value, said.origin.where)


@pytest.mark.parametrize(("name", "text"), [("LOG_LEVEL", "chatty"), ("TIMEOUT", "never"), ("MAX_WORKERS", "0")])
def test_anybodys_words(tmp_path: Path, name: str, text: str) -> None:
    """A common word with a value that is not ours is taken for the application's, and said."""
    assert name in reasons(asked(tmp_path, environ={name: text}))


def test_uvicorn_variables(tmp_path: Path) -> None:
    """Options of uvicorn with a twin are taken over, others left alone, unknown ones said."""
    environ = {"UVICORN_RELOAD_DIRS": "a:b", "UVICORN_FACTORY": "1", "UVICORN_LOOP": "uvloop", "UVICORN_TYPO": "x"}
    settings = asked(tmp_path, environ=environ)

    assert (("a", "b"), True) == (settings.pool.reload_dir, settings.app.factory)
    assert {"UVICORN_TYPO": "uvicorn has no such option"} == reasons(settings)


def test_all_options_of_the_installed_uvicorn_are_known() -> None:
    """Every option of uvicorn either has a twin or is left to it."""
    from uvicorn.main import main

    names = {str(param.name).upper() for param in main.params} - {"VERSION"}

    assert names <= TWINS.keys() | LEFT_TO_UVICORN
    assert {"APP"} <= names


def test_gunicorn_arguments_beat_the_file(tmp_path: Path) -> None:
    """GUNICORN_CMD_ARGS is stronger than gunicorn.conf.py, which is stronger than variables."""
    settings = asked(
        tmp_path,
        environ={"GUNICORN_CMD_ARGS": "--workers=2 --access-logfile -", "WEB_CONCURRENCY": "9", "KEEP_ALIVE": "5"},
        files={GUNICORN_CONF: "workers = 3\nkeepalive = 7\nmax_requests = 100\nprint('noise')\n"},
    )

    assert (2, "workers in GUNICORN_CMD_ARGS") == (
        settings.origins["workers"].value,
        settings.origins["workers"].origin.where,
    )
    assert (7.0, 100, True, GUNICORN_CONF) == (
        settings.http.keep_alive,
        settings.pool.max_requests,
        settings.log.access_log,
        settings.pool.config,
    )
    assert {
        f"workers in {GUNICORN_CONF}": "workers in GUNICORN_CMD_ARGS wins",
        "WEB_CONCURRENCY": "workers in GUNICORN_CMD_ARGS wins",
        "KEEP_ALIVE": f"keepalive in {GUNICORN_CONF} wins",
    } == reasons(settings)


def test_images_file(tmp_path: Path) -> None:
    """The retired images' own file is chained; its count of the machine's cores is nobody's wish."""
    files = {"root/app/gunicorn_conf.py": IMAGES_FILE}
    guessed = asked(tmp_path, environ={"PORT": "81", "ACCESS_LOG": ""}, files=files)
    wished = asked(tmp_path, environ={"WEB_CONCURRENCY": "3"}, files=files)

    assert (None, False, str(tmp_path / "root/app/gunicorn_conf.py")) == (
        guessed.pool.workers,
        guessed.log.access_log,
        guessed.pool.config,
    )
    assert ["0.0.0.0:81"] == [address.value for address in guessed.bind.bind]
    assert ["it is computed from the machine's cores: the sum wins"] == list(reasons(guessed).values())
    assert wished.pool.workers
    assert wished.pool.workers.value == 3


@pytest.mark.parametrize("location", ["conf/g.py", "file:conf/g.py", "python:gconf"])
def test_places_of_the_file(tmp_path: Path, location: str) -> None:
    """-c takes what gunicorn's -c takes, relative to the working directory."""
    files = {"conf/g.py": "bind = 'c:1'\nwsgi_app = 'x:y'", "gconf.py": "bind = 'c:1'\nwsgi_app = 'x:y'"}
    settings = asked(tmp_path, {"config": location}, files=files)

    assert ["c:1"] == [address.value for address in settings.bind.bind]
    assert settings.pool.config == location
    assert settings.app.app
    assert settings.app.app.value == "x:y"


def test_gunicorn_conf_beats_config_in_arguments(tmp_path: Path) -> None:
    """GUNICORN_CONF was the images' -c, and gunicorn's -c is stronger than GUNICORN_CMD_ARGS."""
    files = {"a.py": "workers = 2", "b.py": "workers = 3"}
    settings = asked(tmp_path, environ={"GUNICORN_CONF": "a.py", "GUNICORN_CMD_ARGS": "-c b.py"}, files=files)

    assert settings.pool.config == "a.py"
    assert settings.origins["workers"].value == 2


@pytest.mark.parametrize(
    ("environ", "text", "place", "detail"),
    [
        ({}, "import os\nraise OSError('no such thing')", GUNICORN_CONF, "OSError: no such thing"),
        ({}, "def (", GUNICORN_CONF, "SyntaxError"),
        ({}, "import sys; sys.exit(3)", GUNICORN_CONF, "exit status 3"),
        ({"GUNICORN_CMD_ARGS": "--wrokers 3"}, "", "GUNICORN_CMD_ARGS", "unrecognized arguments: --wrokers"),
        ({"GUNICORN_CMD_ARGS": "--workers x"}, "", "GUNICORN_CMD_ARGS", "invalid int value"),
        ({"GUNICORN_CMD_ARGS": "--bind 'x"}, "", "GUNICORN_CMD_ARGS", ""),
    ],
)
def test_broken_gunicorn_sources(tmp_path: Path, environ: dict[str, str], text: str, place: str, detail: str) -> None:
    """A broken file or broken arguments end the start before anything runs, with what gunicorn would have said."""
    error = refusal(tmp_path, environ=environ, files={GUNICORN_CONF: text})

    assert error.exit_code == 2
    assert place in error.message
    assert detail in error.detail


@pytest.mark.parametrize("given", [{"server": "uvicorn"}, {"reload": True}])
def test_another_server_reads_no_gunicorn_file(tmp_path: Path, given: dict[str, object]) -> None:
    """With uvicorn, gunicorn's sources are not executed, and that is said."""
    settings = asked(
        tmp_path,
        {**given, "config": "g.py"},
        {"GUNICORN_CMD_ARGS": "--workers 2"},
        {GUNICORN_CONF: "raise SystemExit", "g.py": "raise SystemExit"},
    )

    assert settings.pool.config is None
    assert {"GUNICORN_CMD_ARGS", GUNICORN_CONF, "--config"} == reasons(settings).keys()


def test_gunicorns_reload_is_said_to_be_ignored(tmp_path: Path) -> None:
    """The reload of gunicorn's own file, which restarts no ASGI worker, has no effect and is said."""
    settings = asked(tmp_path, files={GUNICORN_CONF: "reload = True\nworkers = 2"})

    assert not settings.pool.reload
    assert settings.pool.workers
    assert "--reload is uvicorn's" in reasons(settings)["reload in gunicorn.conf.py"]


def test_gunicorn_file_runs_with_this_python(tmp_path: Path) -> None:
    """The file sees the interpreter, folder and environment that it will see in the server."""
    text = "import os, sys\nassert sys.prefix == os.environ['P']\nimport beside\nbind = beside.bind"
    settings = asked(tmp_path, environ={"P": sys.prefix}, files={GUNICORN_CONF: text, "beside.py": "bind = 'c:1'"})

    assert ["c:1"] == [address.value for address in settings.bind.bind]
    assert not list(tmp_path.glob("__pycache__/*conf*"))
