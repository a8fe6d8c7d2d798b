"""Does what a server says become one line of the launcher's schema, without secrets and whatever is in it?"""

# mypy: allow-untyped-calls
# gunicorn ships no types.

from __future__ import annotations

import json
import logging
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.config import Config

from launcher.log import Log
from launcher.serving.gunicorn.log import GunicornLog, choose_log
from launcher.serving.log_lines import LineStream, Request, SchemaFormatter, Unlisted, uvicorn_log_config

URL = "postgresql://app:S3kret@db/orders"
UVICORN = '%s - "%s %s HTTP/%s" %d'


def record(message: str, *args: object, level: int = logging.INFO, name: str = "uvicorn.error") -> logging.LogRecord:
    """Return a record as a server makes one."""
    return logging.LogRecord(name, level, "server.py", 1, message, args, None)


def answered(path: str, client: str = "127.0.0.1:51234") -> logging.LogRecord:
    """Return the record of a request as uvicorn makes it."""
    return record(UVICORN, client, "GET", path, "1.1", 200, name="uvicorn.access")


def line(said: logging.LogRecord) -> dict[str, Any]:
    """Return the line of a record, read back."""
    text = SchemaFormatter().format(said)

    assert "\n" not in text
    return dict(json.loads(text))


def raised(message: str) -> Any:
    """Return what `exc_info` holds while an exception is dealt with."""
    try:
        int(message)
    except ValueError:
        return sys.exc_info()


@pytest.fixture(autouse=True)
def gunicorn_s_loggers() -> Iterator[None]:
    """Take away what a test has put into gunicorn's loggers, which are of the whole process."""
    yield
    for name in ("gunicorn.error", "gunicorn.access"):
        for handler in [*logging.getLogger(name).handlers]:
            logging.getLogger(name).removeHandler(handler)
            handler.close()


def gunicorn_log(**settings: object) -> Any:
    """Return the logger that gunicorn makes with these settings and an access log."""
    cfg = Config()
    for name, value in {"accesslog": "-", **settings}.items():
        cfg.set(name, value)
    choose_log(cfg, {})
    return cfg.logger_class(cfg)


def gunicorn_answers(log: GunicornLog, path: str = "/items?page=3", status: object = 200) -> None:
    """Let gunicorn write the line of a request."""
    environ = {
        "REQUEST_METHOD": "GET",
        "RAW_URI": path,
        "PATH_INFO": path.partition("?")[0],
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
    }
    request = SimpleNamespace(headers=[("X-REQUEST-ID", "abc")])
    answer = SimpleNamespace(status=status, headers=[("content-length", "2")], sent=2)
    log.access(answer, request, environ, SimpleNamespace(seconds=1, microseconds=2500))


def test_a_message_is_an_event() -> None:
    """Timestamp, level, event, logger and pid, in this order."""
    said = line(record("Started server process [%d]\n", 12))

    assert ["timestamp", "level", "event", "logger", "pid"] == list(said)
    assert ("info", "Started server process [12]", "uvicorn.error") == (said["level"], said["event"], said["logger"])


@pytest.mark.parametrize(
    ("number", "name"), [(5, "trace"), (10, "debug"), (30, "warning"), (40, "error"), (50, "critical"), (7, "level 7")]
)
def test_levels(number: int, name: str) -> None:
    """Levels have the launcher's names."""
    assert name == line(record("said", level=number))["level"]


def test_an_exception_is_a_fact() -> None:
    """A traceback stands beside the event, and passwords in it are masked."""
    said = record("failed")
    said.exc_info = raised(URL)
    found = line(said)

    assert "failed" == found["event"]
    assert found["exception"].startswith("Traceback")
    assert found["exception"].endswith("with base 10: 'postgresql://app:***@db/orders'")


@pytest.mark.parametrize(("before", "event"), [("", "ValueError: broken"), ("startup failed\n", "startup failed")])
def test_a_traceback_in_a_message(before: str, event: str) -> None:
    """A traceback that arrives as text, as a lifespan's failure does, is parted from the event."""
    found = line(record(f"{before}Traceback (most recent call last):\n  File x\nValueError: broken\n"))

    assert (event, "Traceback (most recent call last):\n  File x\nValueError: broken") == (
        found["event"],
        found["exception"],
    )


def test_wrong_arguments() -> None:
    """A message whose arguments do not fit is written with them beside it."""
    assert "%d workers ('many',)" == line(record("%d workers", "many"))["event"]


@pytest.mark.parametrize(
    "message", [URL, "password=S3kret", 'token: "S3kret"', '127.0.0.1 - "WebSocket /ws?code=S3kret" [accepted]']
)
def test_messages_are_redacted(message: str) -> None:
    """A password is masked wherever it stands in a message."""
    event = line(record(message))["event"]

    assert "S3kret" not in event
    assert "***" in event


def test_a_request_of_uvicorn() -> None:
    """A request is a constant event with facts; of the client's address the port is left out."""
    found = line(answered('/items/"1"?page=3', "::1:51234"))

    assert ("launcher.request_answered", "uvicorn.access") == (found["event"], found["logger"])
    assert ["::1", "GET", '/items/"1"?page=3', "1.1", 200] == list(found.values())[5:]
    assert ["client", "method", "path", "http_version", "status"] == list(found)[5:]


def test_a_client_without_an_address() -> None:
    """Behind a Unix socket nobody has an address."""
    assert line(answered("/", ""))["client"] is None


@pytest.mark.parametrize(
    "query",
    [
        "password=S3kret",
        "a=1&access_token=S3kret&b=2",
        "code=S3kret",
        "X-Amz-Signature=S3kret",
        "a=b;token=S3kret",
        "next=https%3A%2F%2Fx%2F%3Ftoken%3DS3kret",
        "next=postgresql://u:S3kret@h/d",
        "q=password=S3kret",
    ],
)
def test_queries_are_redacted(query: str) -> None:
    """What opens something is masked in the query of a request, and the rest of the query stays."""
    path = line(answered(f"/a?{query}"))["path"]

    assert "S3kret" not in path
    assert "***" in path
    assert query.partition("S3kret")[0] in path or "postgresql" in query


def test_something_else_from_the_access_logger() -> None:
    """What is no request is a message."""
    assert "rotated 2" == line(record("rotated %d", 2, name="uvicorn.access"))["event"]


def test_console_is_the_look_of_boot(capsys: pytest.CaptureFixture[str]) -> None:
    """On a console a line looks as the launcher's own, with the traceback as it is below it."""
    log = Log()
    log.configure("console", "info")
    log.info("launcher.begun")
    said = record("launcher.begun")
    said.exc_info = raised("broken")
    text = SchemaFormatter(console=True).format(said)
    boots = capsys.readouterr().err.split(" ", 1)[1].strip()

    assert boots in text
    assert "[uvicorn.error]" in text
    assert text.splitlines()[-1].startswith("ValueError: invalid literal")


def test_a_request_on_the_console() -> None:
    """The facts of a request stand behind its event."""
    text = SchemaFormatter(console=True, use_colors=False).format(answered("/items"))

    assert "launcher.request_answered" in text
    assert "method=GET" in text
    assert "path=/items" in text


@pytest.mark.parametrize(
    ("path", "listed"),
    [
        ("/healthz", False),
        ("/healthz?verbose", False),
        ("/healthz/x", True),
        ("/health", True),
        ("/status/a", False),
        ("/status/", False),
        ("/status", True),
    ],
)
def test_left_out_of_the_access_log(path: str, listed: bool) -> None:  # noqa: FBT001 - a parameter
    """An exact path is left out with any query; a prefix with all that follows."""
    unlisted = Unlisted(["/healthz", "/status/*"])

    assert listed == unlisted.filter(answered(path))
    assert listed == unlisted.filter(record("%(path)s", Request(path=path), name="gunicorn.access"))
    assert unlisted.filter(record("about %s", path))


@pytest.mark.parametrize("status", [200, "200 OK"])
def test_a_request_of_gunicorn(capsys: pytest.CaptureFixture[str], status: object) -> None:
    """Gunicorn's own workers give the same facts, and how long it took."""
    gunicorn_answers(gunicorn_log(), "/items?token=S3kret", status)
    out, err = capsys.readouterr()
    found = json.loads(err)

    assert "" == out
    assert ("launcher.request_answered", "gunicorn.access") == (found["event"], found["logger"])
    assert {
        "client": "127.0.0.1",
        "method": "GET",
        "path": "/items?token=***",
        "http_version": "1.1",
        "status": 200,
        "duration_s": 1.0025,
    } == dict(list(found.items())[5:])


def test_the_user_s_access_log_format(capsys: pytest.CaptureFixture[str]) -> None:
    """With `access_log_format` gunicorn's workers write that, with any of gunicorn's atoms; other lines stay."""
    log = gunicorn_log(access_log_format='%(h)s "%(r)s" %(s)s %({x-request-id}i)s %(M)s')
    gunicorn_answers(log)
    log.info("Listening")
    request, other = capsys.readouterr().err.splitlines()

    assert '127.0.0.1 "GET /items?page=3 HTTP/1.1" 200 abc 1002' == request
    assert "Listening" == json.loads(other)["event"]


def test_statsd_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """With a statsd host the lines are ours and the numbers are sent."""
    with socket.socket(type=socket.SOCK_DGRAM) as statsd:
        statsd.bind(("127.0.0.1", 0))
        statsd.settimeout(10)
        log = gunicorn_log(statsd_host=f"127.0.0.1:{statsd.getsockname()[1]}")
        gunicorn_answers(log)
        log.sock.close()
        sent = [statsd.recv(100) for _ in range(3)]

    assert "launcher.request_answered" in capsys.readouterr().err
    assert b"gunicorn.request.status.200:1|c|@1.0" in sent


@pytest.mark.parametrize(
    "setting",
    [
        {"logger_class": "gunicorn.instrument.statsd.Statsd"},
        {"logconfig": "log.ini"},
        {"logconfig_dict": {"version": 1}},
        {"logconfig_json": "log.json"},
    ],
    ids=lambda setting: str(*setting),
)
def test_the_user_s_own_logging_wins(setting: dict[str, Any]) -> None:
    """A logger class or a logging configuration of the user's is left alone."""
    cfg = Config()
    for name, value in setting.items():
        cfg.set(name, value)
    choose_log(cfg, {})

    assert not issubclass(cfg.logger_class, GunicornLog)


def test_files_are_opened_again(tmp_path: Path) -> None:
    """After USR1 lines go to a new file of the old name."""
    log = gunicorn_log(accesslog=str(tmp_path / "access.log"))
    gunicorn_answers(log, "/1")
    (tmp_path / "access.log").rename(tmp_path / "old.log")
    log.reopen_files()
    gunicorn_answers(log, "/2")

    assert "/1" == json.loads((tmp_path / "old.log").read_text())["path"]
    assert "/2" == json.loads((tmp_path / "access.log").read_text())["path"]


def test_a_closed_stream() -> None:
    """A stream that is closed, or none at all, is nobody's error."""
    handler = LineStream()
    handler.setFormatter(SchemaFormatter())
    for stream in (None, SimpleNamespace()):
        handler.stream = stream
        handler.handle(record("said"))

    assert handler.stream is not None


@pytest.mark.parametrize(
    ("target", "kind", "formatter"),
    [(True, "LineStream", "default"), ("-", "LineStream", "default"), ("a.log", "LineFile", "file")],
)
def test_where_uvicorn_writes(target: object, kind: str, formatter: str) -> None:
    """Lines go to stderr, or to the file that was named: that one in JSON, on a console too."""
    config = uvicorn_log_config({"console": True, "error": target})
    handler = config["handlers"]["default"]

    assert (kind, formatter) == (handler["class"].rpartition(".")[2], handler["formatter"])
    assert (formatter == "default") == config["formatters"][formatter]["console"]


def test_uvicorn_without_messages() -> None:
    """Without an error log they go nowhere."""
    assert "logging.NullHandler" == uvicorn_log_config({"error": False})["handlers"]["default"]["class"]


@pytest.mark.parametrize("access", [False, ""])
def test_uvicorn_without_an_access_log(access: object) -> None:
    """Without an access log uvicorn does not even make its records."""
    assert [] == uvicorn_log_config({"access": access})["loggers"]["uvicorn.access"]["handlers"]


@pytest.mark.parametrize(("level", "number"), [("trace", 5), ("info", 20), ("critical", 50)])
def test_uvicorn_s_level(level: str, number: int) -> None:
    """The level is that of the launcher, trace among them."""
    loggers = uvicorn_log_config({"level": level})["loggers"]

    assert {number} == {logger["level"] for logger in loggers.values()}


def test_trace_reaches_uvicorn_s_workers() -> None:
    """Gunicorn has no level below debug; what its workers take over is trace all the same."""
    cfg = Config()
    cfg.set("loglevel", "debug")
    choose_log(cfg, {"level": "trace"})

    assert 5 == cfg.logger_class(cfg).error_log.level
