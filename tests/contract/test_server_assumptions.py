"""Are gunicorn, uvicorn and uvicorn-worker still made as our subclasses take for granted?

Nothing here tests us. A new version that turns one of these red is read before it is allowed in.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is called here.

from __future__ import annotations

import inspect
import os
import signal
import socket
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.app.base import Application, BaseApplication
from gunicorn.app.wsgiapp import WSGIApplication
from gunicorn.arbiter import Arbiter
from gunicorn.config import Config as GunicornConfig
from gunicorn.errors import HaltServer
from gunicorn.sock import create_sockets
from gunicorn.util import load_class
from gunicorn.workers import SUPPORTED_WORKERS
from uvicorn.config import STARTUP_FAILURE, Config
from uvicorn.main import main as uvicorn_command
from uvicorn.server import HANDLED_SIGNALS, Server
from uvicorn.supervisors import Multiprocess
from uvicorn.supervisors.multiprocess import SIGNALS
from uvicorn_worker import UvicornWorker

from launcher.errors import ExitCode
from launcher.serving.environment import _NOT_FOR_A_WORKER
from launcher.serving.uvicorn.command import config_options

if TYPE_CHECKING:
    from collections.abc import Callable


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)


def uvicorn_defaults() -> dict[str, Any]:
    """Return the parameters of uvicorn's command as its callback would get them."""
    return dict(uvicorn_command.make_context("uvicorn", ["main:app"]).params)


def test_uvicorn_config_takes_every_option() -> None:
    """What uvicorn's command accepts, its Config accepts under the same name."""
    options = config_options(uvicorn_defaults(), {})

    assert set(options) <= set(parameters(Config))
    assert Config(**options).workers == 1


def test_uvicorn_command_has_the_options_we_name() -> None:
    """Those that are not for a worker exist: a renamed one would slip through under its new name."""
    assert set(uvicorn_defaults()) >= _NOT_FOR_A_WORKER


def test_uvicorn_reads_its_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command reads UVICORN_*, and says that a value comes from there."""
    monkeypatch.setenv("UVICORN_WS_MAX_QUEUE", "7")
    context = uvicorn_command.make_context("uvicorn", ["main:app"])
    source = context.get_parameter_source("ws_max_queue")

    assert context.params["ws_max_queue"] == 7
    assert source is not None
    assert source.name == "ENVIRONMENT"


def test_uvicorn_server_reraises_what_it_captured() -> None:
    """The signals that ended it lie in a list that we empty before it kills itself by them."""
    server = Server(Config("main:app", log_config=None))

    assert server._captured_signals == []  # noqa: SLF001 - the assumption itself
    assert "_captured_signals" in inspect.getsource(Server.capture_signals)
    assert {signal.SIGINT, signal.SIGTERM} <= set(HANDLED_SIGNALS)


def test_uvicorn_supervisor_does_not_restart_startup_failures() -> None:
    """A worker's exit code for "failed to start" ends the supervisor, and is the code of our contract."""
    assert STARTUP_FAILURE == ExitCode.NEVER_READY
    assert "STARTUP_FAILURE" in inspect.getsource(Multiprocess.keep_subprocess_alive)
    assert parameters(Multiprocess) == ["config", "sockets"]
    assert callable(Multiprocess.handle_term)
    assert callable(Multiprocess.handle_int)


def test_uvicorn_supervisor_names_the_signals_it_takes() -> None:
    """A forked worker puts these back: the supervisor sets a handler for each in the table, and for no other."""
    source = inspect.getsource(Multiprocess.__init__)

    assert "for sig in SIGNALS" in source
    assert 1 == source.count("signal.signal(")
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1} <= set(SIGNALS)


def test_uvicorn_keeps_whose_logging_configuration_it_is() -> None:
    """The command takes a file's name, and Config keeps what it is given: a dict is ours."""
    options = uvicorn_defaults()

    assert isinstance(Config(**config_options(options, {})).log_config, dict)
    assert "log.ini" == config_options({**options, "log_config": "log.ini"}, {})["log_config"]


def test_uvicorn_worker_takes_more_options() -> None:
    """CONFIG_KWARGS are the last word on uvicorn's configuration, and gunicorn's arguments come in this order."""
    assert {"loop", "http"} == set(UvicornWorker.CONFIG_KWARGS)
    assert "config_kwargs.update(self.CONFIG_KWARGS)" in inspect.getsource(UvicornWorker.__init__)
    assert ["age", "ppid", "sockets", "app", "timeout", "cfg", "log"] == parameters(UvicornWorker.__mro__[1])


def test_gunicorn_application_runs_the_arbiter_last() -> None:
    """`Application.run` ends in `BaseApplication.run`, which is all that we replace."""
    assert "super().run()" in inspect.getsource(Application.run)
    assert "Arbiter(self).run()" in inspect.getsource(BaseApplication.run)
    assert parameters(WSGIApplication.init) == ["self", "parser", "opts", "args"]


def test_gunicorn_takes_an_applications_defaults_first() -> None:
    """What `init` returns is set before the configuration file, GUNICORN_CMD_ARGS and the command line."""
    source = inspect.getsource(Application.load_config)
    order = [
        source.index(words) for words in ("self.init(", "load_config_from_file", "env_args).items", "vars(args).items")
    ]

    assert sorted(order) == order


def test_gunicorn_options_are_none_when_not_given() -> None:
    """An option that was not typed is None in the parser's result: that is how defaults are told from wishes."""
    options = vars(GunicornConfig().parser().parse_args([]))

    assert {name for name, value in options.items() if value is not None} == {"args"}


def test_gunicorn_finds_worker_classes_by_name() -> None:
    """The table of names can be added to."""
    SUPPORTED_WORKERS["tried-by-a-test"] = "launcher.serving.gunicorn.worker.Worker"
    try:
        found = load_class("tried-by-a-test")
    finally:
        del SUPPORTED_WORKERS["tried-by-a-test"]

    assert found.__name__ == "Worker"


def test_gunicorn_takes_sockets_by_number() -> None:
    """`fd://N` is duplicated and closed, whatever its family, and listens afterwards."""
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    port, number = bound.getsockname()[1], bound.detach()
    cfg = GunicornConfig()
    cfg.set("bind", [f"fd://{number}"])
    with warnings.catch_warnings():  # it looks at the address through a socket object that it leaves to the collector
        warnings.simplefilter("ignore", ResourceWarning)
        (listener,) = create_sockets(cfg, None)
    taken = listener.fileno()

    assert taken != number
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(number)
    assert listener.sock.getsockname() == ("127.0.0.1", port)
    assert listener.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
    listener.close()


def test_gunicorn_arbiter_halts_on_boot_errors() -> None:
    """A worker that could not boot is told by HaltServer out of `reap_workers`, and by nothing else."""
    source = inspect.getsource(Arbiter.reap_workers)

    assert source.count("raise HaltServer") == 2
    assert (Arbiter.WORKER_BOOT_ERROR, Arbiter.APP_LOAD_ERROR) == (3, 4)
    assert parameters(HaltServer) == ["reason", "exit_status"]
    assert parameters(Arbiter.halt) == ["self", "reason", "exit_status"]
    assert parameters(Arbiter.stop) == ["self", "graceful"]


def test_gunicorn_keeps_socket_files_of_systemd() -> None:
    """With `systemd` set, the arbiter removes no socket file: we remove our own, and only ours."""
    assert "not self.systemd" in inspect.getsource(Arbiter.stop)


def test_gunicorn_reload_keeps_its_listeners() -> None:
    """On HUP the sockets stay when the configured addresses are the same, numbers of closed descriptors included."""
    assert "if old_address != self.cfg.address" in inspect.getsource(Arbiter.reload)
