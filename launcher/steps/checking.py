"""Is a `[[prestart]]` table as its step type needs it?

Every refusal names the table and the place where it was written.
"""

from __future__ import annotations

from launcher.errors import UsageError
from launcher.steps import StepSettings


def refusal(settings: StepSettings, why: str, cure: str = "") -> UsageError:
    """Return the error for this table."""
    return UsageError(
        f"step {settings.name!r}, {settings.type} = {settings.value!r}: {why} ({settings.origin})", cure=cure
    )


def text(settings: StepSettings, what: str) -> str:
    """Return the value, stripped, which has to be a string that says something. Raises UsageError."""
    if not isinstance(settings.value, str) or not settings.value.strip():
        raise refusal(settings, f"has to be {what}")
    return settings.value.strip()


def options(settings: StepSettings, *known: str) -> dict[str, str]:
    """Return the further keys, each a string. Raises UsageError for another type and for a key that is not known."""
    for key, value in settings.options.items():
        if key not in known:
            raise refusal(settings, f"unknown key {key!r}", cure=_nearest(key, known))
        if not isinstance(value, str) or not value.strip():
            raise refusal(settings, f"{key} has to be a string, not {value!r}")
    return {key: str(value).strip() for key, value in settings.options.items()}


def _nearest(key: str, known: tuple[str, ...]) -> str:
    import difflib

    names = [*known, "name", "once_per", "timeout", "attempts", "files"]
    close = difflib.get_close_matches(key, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"it knows {', '.join(sorted(names))}"
