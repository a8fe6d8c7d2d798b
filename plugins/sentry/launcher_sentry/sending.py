"""Has Sentry taken an event?

By a client of its own: nothing of `sentry_sdk.init`, of its integrations or of its scopes is used or changed. What
sends here says so: the SDK's own way of sending keeps a failure to itself.
"""

from __future__ import annotations

import gzip
import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from functools import cache
from typing import TYPE_CHECKING, Any

import certifi
import sentry_sdk
from sentry_sdk.transport import Transport

if TYPE_CHECKING:
    from sentry_sdk.envelope import Envelope

# Connecting to each of two addresses and the answer may take this long each, of ten seconds (launcher.hookspecs).
TIMEOUT_S = 3.0
_PAUSE_S = 60.0  # asked for without a number (develop.sentry.dev/sdk/expected-features/rate-limiting)
_TOO_MANY = 429


class NotSent(Exception):
    """Sentry has not taken the event."""


def send(event: dict[str, Any], dsn: str, timeout_s: float = TIMEOUT_S) -> None:
    """Return when Sentry has taken the event. Raises NotSent; BadDsn for a DSN that is none."""
    if _client(dsn, timeout_s).capture_event(event) is None:  # type: ignore[arg-type]  # a TypedDict of theirs, of the same keys
        raise NotSent("sentry_sdk has dropped the event")


class TellingTransport(Transport):
    """Sends at once, and raises."""

    def __init__(self, dsn: str, timeout_s: float) -> None:
        super().__init__({"dsn": dsn})
        self._timeout_s = timeout_s
        authorities = os.environ.get("SSL_CERT_FILE") or os.environ.get("REQUESTS_CA_BUNDLE") or certifi.where()
        https = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=authorities))
        self._opener = urllib.request.build_opener(_NoRedirects(), https)  # and the proxies of the environment
        self._not_before = 0.0

    def capture_envelope(self, envelope: Envelope) -> None:
        """Return when it was taken. Raises NotSent."""
        if (pause_s := self._not_before - time.monotonic()) > 0:
            raise NotSent(f"Sentry has asked for a pause of another {pause_s:.0f} s")
        try:
            with self._opener.open(self._request(envelope), timeout=self._timeout_s) as response:
                response.read()
        except urllib.error.HTTPError as error:
            raise NotSent(self._refusal(error)) from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", None) or error
            raise NotSent(f"Sentry cannot be reached: {type(reason).__name__}: {reason}") from None

    def _request(self, envelope: Envelope) -> urllib.request.Request:
        if self.parsed_dsn is None:
            raise NotSent("there is no DSN")
        auth = self.parsed_dsn.to_auth(f"sentry.python/{sentry_sdk.VERSION}")
        headers = {
            "Content-Type": "application/x-sentry-envelope",
            "Content-Encoding": "gzip",
            "User-Agent": "asgi-launcher-sentry",
            "X-Sentry-Auth": auth.to_header(),
        }
        body = gzip.compress(envelope.serialize())
        return urllib.request.Request(auth.get_api_url(), body, headers)  # noqa: S310 - a DSN is http or https, or BadDsn

    def _refusal(self, error: urllib.error.HTTPError) -> str:
        """Return what Sentry says, and keep to the pause that it asks for."""
        with error:
            if error.code == _TOO_MANY:
                asked = error.headers.get("Retry-After", "")
                self._not_before = time.monotonic() + (float(asked) if asked.isdecimal() else _PAUSE_S)
            because = error.headers.get("X-Sentry-Error", "")
        return f"Sentry has answered with {error.code}" + (f": {because}" if because else "")


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Redirected, a POST would become a GET, and its answer would be taken for ours."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


@cache
def _client(dsn: str, timeout_s: float) -> sentry_sdk.Client:
    """Return the client; `send_default_pii` stays off by not being named: to name it is deprecated."""
    return sentry_sdk.Client(
        dsn=dsn,
        transport=TellingTransport(dsn, timeout_s),
        release="",  # otherwise git is asked for one
        before_send=_without_empty_release,
        sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
        auto_session_tracking=False,
        include_local_variables=False,
        include_source_context=False,
        send_client_reports=False,
        enable_backpressure_handling=False,
        spotlight=False,
        max_request_body_size="never",
    )


def _without_empty_release(event: Any, _: Any) -> Any:
    return {key: value for key, value in event.items() if key != "release" or value}
