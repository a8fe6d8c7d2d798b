"""Do the checks of plugins decide, and is one that breaks or hangs a failing check and no more?"""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest

from support import plugin_host
from support.plugin_host import FINE, TIMEOUT_S, WithPlugins, lines, wait_for
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

monitored = plugin_host.monitored


def test_checks_decide_with_the_workers(monitored: WithPlugins, tmp_path: Path) -> None:
    """Not ready before the first result, ready while all pass; the reason of the one that fails has no password."""
    switch = tmp_path / "down"
    source = f"""
        import pathlib, time
        from launcher import HealthCheck, hookimpl

        def database():
            if pathlib.Path({str(switch)!r}).exists():
                raise ConnectionError("no answer from postgresql://app:geheim@db/orders")

        @hookimpl
        def launcher_health_checks(settings):
            time.sleep(1)
            yield HealthCheck("database", database, interval=0.2)
            yield HealthCheck("started-once", lambda: None, group="startup")
    """
    running = monitored(ops=source)
    first = running.local("/readyz?verbose")
    wait_for(running, "database", "ok")
    ready = running.get("/readyz").status
    startup = lines(running, "startupz")
    switch.touch()
    wait_for(running, "database", "failed")
    down = (running.get("/readyz").status, running.get("/readyz/database").status, running.get("/livez").status)
    reason = lines(running)["database"]
    switch.unlink()
    wait_for(running, "database", "ok")

    assert 503 == first.status
    assert "[-]plugins failed: not yet checked" in first.body
    assert 200 == ready
    assert {"started": "ok", "started-once": "ok"} == startup
    assert (503, 503, 200) == down
    assert "failed: no answer from postgresql://app:***@db/orders" == reason
    assert ["launcher.health_check_failed", "launcher.health_check_passed"] == [
        event["event"] for event in running.process.events
    ]


BROKEN = {
    "an import that raises": ("raise RuntimeError('on purpose')\n# launcher_health_checks", "RuntimeError: on purpose"),
    "an import that leaves": ("import sys; sys.exit('bye')\n# launcher_health_checks", "SystemExit: bye"),
    "async def": ("async def launcher_health_checks(settings): ...", "launcher_health_checks is `async def`"),
    "another argument": ("def launcher_health_checks(nonsense): ...", "nonsense"),
    "no such hook": ("def launcher_health_check(settings): ...\n# launcher_health_checks", "there is no hook"),
    "a hook that raises": ("def launcher_health_checks(settings): raise KeyError('URL')", "KeyError: 'URL'"),
    "no check": ("def launcher_health_checks(settings): return ['database']", "'database' is no launcher.HealthCheck"),
    "a name of ours": (FINE.replace('"fine"', '"workers"'), "the name 'workers' is the launcher's own"),
}


@pytest.mark.parametrize(("source", "because"), BROKEN.values(), ids=BROKEN)
def test_a_broken_plugin_is_named_and_the_others_run(monitored: WithPlugins, source: str, because: str) -> None:
    """It is said once; what it would have checked counts as failing, since nobody knows what that is."""
    running = monitored(broken=source, fine=FINE)
    wait_for(running, "fine", "ok")
    said = running.process.wait_event("launcher.plugin_refused")

    assert "module broken" == said["plugin"]
    assert because in said["because"]
    assert lines(running)["plugins"].startswith("failed: module broken: ")
    assert 1 == len(running.process.events)


def test_a_check_that_hangs_fails_alone(monitored: WithPlugins) -> None:
    """It has failed when its time is over; the others are asked as before, and so is it when it comes back."""
    running = monitored(
        fine=FINE,
        slow="""
            import threading, time
            from launcher import HealthCheck

            calls = []

            def slow():
                calls.append(1)
                if len(calls) == 1:
                    time.sleep(3)

            def launcher_health_checks(settings):
                return HealthCheck("slow", slow, interval=0.2, timeout=0.5)
        """,
    )
    wait_for(running, "slow", "failed: no answer within 0.5 s")
    others = lines(running)
    wait_for(running, "slow", "ok")

    assert "ok" == others["fine"]
    assert 1 == running.json("/status")["plugins"]["starts"]


class Answers(BaseHTTPRequestHandler):
    """Answers with the status that the server has."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(self.server.status if self.path == "/health" else 404)  # type: ignore[attr-defined]  # ours
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def application() -> Iterator[HTTPServer]:
    """Serve `/health` with the status that is put into `status`."""
    server = HTTPServer(("127.0.0.1", 0), Answers)
    server.status = 200  # type: ignore[attr-defined]  # ours
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_application_is_asked_through_the_pool(monitored: WithPlugins, application: HTTPServer) -> None:
    """200 passes, 500 fails with a reason; a worker that becomes ready has it asked at once."""
    running = monitored(listen=[f"0.0.0.0:{application.server_port}"], health_http="/health")
    wait_for(running, "http", "ok")
    application.status = 500  # type: ignore[attr-defined]  # ours
    wait_for(running, "http", "failed: GET /health was answered with 500")
    status = running.get("/readyz").status
    application.status = 204  # type: ignore[attr-defined]  # ours
    before = time.monotonic()
    until(
        lambda: running.server.send({"event": "launcher.worker_ready"}) and lines(running)["http"] == "ok",
        "readiness",
        TIMEOUT_S,
    )

    assert 503 == status
    assert time.monotonic() - before < 4


def test_an_application_that_does_not_listen(monitored: WithPlugins) -> None:
    """Nobody there is a failing check."""
    running = monitored(listen=[f"127.0.0.1:{free_port()}"], health_http="/health")
    wait_for(running, "http", "failed: [Errno")

    assert 503 == running.get("/readyz").status
