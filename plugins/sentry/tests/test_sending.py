"""Does an event arrive once, and is it known when it does not?"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest
import sentry_sdk
from launcher_sentry.plugin import launcher_incident
from launcher_sentry.sending import TIMEOUT_S, NotSent, send
from sentry_sdk.utils import BadDsn

from launcher import Incident
from launcher.hook_plugins import hook_plugins, of_host
from support.monitor import Monitored, handmade, start
from support.pool import APP, linux_only, start_pool
from support.waiting import free_port, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.projects import MakeProject
    from support.spawning import Launch, Spawner
    from tests.conftest import Sentry

PATIENCE_S = 30
EVENT = {"event_id": "0" * 32, "message": "hello", "level": "error", "tags": {"kind": "crash"}}
REPORT: dict[str, Any] = {
    "schema": 1,
    "id": "20261122T134501.123456Z-4f2a9c",
    "at": "2026-11-22T13:45:01.123Z",
    "kind": "crash",
    "verdict": "native-crash",
    "confidence": "certain",
    "stacks": 'Current thread 0x1 (most recent call first):\n  File "/app/main.py", line 5 in upload\n',
    "in_flight": [{"method": "GET", "path": "/slow", "age_s": 1.5}],
    "last_log": ["password=geheim was logged"],
    "later": "a key",
}


def test_an_event_arrives_in_an_envelope(sentry: Sentry) -> None:
    """Compressed, with the key of the DSN; with no release when nobody knows one, and nothing of this process."""
    send(dict(EVENT), sentry.dsn)
    (event,) = sentry.events

    assert ["/api/42/envelope/"] == sentry.paths
    assert "sentry_key=public" in sentry.got[0].headers["X-Sentry-Auth"]
    assert ("gzip", "application/x-sentry-envelope") == tuple(
        sentry.got[0].headers[name] for name in ("Content-Encoding", "Content-Type")
    )
    assert (EVENT["event_id"], "hello", "production") == (event["event_id"], event["message"], event["environment"])
    assert {"release", "contexts", "user", "request", "extra", "modules"}.isdisjoint(event)


@pytest.mark.parametrize(
    ("status", "headers", "because"),
    [
        (500, {}, "answered with 500"),
        (403, {"X-Sentry-Error": "no such project"}, "answered with 403: no such project"),
        (302, {"Location": "/api/42/elsewhere/"}, "answered with 302"),
    ],
)
def test_a_refusal_is_told_and_the_next_try_succeeds(
    sentry: Sentry, status: int, headers: dict[str, str], because: str
) -> None:
    """Whatever the server says that is no success; no redirect is followed."""
    sentry.answers.append((status, headers))
    with pytest.raises(NotSent, match=because):
        send(dict(EVENT), sentry.dsn)
    send(dict(EVENT), sentry.dsn)

    assert 1 == len(sentry.events)
    assert 2 == len(sentry.paths)


def test_a_pause_that_sentry_asks_for_is_kept(sentry: Sentry) -> None:
    """Without a further request."""
    sentry.answers.append((429, {"Retry-After": "1"}))
    with pytest.raises(NotSent, match="answered with 429"):
        send(dict(EVENT), sentry.dsn)
    with pytest.raises(NotSent, match="a pause of another"):
        send(dict(EVENT), sentry.dsn)
    asked = len(sentry.paths)

    def sent() -> bool:
        try:
            send(dict(EVENT), sentry.dsn)
        except NotSent:
            return False
        return True

    until(sent, "the end of the pause", PATIENCE_S)

    assert 1 == asked
    assert 1 == len(sentry.events)


def test_nobody_there_and_no_answer_are_told_in_time(sentry: Sentry) -> None:
    """Within what the launcher allows: connecting to two addresses, and the answer, in less than ten seconds."""
    with pytest.raises(NotSent, match="cannot be reached: ConnectionRefusedError"):
        send(dict(EVENT), f"http://public@127.0.0.1:{free_port()}/42")
    sentry.open.clear()
    before = time.monotonic()
    with pytest.raises(NotSent, match="cannot be reached: TimeoutError"):
        send(dict(EVENT), sentry.dsn, timeout_s=0.5)

    assert 0.4 < time.monotonic() - before < 3
    assert 3 * TIMEOUT_S < 10


def test_a_dsn_that_is_none_is_told() -> None:
    """By the SDK's own words."""
    with pytest.raises(BadDsn, match="Missing public key"):
        send(dict(EVENT), "https://sentry.example/1")


def test_the_client_of_the_application_is_left_alone(sentry: Sentry) -> None:
    """What `sentry_sdk.init` set up, scopes and tags, is neither changed nor used."""
    everywhere = sentry_sdk.Scope.get_global_scope()
    application = sentry_sdk.Client(dsn=sentry.dsn, default_integrations=False, release="of the application")
    everywhere.set_client(application)
    everywhere.set_tag("application", "yes")
    try:
        send(dict(EVENT), sentry.dsn)
        now = sentry_sdk.get_client()
    finally:
        everywhere.clear()
        everywhere.set_client(None)
        application.close(timeout=0)

    assert application is now
    assert [({"kind": "crash"}, None)] == [(event["tags"], event.get("release")) for event in sentry.events]


def test_without_a_dsn_nothing_is_sent(sentry: Sentry) -> None:
    """The hook returns: the report is taken."""
    launcher_incident(Incident.from_report(REPORT))

    assert [] == sentry.paths


def test_without_a_dsn_nothing_is_imported() -> None:
    """Neither by the hook nor by what a worker loads; an application that knows no Sentry is not wrapped."""
    source = (
        "import sys\nfrom launcher import Incident\n"
        "from launcher_sentry import flushing, plugin\n"
        "plugin.launcher_incident(Incident(id='r1', at='now', kind='crash', verdict='oom'))\n"
        "assert flushing.launcher_wrap_app(print) is None\n"
        "print([name for name in ('sentry_sdk', 'certifi', 'ssl', 'asyncio') if name in sys.modules])\n"
    )
    environ = {"PATH": "/usr/bin:/bin"}
    ran = subprocess.run([sys.executable, "-c", source], env=environ, capture_output=True, text=True, check=False)

    assert ("[]\n", "") == (ran.stdout, ran.stderr)


def test_without_a_dsn_no_process_is_started(sentry: Sentry, monkeypatch: pytest.MonkeyPatch) -> None:
    """And workers have the flush all the same, for the application's own client."""

    def modules() -> list[str]:
        return [plugin.target for plugin in hook_plugins() if plugin.target.startswith("launcher_sentry.")]

    without = modules()
    monkeypatch.setenv("SENTRY_DSN", sentry.dsn)

    assert ["launcher_sentry.flushing"] == without
    assert ["launcher_sentry.plugin", "launcher_sentry.flushing"] == modules()


@pytest.fixture
def monitored(spawn: Spawner, tmp_path: Path, sentry: Sentry) -> Iterator[Callable[[], Monitored]]:
    """Run a monitor with this plugin as it is installed, and secrets in its environment."""
    made: list[Monitored] = []

    def run() -> Monitored:
        hooks = [
            plugin for plugin in of_host(hook_plugins(import_dir=tmp_path, unused=True)) if "sentry" in plugin["who"]
        ]
        secrets = {"DATABASE_PASSWORD": "planted", "SENTRY_ENVIRONMENT": "staging", "SENTRY_RELEASE": "v7"}
        prepared = handmade(tmp_path, hooks=hooks, listen=[], cwd=str(tmp_path))
        argv = ("env", f"SENTRY_DSN={sentry.dsn}", *(f"{name}={value}" for name, value in secrets.items()))
        made.append(start(spawn, prepared, (*argv, sys.executable, "-P", "-m", "launcher.monitor")))
        made[-1].serving()
        return made[-1]

    yield run
    for one in made:
        one.process.popen.kill()
        one.close()


def test_a_report_goes_through_the_plugin_host_until_sentry_has_it(
    monitored: Callable[[], Monitored], sentry: Sentry
) -> None:
    """A refusal is tried again, what arrives is one event, and no secret is in it."""
    sentry.answers.append((503, {}))
    running = monitored()
    running.server.send({"incident": REPORT})
    until(lambda: sentry.events, "the event", PATIENCE_S)
    until(lambda: running.json("/status")["plugins"]["incidents_waiting"] == 0, "it is taken", PATIENCE_S)
    (event,) = sentry.events
    failed = running.process.wait_event("launcher.plugin_failed")

    assert 2 == len(sentry.paths)
    assert "NotSent: Sentry has answered with 503" == failed["because"]
    assert ("v7", "staging") == (event["release"], event["environment"])
    assert ["crash", "native-crash", "/app/main.py:upload"] == event["fingerprint"]
    assert [{"method": "GET", "path": "/slow", "age_s": 1.5}] == event["contexts"]["in flight"]["requests"]
    assert [True, True] == [secret not in json.dumps(event) for secret in ("planted", "geheim")]


@linux_only
def test_a_worker_that_dies_is_an_event(launch: Launch, project: MakeProject, sentry: Sentry) -> None:
    """Of a launcher as people start it: why, where, in which request; nothing of the query or the environment."""
    folder = project({"main.py": APP})
    environ = {"SENTRY_DSN": sentry.dsn, "DATABASE_PASSWORD": "planted", "LAUNCHER_RUNTIME_DIR": str(folder / "run")}
    pool = start_pool(launch, folder, "uvicorn", "--crash-dir", str(folder / "crashes"), env=environ)
    pool.ready(2)
    pool.ask("/segfault?token=planted")
    pool.until(lambda: sentry.events, "the event", PATIENCE_S)
    pool.ready(3)
    (event,) = sentry.events

    assert {"kind": "crash", "verdict": "native-crash", "confidence": "certain", "app": "main:app"} == {
        name: event["tags"][name] for name in ("kind", "verdict", "confidence", "app")
    }
    assert ["crash", "native-crash", "main.py:dies"] == event["fingerprint"]
    assert "Segmentation fault" == event["exception"]["values"][-1]["type"]
    assert ["/segfault"] == [request["path"] for request in event["contexts"]["in flight"]["requests"]]
    assert "planted" not in json.dumps(event)
