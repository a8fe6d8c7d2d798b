"""How is one message sent?

One POST over a new connection: the certificate is verified, redirects are answers, proxies are those of the environment
(`https_proxy`, `http_proxy`, `no_proxy`). Errors never have the URL in them, whose path may be a password.
"""

from __future__ import annotations

import hashlib
import hmac
import ssl
from base64 import b64encode
from collections.abc import Mapping
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, Request, build_opener

from launcher import __version__
from launcher.redact import redact

if TYPE_CHECKING:
    from launcher_webhook.settings import Webhook


class NotTaken(Exception):
    """A receiver has not taken a report, and may take it another time."""


class _Stay(HTTPRedirectHandler):
    """A redirect is an answer: a signed report goes where it was told to, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        """Return nothing, which makes the answer an HTTPError."""


def post(webhook: Webhook, body: bytes, headers: Mapping[str, str]) -> int:
    """Return the status of the answer. Raises NotTaken when there is none."""
    url, login = _without_login(webhook.url)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"asgi-launcher-webhook/{__version__}",
        **headers,
        **login,
    }
    request = Request(url, body, headers, method="POST")  # noqa: S310 - settings.py lets nothing but http and https in
    try:
        opener = build_opener(HTTPSHandler(context=ssl.create_default_context()), _Stay)
        with opener.open(request, timeout=webhook.timeout_s) as answer:
            status: int = answer.status
    except HTTPError as error:
        error.close()
        return error.code
    except OSError as error:
        reason = redact(str(getattr(error, "reason", error)))
        raise NotTaken(reason or type(error).__name__) from None
    except (HTTPException, ValueError) as error:  # the text could be a part of the URL, or of a proxy's
        raise NotTaken(type(error).__name__) from None
    return status


def signature(secret: str, body: bytes, at: int) -> str:
    """Return `t=<at>,v1=<hex>`: HMAC-SHA256 of `<at>.<body>`, the scheme of docs.stripe.com/webhooks/signature.

    at: Unix time.
    """
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def _without_login(url: str) -> tuple[str, dict[str, str]]:
    """Return the URL without user and password, and the header that says them."""
    parts = urlsplit(url)
    if parts.username is None:
        return url, {}
    pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
    plain = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    return plain, {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
