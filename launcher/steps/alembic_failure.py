"""Why could env.py not be asked?

A database that does not answer may answer soon; a mistake in env.py will not go away. Told apart where the exception
is, in the child, and reported: the launcher only ever sees an exit status and an output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launcher.masking import masked

if TYPE_CHECKING:
    from launcher.steps import Finished

_LONGEST = 500  # characters: a driver may list every address it tried
# Of DB-API 2.0 (PEP 249), of the operating system, and asyncpg's, which has classes of its own.
_UNREACHABLE = frozenset(
    {"OperationalError", "InterfaceError", "ConnectionError", "TimeoutError", "gaierror", "herror"}
    | {"PostgresConnectionError", "CannotConnectNowError", "TooManyConnectionsError"}
)
_MISUSE = (TypeError, ValueError, AttributeError, ImportError)  # an option the driver does not take
# SQLAlchemy's own: an asynchronous driver in a synchronous engine (MissingGreenlet is one of these), a bad URL.
_MISUSE_NAMES = frozenset({"InvalidRequestError", "ArgumentError"})


@dataclass(frozen=True, slots=True, kw_only=True)
class AskingFailed:
    """How asking env.py ended instead. Both texts are redacted."""

    text: str  # one line
    tail: str = ""  # the end of env.py's output
    unreachable: bool = False  # a database did not answer (or nothing did, in time): another try may help
    denied: bool = False  # the database answered, and knows no such user or another password


def failure(result: Finished, told: Mapping[str, Any]) -> AskingFailed:
    """Return why, from how the child ended and what it reported."""
    tail = masked(result.tail.strip())
    if result.timed_out:
        return AskingFailed(text="it took too long", tail=tail, unreachable=True)
    failed = told.get("failed")
    if isinstance(failed, dict):
        text, unreachable = masked(str(failed.get("text"))), failed.get("unreachable") is True
        denied = failed.get("denied") is True
        return AskingFailed(text=text, tail=tail, unreachable=unreachable, denied=denied)
    if result.ok:
        return AskingFailed(text="env.py configured no database" if told else "env.py ended the process", tail=tail)
    return AskingFailed(text=tail.rpartition("\n")[2] or f"exit status {result.status}", tail=tail)


def told_of(error: BaseException) -> dict[str, object]:
    """Return what the child reports of an exception that came out of env.py."""
    original = getattr(error, "orig", None) or error  # without SQLAlchemy's statement and link
    words = " ".join(str(original).split())[:_LONGEST]
    denied = _is(error, "Denied")
    unreachable = any(_is_unreachable(each) for each in _chain(error)) and not denied
    text = ": ".join(filter(None, (type(original).__name__, words)))
    return {"text": text, "unreachable": unreachable, "denied": denied}


def is_crowded(error: BaseException) -> bool:
    """Whether the server is there and had no connection free: nothing was done, and another try soon may get one."""
    return _is(error, "Crowded")


def _is(error: BaseException, kind: str) -> bool:
    """Whether one of the exceptions behind it means what `launcher.databases` calls `kind`."""
    from launcher import databases

    wanted = getattr(databases, kind)
    chain = [each for each in _chain(error) if isinstance(each, Exception)]
    return any(isinstance(databases.translated(each, ""), wanted) for each in chain)


def _is_unreachable(error: BaseException) -> bool:
    if getattr(error, "connection_invalidated", False):  # SQLAlchemy's: the server went away
        return True
    if type(error).__module__.partition(".")[0] == "sqlite3" or isinstance(error, _MISUSE):
        return False  # a file is there or not
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & _MISUSE_NAMES:
        return False
    return not names.isdisjoint(_UNREACHABLE) or _while_connecting(error)


def _while_connecting(error: BaseException) -> bool:
    """Whether it came out of a connection pool of SQLAlchemy's that was making a connection, `creator` or not."""
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name == "__connect" and trace.tb_frame.f_globals.get("__name__") == "sqlalchemy.pool.base":
            return True
        trace = trace.tb_next
    return False


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the exception and those behind it, `from None` or not: env.py may have put its own words in front."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        yield error
        seen.add(id(error))
        error = error.__cause__ or error.__context__
