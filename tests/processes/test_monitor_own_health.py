"""Is the application asked for its health as its clients ask, whatever the server speaks?"""

from __future__ import annotations

import ssl
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING, Any

import pytest

from launcher.plugin_host.through_pool import own_check

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Answers(BaseHTTPRequestHandler):
    """Answers 200 to `/health`, else 404."""

    def do_GET(self) -> None:
        """Answer."""
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Be quiet."""


class Server(HTTPServer):
    """Says nothing about clients that break off."""

    def handle_error(self, *_: object) -> None:
        """Be quiet."""


@pytest.fixture
def over_tls(tmp_path: Path) -> Iterator[int]:
    """Serve `/health` over TLS with a certificate of another name; return the port."""
    key, certificate = tmp_path / "tls.key", tmp_path / "tls.crt"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-noenc"]
    words += ["-subj", "/CN=shop.example", "-days", "2", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = Server(("127.0.0.1", 0), Answers)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def outcome(port: int, path: str, **known: Any) -> str:
    """Return what one run of the check says; empty when it passes."""
    try:
        own_check({"health_http": path, "listen": [f"0.0.0.0:{port}"], **known}).probe()
    except Exception as error:  # noqa: BLE001 - whatever a check raises is its answer
        return str(error)
    return ""


@pytest.mark.parametrize("known", [{"tls": True}, {}], ids=["by our option", "by the server's own option"])
def test_over_tls(over_tls: int, known: dict[str, bool]) -> None:
    """The certificate is for the clients' name, so it is not looked at; that there is one need not be known."""
    well, not_well = outcome(over_tls, "/health", **known), outcome(over_tls, "/other", **known)

    assert "" == well
    assert "GET /other was answered with 404" == not_well


def test_a_path_without_its_slash(over_tls: int) -> None:
    """It gets one: servers answer 400 to `GET health`."""
    assert "" == outcome(over_tls, "health", tls=True)
