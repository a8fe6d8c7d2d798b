"""Does no client see an error when a worker stops, and does the worker stop all the same?"""

from __future__ import annotations

import http.client
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from support.waiting import until
from support.worker_app import APP
from support.workers import KINDS, Workers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.projects import MakeProject
    from support.spawning import Spawner

    Start = Callable[..., Workers]

each_kind = pytest.mark.parametrize("kind", KINDS)
SERVERS: dict[str, dict[str, Any]] = {
    "uvloop-httptools": {"kind": "uvicorn", "config": {"loop": "uvloop", "http": "httptools"}},
    "asyncio-h11": {"kind": "uvicorn", "config": {"loop": "asyncio", "http": "h11"}},
    "asyncio-httptools": {"kind": "gunicorn", "config": {"loop": "asyncio", "http": "httptools"}},
    "uvloop-h11": {"kind": "gunicorn", "config": {"loop": "uvloop", "http": "h11"}},
    "asgi-uvloop": {"kind": "asgi", "settings": {"asgi_loop": "uvloop"}},
    "asgi-asyncio": {"kind": "asgi", "settings": {"asgi_loop": "asyncio"}},
}
WEBSOCKETS: dict[str, dict[str, Any]] = {
    **{name: {"kind": "uvicorn", "config": {"ws": name}} for name in ("websockets", "websockets-sansio", "wsproto")},
    "asgi": {"kind": "asgi"},
}
each_server = pytest.mark.parametrize("asked", SERVERS.values(), ids=SERVERS)
each_websocket = pytest.mark.parametrize("asked", WEBSOCKETS.values(), ids=WEBSOCKETS)
HANDSHAKE = (
    "GET {} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
)
GOING_TO_RESTART = b"\x88\x02" + (1012).to_bytes(2, "big")  # a close frame (RFC 6455 §5.5.1) without a reason


@pytest.fixture
def workers(spawn: Spawner, project: MakeProject) -> Iterator[Start]:
    """Start a driver with one worker that is ready: `workers(kind="uvicorn", rules={...})`."""
    folder = project({"main.py": APP})
    started: list[Workers] = []

    def start(count: int = 1, /, **asked: Any) -> Workers:
        rules = {"graceful_timeout_s": 20} | asked.pop("rules", {})
        made = Workers(spawn, folder, **asked, rules=rules)
        started.append(made)
        for number in range(count):
            made.start(number)
        return made

    yield start
    for one in started:
        one.close()


def get(client: http.client.HTTPConnection, path: str = "/", **headers: str) -> tuple[bytes, str | None]:
    """Return body and Connection header of an answer."""
    client.request("GET", path, headers=headers)
    answer = client.getresponse()
    return answer.read(), answer.getheader("connection")


def began(workers: Workers, client: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str) -> None:
    """Send a request and wait until the application has it."""
    client.request(method, path, headers=headers)
    word = f"began {path.partition('?')[0]}"
    until(lambda: word in workers.driver.stdout, word)


@each_server
def test_no_request_fails_while_workers_are_replaced(workers: Start, asked: dict[str, Any]) -> None:
    """Clients that keep their connections, and send the next request at once, never get less than an answer."""
    pool = workers(2, **asked)
    over, failed, answered = threading.Event(), [], []

    def ask() -> None:
        client = pool.http()
        while not over.is_set():
            try:
                answered.append(get(client)[0])
            except (OSError, http.client.HTTPException) as error:
                failed.append(repr(error))
                client.close()

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number, ends in ((0, 0), (1, 0), (0, 1)):
        enough = len(answered) + 20
        until(lambda enough=enough: len(answered) > enough, "requests before the stop")  # type: ignore[misc]  # mypy cannot infer a default
        pool.tell("stop", number)
        pool.ended(number, ends)
        pool.start(number)
    over.set()
    for thread in threads:
        thread.join()

    assert [] == failed
    assert {b"ok"} == set(answered)


@each_server
def test_an_idle_connection_gets_its_last_request_answered(workers: Start, asked: dict[str, Any]) -> None:
    """A request that was on its way when the worker began to stop is answered, with Connection: close."""
    pool = workers(**asked)
    client = pool.http()
    first = get(client)
    pool.tell("stop")
    pool.wait_stage("DRAINING")
    last = get(client)

    assert (b"ok", "close") == last
    assert first[1] in {None, "keep-alive"}
    assert pool.ended()["code"] == 0


@each_kind
def test_idle_connections_do_not_hold_a_worker(workers: Start, kind: str) -> None:
    """They are closed after two seconds, with a keep-alive timeout that is much longer."""
    pool = workers(kind=kind, config={"timeout_keep_alive": 60} if kind != "asgi" else {}, settings={"keepalive": 60})
    client, silent = pool.http(), pool.connect()
    get(client)
    pool.tell("stop")
    pool.wait_stage("DRAINING")
    started = time.monotonic()
    end = pool.ended()

    assert end["code"] == 0
    assert time.monotonic() - started < 5
    assert silent.recv(1) == b""


@each_server
def test_a_request_under_way_is_answered(workers: Start, asked: dict[str, Any]) -> None:
    """One that takes longer than the linger is waited for; its answer says Connection: close; the lifespan is ended."""
    pool = workers(**asked)
    client = pool.http()
    began(pool, client, "/slow?3")
    pool.tell("stop")
    answer = client.getresponse()

    assert (b"ok", "close") == (answer.read(), answer.getheader("connection"))
    assert pool.ended()["code"] == 0
    assert "lifespan.shutdown" in pool.driver.stdout


@each_server
def test_events_end_as_if_complete(workers: Start, asked: dict[str, Any]) -> None:
    """A stream of events is finished at once and whole; the application hears that its client is gone."""
    pool = workers(**asked)
    client = pool.http()
    began(pool, client, "/events", Accept="text/event-stream")
    answer = client.getresponse()
    assert answer.readline() == b"data: first\n"
    pool.tell("stop")
    rest = answer.read()

    assert rest == b"\n"
    assert pool.ended(timeout_s=6)["code"] == 0
    assert "events: gone" in pool.driver.stdout
    assert "Traceback" not in pool.driver.stderr


@each_kind
def test_events_for_a_post_come_to_their_own_end(workers: Start, kind: str) -> None:
    """No EventSource POSTs: it is a request under way, and its last events arrive."""
    pool = workers(kind=kind)
    client = pool.http()
    began(pool, client, "/events?2", "POST", Accept="application/json, text/event-stream")
    pool.tell("stop")

    assert client.getresponse().read().endswith(b"data: last\n\n")
    assert pool.ended()["code"] == 0


@each_kind
def test_a_download_is_never_cut_short_in_silence(workers: Start, kind: str) -> None:
    """Within the grace it is finished; when the grace is over the client can tell that something is missing."""
    pool = workers(2, kind=kind, rules={"graceful_timeout_s": 4})
    clients = []
    for path in ("/drip?1.5", "/drip?600"):
        clients.append(pool.http())
        clients[-1].request("GET", path, headers={"Accept": "*/*, text/event-stream"})
    answers = [client.getresponse() for client in clients]
    pool.tell("stop", 0)
    pool.tell("stop", 1)

    assert answers[0].read().endswith(b"end")
    with pytest.raises((http.client.IncompleteRead, ConnectionError)):
        answers[1].read()
    assert (pool.ended(0)["code"], pool.ended(1)["code"]) == (0, 0)


@each_kind
def test_what_outlasts_the_grace_is_cancelled(workers: Start, kind: str) -> None:
    """The client gets an error as its answer, the log a line, and there is still time for the lifespan's end."""
    pool = workers(kind=kind, rules={"graceful_timeout_s": 2})
    client = pool.http()
    began(pool, client, "/slow?600")
    pool.tell("stop")

    assert client.getresponse().status in {500, 503}
    assert pool.ended()["code"] == 0
    assert "lifespan.shutdown" in pool.driver.stdout
    assert "end of the graceful timeout" in pool.driver.stderr


@each_websocket
def test_websockets_are_closed_with_1012(workers: Start, asked: dict[str, Any]) -> None:
    """At once, and an application that does not care about it does not hold the worker."""
    pool = workers(**asked)
    clients = []
    for path in ("/", "/stubborn"):
        client = pool.connect()
        client.sendall(HANDSHAKE.format(path).encode())
        assert b" 101 " in client.recv(4096)
        clients.append(client)
    pool.tell("stop")
    frames = [client.recv(4) for client in clients]

    assert [GOING_TO_RESTART, GOING_TO_RESTART] == frames
    assert pool.ended(timeout_s=8)["code"] == 0
    assert "websocket 1012" in pool.driver.stdout


@each_kind
def test_a_quick_stop_waits_for_nobody(workers: Start, kind: str) -> None:
    """Requests are cancelled, the lifespan is still ended, and the exit code is 0, all within two seconds."""
    pool = workers(kind=kind)
    client = pool.http()
    began(pool, client, "/slow?600")
    started = time.monotonic()
    pool.tell("quick")

    assert pool.ended()["code"] == 0
    assert time.monotonic() - started < 4
    assert "lifespan.shutdown" in pool.driver.stdout


@each_kind
def test_a_graceful_stop_can_be_hastened(workers: Start, kind: str) -> None:
    """A worker that waits for its requests stops to when the pool loses its patience."""
    pool = workers(kind=kind)
    client = pool.http()
    began(pool, client, "/slow?600")
    pool.tell("stop")
    pool.wait_stage("DRAINING")
    pool.tell("hurry")

    assert pool.ended(timeout_s=5)["code"] == 0
