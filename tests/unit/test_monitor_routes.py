"""Does each request get the answer it should, and TCP no more than it may have?"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from launcher.channel import Channel, pair
from launcher.monitor.connection import Answer, Reply, Request
from launcher.monitor.control import Control
from launcher.monitor.health import Health, Line
from launcher.monitor.routes import Routes
from launcher.monitor.view import View
from launcher.scoreboard import Board, BoardState, Stage

if TYPE_CHECKING:
    from collections.abc import Iterator

PROBES = ("/livez", "/startupz", "/readyz")


@dataclass
class Scene:
    """A pool with no worker until `serving`, and the routes to its monitor."""

    server: Channel
    monitor: Channel
    board: Board = field(default_factory=Board.create)
    ended: list[str] = field(default_factory=list)
    routes: Routes = field(init=False)
    health: Health = field(init=False)

    def __post_init__(self) -> None:
        self.health = Health(View(self.board))
        self.use()

    def use(self, **options: Any) -> None:
        """Have routes with these options."""
        self.control = Control(self.monitor)
        self.routes = Routes(
            self.health, self.control, lambda: {"pid": 7}, lambda: self.ended.append("boot"), **options
        )

    def serving(self) -> None:
        """Let one of two workers be ready."""
        self.board.arbiter_pid, self.board.wanted, self.board.state = 1, 2, BoardState.SERVING
        slot = self.board.slot(0)
        slot.clear(generation=1, number=1)
        slot.stage = Stage.READY
        slot.beat(0.0, 0)
        self.board.heartbeat = time.monotonic()

    def ask(self, target: str, method: str = "GET", *, tcp: bool = False, accept: str = "", body: bytes = b"") -> Reply:
        """Return the only answer to a request."""
        replies: list[Reply] = []
        path, _, query = target.partition("?")
        self.routes(Request(method, path, query, {"accept": accept}, body, local=not tcp), replies.append)
        (reply,) = replies
        return reply

    def post(self, target: str, body: bytes = b"{}") -> list[Reply]:
        """Return the list that gets the answer to what is asked of the pool."""
        replies: list[Reply] = []
        self.routes(Request("POST", target, body=body, local=True), replies.append)
        return replies


@pytest.fixture
def scene() -> Iterator[Scene]:
    """Return a launcher that boots."""
    first, second = pair()
    made = Scene(Channel(first), Channel(second))
    yield made
    made.server.close()
    made.monitor.close()


@pytest.mark.parametrize("tcp", [False, True])
def test_a_probe_is_a_status_and_a_word(scene: Scene, *, tcp: bool) -> None:
    """While booting it is alive, and neither started nor ready; with a worker it is all three."""
    before = [scene.ask(path, tcp=tcp) for path in PROBES]
    scene.serving()
    after = [scene.ask(path, tcp=tcp) for path in PROBES]

    assert [(200, b"ok\n"), (503, b"failed\n"), (503, b"failed\n")] == [(reply.status, reply.body) for reply in before]
    assert [(200, b"ok\n")] * 3 == [(reply.status, reply.body) for reply in after]


def test_verbose_is_kubernetes_form(scene: Scene) -> None:
    """One line a check, with its detail, and the outcome last."""
    before = scene.ask("/readyz?verbose").body.decode()
    scene.serving()

    assert "[-]workers failed: booting\n[+]draining ok\nreadyz check failed\n" == before
    after = "[+]workers ok: 1/2 ready, 1 needed\n[+]draining ok\nreadyz check passed\n"
    assert after == scene.ask("/readyz?verbose").body.decode()
    assert "[+]started ok\nstartupz check passed\n" == scene.ask("/startupz?a=b&verbose=1").body.decode()


def test_tcp_withholds_details(scene: Scene) -> None:
    """Whoever can reach the port learns which check failed and not why, unless a setting says so."""
    before = scene.ask("/startupz?verbose", tcp=True).body.decode()
    as_json = scene.ask("/startupz", tcp=True, accept="application/json").body
    scene.use(details=True)

    assert "[-]started failed: reason withheld\nstartupz check failed\n" == before
    assert {"status": "fail", "checks": {"started": [{"status": "fail"}]}} == json.loads(as_json)
    assert "[-]started failed: booting\n" in scene.ask("/startupz?verbose", tcp=True).body.decode()


@pytest.mark.parametrize("accept", ["application/json", "application/health+json"])
def test_json_by_accept(scene: Scene, accept: str) -> None:
    """The same as JSON, of the type that was asked for."""
    scene.serving()
    reply = scene.ask("/livez", accept=f"text/html, {accept};q=0.9")
    document = json.loads(reply.body)

    assert (200, accept) == (reply.status, reply.content_type)
    assert "pass" == document["status"]
    assert ["launcher"] == list(document["checks"])
    assert document["checks"]["launcher"][0]["output"].startswith("the loop turned ")


def test_a_check_can_be_asked_alone(scene: Scene) -> None:
    """`/readyz/<check>` is about that check only, of plugins too; a name that there is not is 404."""
    scene.serving()
    scene.health.others = lambda _: [Line("database", ok=False, detail="refused")]
    statuses = [scene.ask(f"/readyz/{check}").status for check in ("workers", "draining", "database", "nothing")]

    assert [200, 200, 503, 404] == statuses
    assert b"[-]database failed: refused\nreadyz check failed\n" == scene.ask("/readyz/database?verbose").body


@pytest.mark.parametrize(
    ("method", "target", "status"),
    [
        ("HEAD", "/livez", 200),
        ("POST", "/livez", 405),
        ("GET", "/reload", 405),
        ("DELETE", "/status", 405),
        ("GET", "/", 404),
        ("GET", "/healthz", 404),
        ("GET", "/livezz", 404),
        ("GET", "*", 404),
    ],
)
def test_other_ways_lead_nowhere(scene: Scene, method: str, target: str, status: int) -> None:
    """An unknown path is 404, another method 405, which names those that there are."""
    reply = scene.ask(target, method)

    assert status == reply.status
    assert (status == 405) == ("Allow" in dict(reply.headers))


@pytest.mark.parametrize("target", ["/status", "/metrics", "/reload", "/scale", "/recycle", "/stop"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_tcp_cannot_see_or_do(scene: Scene, method: str, target: str) -> None:
    """Over TCP all of the management is as if it did not exist, even with details."""
    scene.serving()
    scene.use(details=True)
    status = scene.ask(target, method, tcp=True).status

    assert 404 == status
    assert [] == scene.server.receive()


def test_metrics_over_tcp_are_asked_for(scene: Scene) -> None:
    """With the setting they are there; without the package the answer says what to install."""
    scene.use(metrics=True)
    without = scene.ask("/metrics", tcp=True)

    def render(_request: Request, answer: Answer) -> None:
        answer(Reply(200, b"up 1\n"))

    scene.routes.metrics = render
    assert 501 == without.status
    assert b"pip install asgi-launcher[metrics]" in without.body
    assert b"up 1\n" == scene.ask("/metrics", tcp=True).body == scene.ask("/metrics").body


def test_status_is_json(scene: Scene) -> None:
    """The Unix socket tells everything."""
    reply = scene.ask("/status")

    assert (200, "application/json", {"pid": 7}) == (reply.status, reply.content_type, json.loads(reply.body))


@pytest.mark.parametrize(
    ("target", "body", "ask"),
    [
        ("/reload", b"", {"ask": "reload"}),
        ("/scale", b'{"workers": 3}', {"ask": "scale", "workers": 3}),
        ("/recycle", b'{"pid": 9}', {"ask": "recycle", "pid": 9}),
        ("/stop", b"{}", {"ask": "stop", "quick": False}),
        ("/stop", b'{"quick": true}', {"ask": "stop", "quick": True}),
    ],
)
def test_the_pools_answer_is_the_answer(scene: Scene, target: str, body: bytes, ask: dict[str, object]) -> None:
    """The pool is asked, and only its outcome answers the request."""
    scene.serving()
    replies = scene.post(target, body)
    (asked,) = scene.server.receive()
    before = list(replies)
    scene.control.hear({"answer": asked.pop("id"), "code": 3, "because": "no"})

    assert (ask, []) == (asked, before)
    assert [(200, {"code": 3, "because": "no"})] == [(reply.status, json.loads(reply.body)) for reply in replies]


@pytest.mark.parametrize(
    ("target", "body"),
    [
        ("/scale", b""),
        ("/scale", b'{"workers": 0}'),
        ("/scale", b'{"workers": "3"}'),
        ("/scale", b'{"workers": true}'),
        ("/recycle", b'{"pid": -1}'),
        ("/reload", b"[]"),
        ("/reload", b"not json"),
        ("/reload", b"[" * 60_000),
    ],
)
def test_what_cannot_be_asked_is_refused(scene: Scene, target: str, body: bytes) -> None:
    """Nonsense is answered with exit code 2, and the pool hears nothing of it."""
    scene.serving()
    (reply,) = scene.post(target, body)

    assert (400, 2) == (reply.status, json.loads(reply.body)["code"])
    assert [] == scene.server.receive()


def test_what_boots_can_only_be_stopped(scene: Scene) -> None:
    """Without a pool nobody would hear an ask: all are refused at once but stop, which needs no pool."""
    refused = [json.loads(scene.post(target)[0].body) for target in ("/reload",)]
    stopped = json.loads(scene.post("/stop")[0].body)

    assert [{"code": 1, "because": "there is no pool yet: the launcher boots"}] == refused
    assert {"code": 0, "because": ""} == stopped
    assert ["boot"] == scene.ended
    assert [] == scene.server.receive()
