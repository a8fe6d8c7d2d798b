"""What do GUNICORN_CMD_ARGS and gunicorn's configuration file say that is also an option of ours?

Both stay where they are, for gunicorn itself; what they say of addresses, workers and time-outs has to be known before
the server starts. gunicorn's own order: its command line (here: ours) > GUNICORN_CMD_ARGS > the file > variables. The
file: -c > GUNICORN_CONF (which the retired images give to -c) > --config in GUNICORN_CMD_ARGS > gunicorn.conf.py >
the places of the retired images' own file.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from launcher.errors import UsageError
from launcher.origin import Ignored, Origin, OriginKind, Sourced
from launcher.settings.layers import SUM_WINS, Environment, Layer

# gunicorn's name of a setting → ours
NAMES: Mapping[str, str] = MappingProxyType(
    {
        "bind": "bind",
        "workers": "workers",
        "worker_class": "worker_class",
        "timeout": "worker_timeout",
        "graceful_timeout": "graceful_timeout",
        "keepalive": "keep_alive",
        "preload_app": "preload",
        "max_requests": "max_requests",
        "max_requests_jitter": "max_requests_jitter",
        "reload": "reload",
        "certfile": "ssl_certfile",
        "keyfile": "ssl_keyfile",
        "forwarded_allow_ips": "forwarded_allow_ips",
        "accesslog": "access_log",
        "errorlog": "error_log",
        "loglevel": "log_level",
        "root_path": "root_path",
        "wsgi_app": "app",
    }
)
OWN_FILE = "gunicorn.conf.py"
# Where the retired images look, in their order (evidence: peers §4.1), under the root directory.
IMAGE_FILES = ("app/gunicorn_conf.py", "app/app/gunicorn_conf.py", "gunicorn_conf.py")
ARGUMENTS = "GUNICORN_CMD_ARGS"
_PROGRAM = Path(__file__).with_name("gunicorn_file.py")
_TIMEOUT_S = 30.0  # a file that computes anything worth waiting for longer does it again in the server
_TAIL_LINES = 12


@dataclass(frozen=True, slots=True)
class GunicornSays:
    """`arguments` and `file`: two layers, the first is stronger. `app`: the file's wsgi_app."""

    arguments: Layer
    file: Layer
    app: Layer
    ignored: tuple[Ignored, ...] = ()


def read_gunicorn(environment: Environment, config: Sourced[str] | None, *, cwd: Path, root: Path) -> GunicornSays:
    """Return what gunicorn's sources say; a child process is started only when there is one.

    `config` is the file named by -c or GUNICORN_CONF. Raises UsageError with the file's own traceback.
    """
    arguments = environment.said(ARGUMENTS)
    defaults = _default_files(cwd, root)
    if arguments is None and config is None and not defaults:
        return GunicornSays(Layer(), Layer(), Layer())
    _check_exists(config, cwd)
    question = {
        "args": _split(arguments) if arguments else [],
        "config": config.value if config else None,
        "defaults": defaults,
        "names": list(NAMES),
    }
    answer = _ask(question, environment, cwd, _places(arguments, config, defaults))
    return _says(answer, environment, config)


def present(environment: Environment, cwd: Path, root: Path) -> list[Origin]:
    """Return the sources of gunicorn that are there, for saying that another server does not read them."""
    variables = [said.origin for name in (ARGUMENTS, "GUNICORN_CONF") if (said := environment.said(name))]
    return variables + [Origin(OriginKind.PLATFORM, path) for path in _default_files(cwd, root)]


def readable_by_gunicorn(values: Mapping[str, str]) -> dict[str, str]:
    """Return the variables without a WEB_CONCURRENCY that ends gunicorn at its import (`auto`, blank, 2.5)."""
    number = values.get("WEB_CONCURRENCY", "").strip()
    if number.isascii() and number.isdecimal():
        return dict(values)
    return {name: value for name, value in values.items() if name != "WEB_CONCURRENCY"}


def _default_files(cwd: Path, root: Path) -> list[str]:
    files = [OWN_FILE, *(str(root / path) for path in IMAGE_FILES)]
    return [path for path in files if (cwd / path).is_file()]


def _places(arguments: Sourced[str] | None, config: Sourced[str] | None, defaults: list[str]) -> str:
    file = config.value if config else next(iter(defaults), "")
    return " or ".join(filter(None, [file, ARGUMENTS if arguments else ""]))


def _check_exists(config: Sourced[str] | None, cwd: Path) -> None:
    if config is None or config.value.startswith("python:"):
        return
    if not (cwd / config.value.removeprefix("file:")).is_file():
        raise UsageError(f"{config.origin}: there is no file {config.value!r}", cure="correct its path")


def _split(arguments: Sourced[str]) -> list[str]:
    import shlex  # only when the variable is set

    try:
        return shlex.split(arguments.value)
    except ValueError as error:
        raise UsageError(f"{arguments.origin} cannot be split: {error}", cure="close its quotes") from None


def _ask(question: Mapping[str, object], environment: Environment, cwd: Path, places: str) -> dict[str, object]:
    """Return the answer of `gunicorn_file.py`. By its path and with -P: neither our folder nor cwd hides a module."""
    import json  # needed only when there is something to execute
    import subprocess  # 10 ms, needed only when there is something to execute

    try:
        done = subprocess.run(
            [sys.executable, "-P", str(_PROGRAM)],
            input=json.dumps(question),
            capture_output=True,
            text=True,
            errors="replace",
            cwd=cwd,
            env=readable_by_gunicorn(environment.values),
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise UsageError(f"{places} did not end within {_TIMEOUT_S:.0f}s", cure="see what it waits for") from None
    if done.returncode or not done.stdout:
        lines = done.stderr.strip().splitlines() or [f"it ended with exit status {done.returncode}"]
        tail = "\n".join(lines[-_TAIL_LINES:])
        raise UsageError(f"{places} cannot be used: {lines[-1]}", cure="correct it", detail=tail)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def _says(answer: Mapping[str, object], environment: Environment, config: Sourced[str] | None) -> GunicornSays:
    location = answer["config"]
    where = config.value if config else str(location)
    arguments = _values(answer["args"], ARGUMENTS)
    file = _values(answer["file"], where)
    app = file.pop("app", None)
    ignored: list[Ignored] = []
    if answer["computed"] and "workers" in file and not _asked_for_workers(environment):
        origin = file.pop("workers").origin
        ignored.append(Ignored("workers", origin, f"it is computed from the machine's cores: {SUM_WINS}"))
    for values in (arguments, file):
        if (reload := values.pop("reload", None)) is not None and reload.value:
            because = "gunicorn's reloader does not restart ASGI workers: --reload is uvicorn's, for development"
            ignored.append(Ignored("reload", reload.origin, because))
    if location and config is None:
        file["config"] = Sourced(location, Origin(OriginKind.PLATFORM, where))
    return GunicornSays(Layer(arguments), Layer(file), Layer({"app": app} if app and app.value else {}), tuple(ignored))


def _asked_for_workers(environment: Environment) -> bool:
    asked, by = environment.said("WEB_CONCURRENCY"), environment.said("WEB_CONCURRENCY_SET_BY")
    return asked is not None and by is None and asked.value.strip().lower() != "auto"


def _values(found: object, where: str) -> dict[str, Sourced[object]]:
    """Return gunicorn's settings under our names. None is gunicorn's "nobody said", but "off" for its two logs."""
    values: dict[str, Sourced[object]] = {}
    for name, value in found.items() if isinstance(found, dict) else ():
        option = NAMES[name]
        if value is not None or option in {"access_log", "error_log"}:
            values[option] = Sourced(
                False if value is None else value, Origin(OriginKind.PLATFORM, f"{name} in {where}")
            )
    return values
