"""Does a report reach its receivers: genuine, once each, and however they behave?"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import json
import logging
import re
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from launcher_webhook.reporter import Reporter
from launcher_webhook.sending import NotTaken
from launcher_webhook.settings import Webhook

from launcher import Incident
from support.waiting import free_port

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.crash_report import MakeIncident
    from tests.conftest import Hook

README = Path(__file__).parents[1] / "README.md"
PLANTED = {
    "evidence": ["connect to postgresql://app:geheim@db/orders failed"],
    "in_flight": [{"method": "GET", "path": "/login?token=geheim", "age_s": 0.1}],
    "stacks": "  File main.py, line 7\nOperationalError: password=geheim\n",
    "last_log": ["Authorization: Bearer geheim", '{"password": "geheim"}'],
}


def to(*urls: str, **options: Any) -> Reporter:
    """Return who sends to these."""
    given = {"format": "json", "place": "a test", **options}
    return Reporter(Webhook(url=url, **given) for url in urls)


def test_the_report_arrives_as_it_is(report: dict[str, Any], incident: MakeIncident, receiver: Hook) -> None:
    """As its JSON, with its id; not signed without a secret."""
    to(receiver.url).send(incident())
    (got,) = receiver.got
    document = json.loads(got.body)

    assert "/hook/geheim" == got.path
    assert "application/json" == got.headers["Content-Type"]
    assert report["id"] == got.headers["X-Launcher-Delivery"]
    assert "X-Launcher-Signature" not in got.headers
    assert report == document
    assert {one.name for one in dataclasses.fields(Incident)} == document.keys()


def test_the_readme_s_lines_verify_it(incident: MakeIncident, receiver: Hook) -> None:
    """A genuine one passes; another secret, another body and an old one do not."""
    readme = README.read_text(encoding="utf-8")
    code = re.search(r"```python\n(def is_genuine.*?)```", readme, re.DOTALL)
    assert code
    known: dict[str, Any] = {"hashlib": hashlib, "hmac": hmac, "time": time}
    exec(code[1], known)  # noqa: S102 - what the README tells people to copy is what is tested
    to(receiver.url, secret="geheim").send(incident())  # noqa: S106 - of a test
    old = Reporter([Webhook(place="", url=receiver.url, format="json", secret="geheim")], lambda: time.time() - 600)  # noqa: S106 - of a test
    old.send(incident())
    headers, body = receiver.got[0].headers["X-Launcher-Signature"], receiver.got[0].body

    assert known["is_genuine"]("geheim", headers, body)
    assert not known["is_genuine"]("other", headers, body)
    assert not known["is_genuine"]("geheim", headers, body + b" ")
    assert not known["is_genuine"]("geheim", receiver.got[1].headers["X-Launcher-Signature"], receiver.got[1].body)


def test_slack_gets_its_shape(incident: MakeIncident, receiver: Hook) -> None:
    """Text and blocks instead of the report."""
    to(receiver.url, format="slack").send(incident())
    message = json.loads(receiver.got[0].body)

    assert {"text", "blocks"} == message.keys()
    assert "native-crash (certain)" in receiver.got[0].body.decode()


@pytest.mark.parametrize("status", [500, 503, 408, 425, 429, 301, 307])
def test_who_does_not_take_it_is_asked_again(incident: MakeIncident, receiver: Hook, status: int) -> None:
    """It raises, with the status and without the URL, and succeeds when it is taken; no redirect is followed."""
    receiver.answers = [status]
    reporter = to(receiver.url)
    with pytest.raises(NotTaken, match=rf"^a test \(127\.0\.0\.1\): answered {status}") as caught:
        reporter.send(incident())
    reporter.send(incident())

    assert ["/hook/geheim"] * 2 == [got.path for got in receiver.got]
    assert "geheim" not in str(caught.value)


def test_what_is_refused_for_good_is_given_up(
    incident: MakeIncident, receiver: Hook, caplog: pytest.LogCaptureFixture
) -> None:
    """Asking again would not help: nothing is raised, and the log says it once, without the URL."""
    receiver.answers = [404, 404, 410]
    reporter = to(receiver.url)
    with caplog.at_level(logging.WARNING):
        for identity in ("1", "1", "2", "3"):
            reporter.send(incident(id=identity))

    assert ["1", "2", "3"] == [got.headers["X-Launcher-Delivery"] for got in receiver.got]
    assert ["answered 404", "answered 410"] == re.findall(r"answered \d+", caplog.text)
    assert "geheim" not in caplog.text


def test_who_has_it_is_not_sent_it_again(
    report: dict[str, Any], incident: MakeIncident, receivers: Callable[[], Hook]
) -> None:
    """One of two receivers fails twice: the other one hears of the report once, and of the next one too."""
    well, failing = receivers(), receivers()
    failing.answers = [500, 502]
    reporter = to(well.url, failing.url)
    for _ in range(2):
        with pytest.raises(NotTaken, match=r"answered 50\d$"):
            reporter.send(incident())
    reporter.send(incident())
    reporter.send(incident(id="next"))

    assert [report["id"], "next"] == [got.headers["X-Launcher-Delivery"] for got in well.got]
    assert [*[report["id"]] * 3, "next"] == [got.headers["X-Launcher-Delivery"] for got in failing.got]


def test_kinds_are_chosen(incident: MakeIncident, receiver: Hook) -> None:
    """An incident of another kind is not sent."""
    reporter = to(receiver.url, kinds=frozenset({"boot-failed"}))
    reporter.send(incident())
    reporter.send(incident(kind="boot-failed", id="2"))

    assert ["2"] == [got.headers["X-Launcher-Delivery"] for got in receiver.got]


def test_silence_is_bounded(incident: MakeIncident, receivers: Callable[[], Hook]) -> None:
    """A receiver that does not answer costs its timeout and keeps nothing from the others."""
    silent, well = receivers(), receivers()
    silent.open.clear()
    reporter, began = to(silent.url, well.url, timeout_s=0.3), time.monotonic()
    with pytest.raises(NotTaken, match="timed out"):
        reporter.send(incident())
    took_s = time.monotonic() - began
    silent.open.set()
    reporter.send(incident())

    assert took_s < 5
    assert 1 == len(well.got)


def test_nobody_there(incident: MakeIncident) -> None:
    """It raises, with the reason."""
    with pytest.raises(NotTaken, match="refused"):
        to(f"http://127.0.0.1:{free_port()}/geheim").send(incident())


def test_certificates_are_verified(
    incident: MakeIncident, receiver: Hook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A receiver with a certificate of its own making is not told anything, until it is trusted."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    words += ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2"]
    subprocess.run([*words, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True, timeout=30)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    receiver.socket = context.wrap_socket(receiver.socket, server_side=True)
    receiver.scheme = "https"
    reporter = to(receiver.url)

    with pytest.raises(NotTaken, match="CERTIFICATE_VERIFY_FAILED"):
        reporter.send(incident())
    assert not receiver.got
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    reporter.send(incident())
    assert 1 == len(receiver.got)


def test_a_proxy_of_the_environment(incident: MakeIncident, receiver: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked instead of the receiver, whose login is a header and not a part of the address."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{receiver.server_port}")
    monkeypatch.delenv("no_proxy", raising=False)
    to("http://user:geheim@ops.invalid/crashes").send(incident())
    (got,) = receiver.got

    assert "http://ops.invalid/crashes" == got.path
    assert got.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("shape", ["json", "slack"])
def test_nothing_secret_is_sent(incident: MakeIncident, receiver: Hook, shape: str) -> None:
    """Passwords that a report should not have any more do not leave the machine."""
    to(receiver.url, format=shape, secret="geheim").send(incident(**PLANTED))  # noqa: S106 - of a test
    (got,) = receiver.got

    assert b"geheim" not in got.body
    assert b"/login" in got.body
    assert "geheim" not in str(got.headers)
