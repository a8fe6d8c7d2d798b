"""How does a start wait for something that has to be up first?

No lock: every replica waits for itself. The address goes to the child by its standard input, since a database URL
holds a password and everybody on the host can read an argv.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from typing import ClassVar
from urllib.parse import urlsplit

from launcher.databases import url as databases
from launcher.errors import ExitCode
from launcher.settings.topics import OncePer, StepSettings
from launcher.steps import Command, Due, Finished, StepContext, checking

_DIALECTS = frozenset({"postgresql", "mysql", "mariadb", "sqlite"})
_REFERENCE = re.compile(r"\$(?:\{(?P<braced>[A-Za-z_]\w*)\}|(?P<plain>[A-Za-z_]\w*))")
_KINDS = "tcp://host:port, http(s)://..., a database URL, or env:NAME of a variable that holds one of them"


class WaitForStep:
    """Waits until the address answers: a connection, a 2xx or 3xx, or a database that accepts the login."""

    once_per: ClassVar[OncePer] = "replica"
    needs_lock: ClassVar[bool] = False
    tells_due: ClassVar[bool] = False

    def __init__(self, settings: StepSettings) -> None:
        """Raise UsageError for an address of no known kind; one that is in a variable is checked when it is used."""
        checking.options(settings)
        self._settings = settings
        self._address = checking.text(settings, _KINDS)
        if not (self._address.startswith("env:") or "$" in self._address):
            self._check(self._address)

    def due(self, context: StepContext) -> Due:  # noqa: ARG002 - the Protocol's
        """Say yes: only waiting tells."""
        return Due(due=True, because="every replica waits for it")

    def command(self, context: StepContext) -> Command:
        """Return the child that tries until a little before the step's own timeout. Raises UsageError."""
        address = self._resolved(context.environ)
        self._check(address)
        if "://" in address and databases.redact(address).startswith("sqlite"):
            address = databases.absolute(address, context.cwd)
        timeout_s = self._settings.timeout_s
        seconds = max(timeout_s - 1.0, timeout_s * 0.7)  # its own last word comes before the guard's KILL
        return Command(
            argv=(sys.executable, "-P", "-m", "launcher.steps.wait_for_child", f"{seconds:g}"),
            stdin=address.encode(errors="surrogateescape"),
            exit_codes={ExitCode.DEPENDENCY_DOWN: ExitCode.DEPENDENCY_DOWN},
        )

    def finished(self, context: StepContext, result: Finished) -> Mapping[str, str | None]:  # noqa: ARG002 - Protocol's
        """Return nothing."""
        return {}

    def where(self) -> str:
        """Return the address without its password."""
        return databases.redact(self._address)

    def _resolved(self, environ: Mapping[str, str]) -> str:
        """Return the address with its variables filled in, which earlier steps may have exported."""
        if self._address.startswith("env:"):
            return self._variable(self._address.removeprefix("env:").strip(), environ)
        return _REFERENCE.sub(lambda match: self._variable(match["braced"] or match["plain"], environ), self._address)

    def _variable(self, name: str, environ: Mapping[str, str]) -> str:
        if value := environ.get(name, "").strip():
            return value
        raise checking.refusal(self._shown(), f"the variable {name} is not set", cure="set it; %24 stands for a `$`")

    def _check(self, address: str) -> None:
        """Raise UsageError unless the child will know what to do with it."""
        scheme = address.partition("://")[0].lower() if "://" in address else ""
        try:
            if scheme == "tcp":
                valid = bool(urlsplit(address).hostname and urlsplit(address).port)
            elif scheme in {"http", "https"}:
                valid = bool(urlsplit(address).hostname) and urlsplit(address).port != 0
            else:
                valid = bool(scheme) and databases.parse(address).dialect in _DIALECTS
        except ValueError:
            valid = False
        if not valid:
            raise checking.refusal(self._shown(), f"has to be {_KINDS}")

    def _shown(self) -> StepSettings:
        """Return the settings as they may be printed."""
        import dataclasses

        return dataclasses.replace(self._settings, value=self.where())
