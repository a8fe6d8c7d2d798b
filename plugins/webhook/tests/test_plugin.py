"""Does the plugin do its work where the launcher runs it?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from launcher_webhook.settings import URL

from support.monitor import handmade, start
from support.waiting import until

if TYPE_CHECKING:
    from pathlib import Path

    from support.spawning import Spawner
    from tests.conftest import Hook

# As the plugin host does: it loads the module, which reads the settings, and calls the hook.
HOST = """
import json, sys
from launcher import Incident
from launcher.hook_calls import Hooks
hooks = Hooks()
if not hooks.load("webhook", "launcher_webhook.plugin"):
    sys.exit(str(hooks.refused))
(hook,) = hooks.implementations("launcher_incident")
hook(report=Incident.from_report(json.loads(sys.argv[1])))
print([name for name in sys.modules if name.startswith(("launcher_webhook.", "urllib.request", "http.client"))])
"""


def test_without_settings_nothing_is_imported(report: dict[str, Any], spawn: Spawner) -> None:
    """The plugin is there and does nothing."""
    done = spawn([sys.executable, "-P", "-c", HOST, json.dumps(report)])

    assert 0 == done.wait()
    assert "['launcher_webhook.settings', 'launcher_webhook.plugin']" == done.stdout.strip()


def test_a_mistake_is_said_when_the_plugin_is_loaded(report: dict[str, Any], spawn: Spawner) -> None:
    """With its place, and without what was written."""
    done = spawn([sys.executable, "-P", "-c", HOST, json.dumps(report)], env={URL: "geheim"})

    assert 1 == done.wait()
    assert "ValueError: LAUNCHER_WEBHOOK_URL: url: not an address" in done.stderr
    assert "geheim" not in done.stderr


def test_the_launcher_asks_until_it_is_taken(
    report: dict[str, Any], spawn: Spawner, tmp_path: Path, receiver: Hook
) -> None:
    """In the plugin host, after an answer that was a failure; nothing on the way says the URL."""
    receiver.answers = [503]
    (tmp_path / "processes" / "cwd" / "launcher-webhook.toml").write_text(
        f'[[webhook]]\nurl = "{receiver.url}"\n', encoding="utf-8"
    )
    hooks = [{"who": "asgi-launcher-webhook", "target": "launcher_webhook.plugin", "hooks": ["launcher_incident"]}]
    running = start(spawn, handmade(tmp_path, hooks=hooks, listen=[]))
    try:
        running.serving()
        running.server.send({"incident": report})
        until(lambda: len(receiver.got) > 1, "the second attempt", 30)
    finally:
        running.process.popen.kill()
        running.close()

    assert [report["id"]] * 2 == [got.headers["X-Launcher-Delivery"] for got in receiver.got]
    assert "answered 503" in running.process.stderr
    assert "geheim" not in running.process.stderr
