"""Which known name did they mean?"""

from __future__ import annotations

from collections.abc import Iterable

from launcher.settings.options import ALIASES, BY_NAME


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the known word most like `word`, or None when none is alike."""
    import difflib  # only for a message that ends the program

    found = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return found[0] if found else None


def nearest_option(key: str) -> str | None:
    """Return the option name meant by `key`: a neighbour's word for it (`timeout`), or a misspelling."""
    word = key.lower().replace("-", "_")
    found = word if word in BY_NAME or word in ALIASES else nearest(word, [*BY_NAME, *ALIASES])
    return ALIASES[found][0].name if found and found in ALIASES else found
