"""Where are the reports kept?

In the folder that was named, else beside the management socket: in the first place of this user that is safe and can be
written. None outlives its container, but for a folder on a volume, which has to be named.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from launcher.instances.runtime_places import Place, make, places, user

FOLDER = "crashes"


def crash_folder(
    environ: Mapping[str, str], named: Path | None = None, *, usual: Sequence[Place] | None = None
) -> tuple[Path | None, str]:
    """Return the folder, made with mode 0700 when it was missing, and ""; or None, and why there is none.

    named: the only folder to use. usual: the places to try without one, the best first. Never raises.
    """
    if named is not None:
        place = Place(named.absolute(), user())
        because = _why_not(place, named=True)
        return (None, because) if because else (place.path, "")
    because = "no folder of this user is there"
    for place in places(environ) if usual is None else usual:
        own = Place(place.path / FOLDER, place.owner, private=place.private)
        if not (because := _why_not(place) or _why_not(own, named=True)):
            return own.path, ""
    return None, because


def _why_not(place: Place, *, named: bool = False) -> str:
    try:
        return make(place, named=named)
    except (OSError, ValueError) as error:  # gone again; a null byte in the name
        return f"{place.path!s} cannot be used: {error}"
