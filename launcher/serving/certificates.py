"""Have the certificates on disk changed, into ones that can be used?

Asked by the arbiter's loop, so it must be cheap: a few `stat` calls every ten seconds. Symbolic links are followed to
the end: Kubernetes exchanges a whole folder behind one (`..data`), certbot the target of each (`live/`).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from launcher.log import log

EVERY_S = 10.0
_SAID_AT = 2  # looks: between two writes of a pair one look may fall, and that is nobody's mistake

_Seen = tuple[tuple[int, int, int] | None, ...]


class CertificateWatch:
    """The files of one TLS configuration: certificate chain, key, then whatever else has to be new with them."""

    def __init__(self, paths: Sequence[str | None], password: str | None = None) -> None:
        """Take what is there now for what is being served. None and empty paths are left out; a key may be missing.

        `password` is the key's; without it a key that needs one is believed to be good.
        """
        self._certificate, self._key = (*paths, None, None)[:2]
        self._paths = [Path(path) for path in paths if path]
        self._password = password
        self._served = self._look()
        self._next_look = 0.0
        self._unusable_looks = 0

    def changed(self, now: float) -> bool:
        """Tell, once, that another pair lies there and loads. `now`: seconds of any clock that only rises."""
        if not self._certificate or now < self._next_look:
            return False
        self._next_look = now + EVERY_S
        seen = self._look()
        if seen == self._served:
            self._unusable_looks = 0
            return False
        problem = self._problem()
        if problem or seen != self._look():  # written to meanwhile: what was loaded is not what is there
            self._say(problem)
            return False
        self._served, self._unusable_looks = seen, 0
        return True

    def _look(self) -> _Seen:
        return tuple(_identity(path) for path in self._paths)

    def _problem(self) -> str:
        """Return why the pair cannot be used; empty when it can."""
        import ssl  # only where there is something to load

        asked: list[bool] = []

        def password() -> str:  # without one OpenSSL would ask the terminal, and the arbiter would wait for it
            asked.append(True)
            return self._password or ""

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(self._certificate or "", self._key, password)
        except (OSError, ValueError) as error:  # SSLError is an OSError
            return "" if asked and not self._password else str(error)
        return ""

    def _say(self, problem: str) -> None:
        if problem:
            self._unusable_looks += 1
        if problem and self._unusable_looks == _SAID_AT:
            log.warning("launcher.certificate_unusable", files=[str(path) for path in self._paths], because=problem)


def _identity(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
