"""Are the insides of uvicorn's and gunicorn's workers still what ours take for granted?

Nothing here tests us. A new version that turns one of these red is read before it is allowed in. That the behaviour
follows is tests/processes/test_worker_closing.py's and test_worker_life.py's.
"""

# mypy: allow-untyped-calls
# gunicorn ships no types, and what we inherit from it is looked at here.

from __future__ import annotations

import asyncio
import importlib
import inspect
import warnings
from typing import TYPE_CHECKING, Any

import pytest
from gunicorn.asgi.lifespan import LifespanManager, LifespanStartupFailed
from gunicorn.asgi.protocol import ASGIProtocol
from gunicorn.asgi.websocket import WebSocketProtocol as GunicornWebSocket
from gunicorn.workers.base import Worker as GunicornWorker
from gunicorn.workers.gasgi import ASGIWorker
from uvicorn.config import Config
from uvicorn.lifespan.on import LifespanOn
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware
from uvicorn.protocols.http import h11_impl, httptools_impl
from uvicorn.server import Server, ServerState
from uvicorn_worker import UvicornWorker

from launcher.serving.workers.wrapped import PROXY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Callable

# What a scope of type http may have (ASGI specification, HTTP & WebSocket, "Connection Scope").
HTTP_SCOPE = {
    *("type", "asgi", "http_version", "method", "scheme", "path", "raw_path", "query_string", "root_path"),
    *("headers", "client", "server", "state"),
}
HTTP: dict[str, Any] = {"h11": h11_impl.H11Protocol, "httptools": httptools_impl.HttpToolsProtocol}
WEBSOCKETS = {
    "websockets": "websockets_impl:WebSocketProtocol",
    "websockets-sansio": "websockets_sansio_impl:WebSocketsSansIOProtocol",
    "wsproto": "wsproto_impl:WSProtocol",
}


def parameters(function: Callable[..., Any]) -> list[str]:
    """Return the names of a function's parameters."""
    return list(inspect.signature(function).parameters)


async def nothing(_scope: object, _receive: object, _send: object) -> None:
    """Be an application."""


def config() -> Config:
    """Return a configuration that is loaded."""
    made = Config(nothing, log_config=None)
    made.load()
    return made


async def made(protocol: Any) -> Any:
    """Return a protocol as uvicorn makes it, without a connection."""
    return protocol(config=config(), server_state=ServerState(), app_state={})


def websocket_class(name: str) -> Any:
    """Return uvicorn's class for `--ws NAME`."""
    module, _, attribute = WEBSOCKETS[name].partition(":")
    with warnings.catch_warnings():  # one of them is deprecated, by uvicorn and by its library
        warnings.simplefilter("ignore")
        return getattr(importlib.import_module(f"uvicorn.protocols.websockets.{module}"), attribute)


def test_uvicorn_server_has_the_parts_we_override() -> None:
    """Boot, ticks and end are methods of these names, and the shutdown that we replace does nothing else."""
    source = inspect.getsource(Server.shutdown)

    assert parameters(Server.startup) == parameters(Server.shutdown) == parameters(Server.serve) == ["self", "sockets"]
    assert parameters(Server.on_tick) == ["self", "counter"]
    assert parameters(Server.handle_exit) == ["self", "sig", "frame"]
    assert "asyncio.sleep(0.1)" in inspect.getsource(Server.main_loop)
    assert source.count("await ") == 3  # a pause, the tasks, the lifespan
    assert "if not config.loaded" in inspect.getsource(Server._serve)  # noqa: SLF001 - the assumption itself


def test_uvicorn_counts_requests_where_we_look() -> None:
    """The limit is a cached value, which can be set to None; the count is the state's."""
    server = Server(Config(nothing, log_config=None, limit_max_requests=7))
    server.limit_max_requests = None

    assert server.limit_max_requests is None
    assert server.server_state.total_requests == 0


def test_uvicorn_lifespan_calls_the_application_of_the_configuration() -> None:
    """Ours is put there after `load`; its failures are errors on the logger that boot errors are taken from."""
    source = inspect.getsource(LifespanOn)

    assert "self.config.loaded_app" in source
    assert 'getLogger("uvicorn.error")' in source
    assert "should_exit" in inspect.getsource(Server.startup)


@pytest.mark.parametrize("name", HTTP)
def test_uvicorn_http_connection(name: str) -> None:
    """A connection says whether it is idle, and can be shut down then."""
    connection = asyncio.run(made(HTTP[name]))
    source = inspect.getsource(HTTP[name].shutdown)

    assert connection.cycle is None
    assert hasattr(connection, "timeout_keep_alive_task")
    assert "self.cycle is None or self.cycle.response_complete" in source
    assert "default_headers=self.server_state.default_headers" in inspect.getsource(HTTP[name])
    assert "cycle.run_asgi(app)" in inspect.getsource(HTTP[name])


@pytest.mark.parametrize("module", [h11_impl, httptools_impl], ids=["h11", "httptools"])
def test_uvicorn_http_cycle(module: Any) -> None:
    """The headers of every response are read when it starts, and `connection: close` among them closes."""
    cycle = module.RequestResponseCycle
    source = inspect.getsource(cycle)

    assert "self.default_headers + list(message.get" in source
    assert {"default_headers", "scope"} <= set(parameters(cycle))
    assert "self.response_started = False" in source
    assert "self.response_complete = False" in source
    assert "self.message_event" in source
    assert "if self.disconnected:\n            return" in inspect.getsource(cycle.send)
    assert "self.disconnected or self.response_complete" in inspect.getsource(cycle.receive)
    assert parameters(cycle.run_asgi) == ["self", "app"]


def test_httptools_queues_the_newest_first() -> None:
    """Pipelined requests wait in `pipeline` as (cycle, application); the last to be answered is at its left."""
    source = inspect.getsource(httptools_impl.HttpToolsProtocol)

    assert "self.pipeline.appendleft((self.cycle, app))" in source
    assert "self.pipeline.pop()" in source


@pytest.mark.parametrize("name", WEBSOCKETS)
def test_uvicorn_websocket(name: str) -> None:
    """A WebSocket tells its handshake from the rest, and is closed with 1012 by `shutdown`."""
    protocol = websocket_class(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        connection = asyncio.run(made(protocol))

    assert not hasattr(connection, "cycle")
    assert hasattr(connection, "handshake_completed_event") or connection.handshake_complete is False
    assert "1012" in inspect.getsource(protocol.shutdown)
    assert hasattr(connection, "connections")
    assert parameters(protocol.run_asgi) == ["self"]


def test_uvicorn_worker_is_made_of_what_we_override() -> None:
    """Signals are reset in `init_signals`, and the server is made in `_serve`."""
    source = inspect.getsource(UvicornWorker._serve)  # noqa: SLF001 - the assumption itself

    assert "signal.SIG_DFL" in inspect.getsource(UvicornWorker.init_signals)
    assert "server.serve(sockets=self.sockets)" in source
    assert "if not server.started" in source
    assert "self._serve()" in inspect.getsource(UvicornWorker.run)


def test_gunicorn_sets_signals_after_the_change_of_user() -> None:
    """A change of user makes the kernel forget PDEATHSIG; `init_signals` is where it is set again."""
    source = inspect.getsource(GunicornWorker.init_process)
    order = [source.index(words) for words in ("set_owner_process", "init_signals", "load_wsgi", "self.run()")]

    assert sorted(order) == order


def test_gunicorn_asgi_worker_is_made_of_what_we_override() -> None:
    """Its loop exists before signals are set, and is run with `_serve`, after which `_cleanup` waits a second."""
    source = inspect.getsource(ASGIWorker)

    assert source.index("self._setup_event_loop()") < source.index("super().init_process()")
    assert "self.loop.run_until_complete(self._serve())" in source
    assert "if self._quick_shutdown" in inspect.getsource(ASGIWorker._cleanup)  # noqa: SLF001 - the assumption itself
    assert "return None" in inspect.getsource(ASGIWorker._get_ssl_context)  # noqa: SLF001 - as above
    assert ASGIWorker.handle_usr1_signal is not None


def test_gunicorn_lifespan_manager() -> None:
    """What our `startup` sets and reads has these names."""
    manager = LifespanManager(nothing, None)

    assert parameters(LifespanManager.__init__) == ["self", "app", "logger", "state"]
    assert issubclass(LifespanStartupFailed, RuntimeError)
    for name in ("_receive_queue", "_startup_complete", "_startup_failed", "_startup_reported", "_startup_error"):
        assert hasattr(manager, name), name
    assert parameters(manager._run_lifespan) == ["scope"]  # noqa: SLF001 - the assumption itself


def test_gunicorn_asgi_connection() -> None:
    """What our `Connection` overrides and reads has these names, and this meaning."""
    source = inspect.getsource(ASGIProtocol)
    ours = ("_will_close", "_send_response_start", "_serve_http_request", "_keepalive_timeout", "_close_transport")
    theirs = ("_awaiting_request", "_finishing_calls", "_h2c_buffer", "_h2_tasks", "_websocket", "_task", "_closed")

    assert all(callable(getattr(ASGIProtocol, name)) for name in ours)
    assert all(f"self.{name} = " in source for name in (*theirs, "_current_request", "_request_ready", "reader"))
    assert parameters(ASGIProtocol._will_close) == ["self", "request", "response_requires_close"]  # noqa: SLF001 - the assumption itself
    assert parameters(ASGIProtocol._send_response_start) == ["self", "status", "headers", "request", "close"]  # noqa: SLF001 - as above
    assert "close_announced = self._will_close(" in source
    assert "self._h2_conn = h2_conn" in source
    assert parameters(ASGIProtocol._send_error_response)[:3] == ["self", "status", "message"]  # noqa: SLF001 - as above


def test_gunicorn_websocket() -> None:
    """It can be closed from outside: a close frame, and a message for the application."""
    source = inspect.getsource(GunicornWebSocket)

    assert "self.accepted = False" in source
    assert "self._receive_queue = asyncio.Queue()" in source
    assert parameters(GunicornWebSocket._send_close) == ["self", "code", "reason"]  # noqa: SLF001 - the assumption itself
    assert parameters(GunicornWebSocket._deny) == ["self", "status", "reason"]  # noqa: SLF001 - as above


def test_uvicorn_proxy_middleware() -> None:
    """It does nothing to a request unless one of the headers is there that `wrapped.PROXY_HEADERS` has."""
    words = ProxyHeadersMiddleware.__call__.__code__.co_consts
    headers = {word for word in words if isinstance(word, bytes) and word.strip(b", ")}
    of_scope = {word for word in words if isinstance(word, str) and word in HTTP_SCOPE}

    assert PROXY_HEADERS == headers
    assert {"headers", "client", "type", "scheme"} == of_scope


def test_asyncio_servers_show_their_listeners() -> None:
    """A listener can be taken out of the loop before it is closed."""

    async def take_out() -> bool:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        taken = asyncio.get_running_loop().remove_reader(server.sockets[0].fileno())
        server.close()
        await server.wait_closed()
        return taken

    assert asyncio.run(take_out())
