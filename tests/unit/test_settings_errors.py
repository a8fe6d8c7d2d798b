"""Does every error in the settings name the place and the cure?"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from support.asked import asked, reasons, refusal


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is said, and words that the message (`place`, `what`) and the cure must have."""

    name: str
    given: dict[str, object] = field(default_factory=dict)
    environ: dict[str, str] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    place: str
    what: str = ""
    cure: str


CASES = [
    Case(
        name="flag-not-a-number",
        given={"port": "abc"},
        place="--port",
        what="'abc' is not a whole number",
        cure="0 to 65535",
    ),
    Case(name="port-too-high", given={"port": "65536"}, place="--port", what="65536 is not a port", cure="65535"),
    Case(name="no-workers", given={"workers": "0"}, place="--workers", what="0 workers serve nobody", cure="auto"),
    Case(name="negative-fd", given={"fd": "-1"}, place="--fd", what="'-1'", cure="whole number"),
    Case(name="max-workers-0", given={"max_workers": "0"}, place="--max-workers", what="less than 1", cure="10"),
    Case(
        name="variable-not-a-size",
        environ={"LAUNCHER_MEMORY": "much"},
        place="LAUNCHER_MEMORY",
        what="'much' is not a size",
        cure="80%",
    ),
    Case(name="memory-over-100", environ={"LAUNCHER_MEMORY": "120%"}, place="LAUNCHER_MEMORY", cure="80%"),
    Case(name="duration", given={"lock_timeout": "soon"}, place="--lock-timeout", what="'soon'", cure="30s"),
    Case(name="expiry-too-short", given={"lock_expiry": "5s"}, place="--lock-expiry", what="less than 7s", cure="30s"),
    Case(name="expiry-too-long", given={"lock_expiry": "2d"}, place="--lock-expiry", what="more than 24h", cure="30s"),
    Case(name="expiry-nothing", given={"lock_expiry": "0"}, place="--lock-expiry", what="less than 7s", cure="30s"),
    Case(
        name="table-of-a-table",
        environ={"LAUNCHER_LEDGER_TABLE": "a.b.c"},
        place="LAUNCHER_LEDGER_TABLE",
        what="'a.b.c' is not the name of a table",
        cure="SCHEMA.NAME",
    ),
    Case(name="table-with-more", given={"ledger_table": "x; drop table y"}, place="--ledger-table", cure="letters"),
    Case(name="table-too-long", given={"ledger_table": "x" * 64}, place="--ledger-table", cure="at most 63"),
    Case(name="orphans", given={"orphans": "kill"}, place="--orphans", what="'kill'", cure="wait, terminate"),
    Case(name="word", given={"prestart": "never"}, place="--prestart", what="'never'", cure="run, wait, check, off"),
    Case(
        name="unknown-variable",
        environ={"LAUNCHER_WORKRES": "3"},
        place="LAUNCHER_WORKRES",
        cure="did you mean LAUNCHER_WORKERS?",
    ),
    Case(
        name="neighbours-word-in-a-variable",
        environ={"LAUNCHER_TIMEOUT_KEEP_ALIVE": "3"},
        place="LAUNCHER_TIMEOUT_KEEP_ALIVE",
        cure="did you mean LAUNCHER_KEEP_ALIVE?",
    ),
    Case(
        name="unknown-key",
        files={"launcher.toml": "worker = 3"},
        place="launcher.toml",
        what="'worker'",
        cure="did you mean workers?",
    ),
    Case(
        name="dashes-in-a-file",
        files={"launcher.toml": "graceful-timeout = 3"},
        place="launcher.toml",
        cure="did you mean graceful_timeout?",
    ),
    Case(
        name="wrong-type-in-a-file",
        files={"launcher.toml": "host = 3"},
        place="host in launcher.toml",
        what="3 is not a text",
        cure="in quotes",
    ),
    Case(
        name="truth-for-a-number",
        files={"launcher.toml": "max_requests = true"},
        place="max_requests in launcher.toml",
        cure="whole number",
    ),
    Case(
        name="number-in-a-list",
        files={"launcher.toml": "bind = [1]"},
        place="bind in launcher.toml",
        what="1 is not a text",
        cure="list of texts",
    ),
    Case(name="syntax", files={"launcher.toml": "port = \n"}, place="launcher.toml", what="line 1", cure="that line"),
    Case(
        name="two-files",
        files={"launcher.toml": "port = 1", "pyproject.toml": "[tool.launcher]\nport = 2"},
        place="launcher.toml",
        what="[tool.launcher] in pyproject.toml",
        cure="one of them",
    ),
    Case(
        name="unknown-key-in-pyproject",
        files={"pyproject.toml": "[tool.launcher]\nprot = 2"},
        place="[tool.launcher] in pyproject.toml",
        cure="did you mean port?",
    ),
    Case(name="not-a-table", files={"pyproject.toml": "[tool]\nlauncher = 1"}, place="pyproject.toml", cure="[tool"),
    Case(name="named-file-missing", given={"config": "x.toml"}, place="x.toml", what="No such file", cure="its path"),
    Case(
        name="file-names-a-file",
        files={"launcher.toml": 'config = "b.toml"'},
        place="config in launcher.toml",
        cure="name it with -c",
    ),
    Case(name="gunicorn-file-missing", given={"config": "x.py"}, place="--config", what="'x.py'", cure="its path"),
    Case(name="env-file-missing", given={"env_file": ".env"}, place="--env-file", what="'.env'", cure="its path"),
    Case(
        name="two-ways-to-listen",
        given={"bind": ("a:1",), "port": "2"},
        place="--bind",
        what="--port",
        cure="one of them",
    ),
    Case(
        name="two-ways-in-variables",
        environ={"LAUNCHER_UDS": "s", "LAUNCHER_FD": "3"},
        place="LAUNCHER_UDS",
        what="LAUNCHER_FD",
        cure="one of them",
    ),
    Case(name="address", given={"bind": ("::1:80",)}, place="--bind", what="'::1:80'", cure="[IPv6]:PORT"),
    Case(name="address-port-only", given={"bind": ("8000",)}, place="--bind", what="'8000'", cure="HOST:PORT"),
    Case(name="address-port-too-high", given={"bind": ("a:65536",)}, place="--bind", cure="HOST:PORT"),
    Case(name="no-address", files={"launcher.toml": "bind = []"}, place="bind in launcher.toml", cure="HOST:PORT"),
    Case(
        name="app-twice",
        given={"app": "a:b", "entrypoint": "c:d"},
        place="APP and --entrypoint",
        cure="one of them",
    ),
    Case(
        name="variable-beside-entrypoint",
        given={"entrypoint": "c:d", "variable": "d"},
        place="--entrypoint",
        what="--app",
        cure="leave --app out",
    ),
    Case(
        name="twice-by-alias",
        given={"timeout": "1", "worker_timeout": "2"},
        place="--timeout and --worker-timeout",
        cure="one of them",
    ),
    Case(
        name="reload-with-workers",
        given={"reload": True, "workers": "2"},
        place="--reload and --workers",
        cure="leave one of them out",
    ),
    Case(name="wsgi", given={"worker_class": "gthread"}, place="--worker-class", what="WSGI", cure="asgi"),
    Case(
        name="wsgi-class",
        environ={"WORKER_CLASS": "gunicorn.workers.sync.SyncWorker"},
        place="WORKER_CLASS",
        cure="asgi",
    ),
    Case(name="worker-class-misspelt", given={"worker_class": "uvicron"}, place="--worker-class", cure="mean uvicorn?"),
    Case(name="port-variable", environ={"PORT": "http"}, place="PORT", what="'http'", cure="65535"),
    Case(name="uvicorn-variable", environ={"UVICORN_WORKERS": "x"}, place="UVICORN_WORKERS", cure="auto"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_refused(tmp_path: Path, case: Case) -> None:
    """A broken setting ends with exit code 2, one sentence with its place, and what helps."""
    error = refusal(tmp_path, case.given, case.environ, case.files)

    assert error.exit_code == 2
    assert case.place in error.message
    assert case.what in error.message
    assert case.cure in error.cure


def test_not_utf8(tmp_path: Path) -> None:
    """A file in another encoding is named, with the byte."""
    (tmp_path / "launcher.toml").write_bytes(b'app = "caf\xe9:app"')
    error = refusal(tmp_path)

    assert error.message == "launcher.toml is not UTF-8 (byte 10)"


def test_unreadable(tmp_path: Path) -> None:
    """What stands where a file should be is named."""
    (tmp_path / "x.toml").mkdir()
    error = refusal(tmp_path, {"config": "x.toml"})

    assert error.message.startswith("x.toml cannot be read: ")


def test_reload_against_workers_of_another_place(tmp_path: Path) -> None:
    """Where reload and workers are said in different places, the stronger one wins and says so."""
    file = {"launcher.toml": "workers = 4"}
    strong_reload = asked(tmp_path, {"reload": True}, files=file)
    strong_workers = asked(tmp_path, {"workers": "4"}, {"UVICORN_RELOAD": "1"}, {"launcher.toml": ""})

    assert strong_reload.pool.workers is None
    assert {"workers in launcher.toml": "--reload means one process"} == reasons(strong_reload)
    assert strong_workers.pool.reload is False
    assert {"UVICORN_RELOAD": "--workers asks for more than one process"} == reasons(strong_workers)


def test_gunicorns_reloader_goes_with_workers(tmp_path: Path) -> None:
    """With gunicorn named, reload and several workers stand together."""
    settings = asked(tmp_path, {"reload": True, "workers": "2", "server": "gunicorn"})

    assert settings.pool.reload
    assert settings.pool.workers


def test_pyproject_of_others_is_not_parsed(tmp_path: Path) -> None:
    """A pyproject.toml that does not speak of us may be as broken as it likes."""
    settings = asked(tmp_path, files={"pyproject.toml": "[broken"})

    assert () == settings.ignored


def test_env_file(tmp_path: Path) -> None:
    """--env-file lies under the process's variables, is seen by everything, and is named in origins."""
    text = "PORT=9000\nLAUNCHER_WORKERS=3\nHOST=127.0.0.1\nLAUNCHER_ENV_FILE=other\nLAUNCHER_CONFIG=x.toml\n"
    settings = asked(tmp_path, {"env_file": ".env"}, {"HOST": "::1"}, {".env": text})

    assert [("[::1]:9000", "HOST and PORT in .env")] == [(b.value, b.origin.where) for b in settings.bind.bind]
    assert settings.origins["workers"].origin.where == "LAUNCHER_WORKERS in .env"
    assert settings.environ["PORT"] == "9000"
    assert {"LAUNCHER_ENV_FILE in .env", "LAUNCHER_CONFIG in .env"} <= set(reasons(settings))


def test_named_settings_file(tmp_path: Path) -> None:
    """-c FILE.toml is read instead of launcher.toml, which is said to be ignored."""
    settings = asked(tmp_path, {"config": "b.toml"}, files={"launcher.toml": "port = 1", "b.toml": "port = 2"})

    assert settings.origins["port"].value == 2
    assert {"launcher.toml": "--config names b.toml"} == reasons(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("LAUNCHER_PORT", "tcp://10.0.0.1:80"),
        ("LAUNCHER_SERVICE_HOST", "10.0.0.1"),
        ("LAUNCHER_SERVICE_PORT", "80"),
        ("LAUNCHER_SERVICE_PORT_HTTP", "80"),
        ("LAUNCHER_PORT_8000_TCP", "tcp://10.0.0.1:80"),
        ("LAUNCHER_PORT_8000_TCP_ADDR", "10.0.0.1"),
        ("LAUNCHER_PORT_8000_UDP_PORT", "80"),
        ("LAUNCHER_PORT_8000_TCP_PROTO", "tcp"),
        ("LAUNCHER_WEB_SERVICE_HOST", "10.0.0.1"),
        ("LAUNCHER_WEB_PORT", "tcp://10.0.0.1:80"),
        ("LAUNCHER_STEP_NAME", "seed"),
        ("LAUNCHER_PLAN_FD", "5"),
    ],
)
def test_no_settings(tmp_path: Path, name: str, value: str) -> None:
    """Kubernetes service links and the launcher's own variables are neither settings nor errors."""
    settings = asked(tmp_path, environ={name: value})

    assert settings.origins["port"].value is None
    assert () == settings.ignored


def test_blank_variable(tmp_path: Path) -> None:
    """A blank LAUNCHER_ variable counts as not set, and is said."""
    settings = asked(tmp_path, environ={"LAUNCHER_WORKERS": " ", "WEB_CONCURRENCY": "2"})

    assert settings.origins["workers"].value == 2
    assert {"LAUNCHER_WORKERS": "it is blank, which counts as not set"} == reasons(settings)
