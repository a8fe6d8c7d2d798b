"""What is a lock's session called, and what does the lock's URL say besides where it is?"""

from __future__ import annotations

from launcher.databases import parse
from launcher.errors import UsageError
from launcher.locks import Owner

_HOST_LENGTH = 30  # with the rest and a process id at most 60 of PostgreSQL's 63 bytes


def shown_as(owner: Owner) -> str:
    """Return the application name of an owner's lock session."""
    host = owner.host.encode("ascii", "replace").decode()[:_HOST_LENGTH]
    return f"asgi-launcher lock {host} {owner.pid}"


def own_options(url: str) -> tuple[str, bool]:
    """Return the URL without the options that are ours, and whether `pooled=session` was said. Raises UsageError."""
    head, mark, query = url.partition("?")
    ours = [part for part in query.split("&") if part.startswith("pooled=")]
    rest = "&".join(part for part in query.split("&") if not part.startswith("pooled="))
    if any(part != "pooled=session" for part in ours):
        raise UsageError(
            f"{ours[0]} in the lock's URL: a lock needs a session of its own", cure="pooled=session, or a direct URL"
        )
    cleaned = head + (mark + rest if rest else "")
    try:
        parse(cleaned)
    except ValueError as error:
        raise UsageError(f"--lock: {error}") from None
    return cleaned, bool(ours)
