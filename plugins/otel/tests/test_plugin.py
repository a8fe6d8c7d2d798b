"""Does the plugin do its work where the launcher runs it, and nothing without an endpoint?"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from launcher_otel.plugin import is_wanted

if TYPE_CHECKING:
    from support.spawning import Spawner
    from tests.conftest import Collector

ENDPOINT, LOGS = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_LOGS_ENDPOINT"
# As the plugin host does: it loads the module and calls the hook.
HOST = """
import json, sys
from launcher import Incident
from launcher.hook_calls import Hooks
hooks = Hooks()
if not hooks.load("otel", "launcher_otel.plugin"):
    sys.exit(str(hooks.refused))
(hook,) = hooks.implementations("launcher_incident")
before = any(name.startswith("opentelemetry") for name in sys.modules)
hook(report=Incident.from_report(json.loads(sys.argv[1])))
print(before, any(name.startswith("opentelemetry") for name in sys.modules))
"""


@pytest.mark.parametrize(
    ("environ", "wanted"),
    [
        ({}, False),
        ({ENDPOINT: ""}, False),
        ({ENDPOINT: "http://c"}, True),
        ({LOGS: "http://c/v1/logs"}, True),
        ({ENDPOINT: "http://c", "OTEL_SDK_DISABLED": "true"}, False),
        ({ENDPOINT: "http://c", "OTEL_LOGS_EXPORTER": "none"}, False),
        ({ENDPOINT: "http://c", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        (
            {
                ENDPOINT: "http://c",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
                "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL": "http/protobuf",
            },
            True,
        ),
    ],
)
def test_the_variables_decide(environ: dict[str, str], *, wanted: bool) -> None:
    """An endpoint is needed, and nothing that speaks against it."""
    assert wanted == is_wanted(environ)


@pytest.mark.parametrize("variable", ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_LOGS_PROTOCOL"])
def test_another_protocol_is_refused(variable: str) -> None:
    """With the variable, and what to set."""
    with pytest.raises(ValueError, match=f"^{variable}: 'grpc' is not spoken here; set OTEL_EXPORTER_OTLP_LOGS_PROTO"):
        is_wanted({ENDPOINT: "http://c:4317", variable: "grpc"})


def test_without_an_endpoint_nothing_is_imported(spawn: Spawner, report: dict[str, Any]) -> None:
    """Not even when there is an incident."""
    done = spawn([sys.executable, "-P", "-c", HOST, json.dumps(report)])

    assert 0 == done.wait()
    assert "False False" == done.stdout.strip()


def test_with_an_endpoint(spawn: Spawner, report: dict[str, Any], receiver: Collector) -> None:
    """OpenTelemetry is imported at the first incident, which arrives."""
    done = spawn([sys.executable, "-P", "-c", HOST, json.dumps(report)], env={ENDPOINT: receiver.url})

    assert 0 == done.wait()
    assert "False True" == done.stdout.strip()
    assert [report["title"]] == [record.body for record in receiver.records]


def test_a_failure_has_no_secret_in_it(spawn: Spawner, report: dict[str, Any], receiver: Collector) -> None:
    """What the launcher would log says what was answered, and not by whom."""
    receiver.answers = [503]
    done = spawn([sys.executable, "-P", "-c", HOST, json.dumps(report)], env={ENDPOINT: receiver.url})

    assert 1 == done.wait()
    assert "NotTaken: answered 503" in done.stderr
    assert "geheim" not in done.stderr
