"""Which environment is there, with --env-file under it?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from launcher.errors import UsageError
from launcher.origin import Sourced
from launcher.settings.layers import Environment


def with_file(environ: Mapping[str, str], named: Sourced[object] | None, cwd: Path) -> Environment:
    """Return the environment; what a process's variables say is stronger than the file, as with uvicorn's --env-file.

    Raises UsageError when the file is not there or python-dotenv is not installed.
    """
    if named is None:
        return Environment(environ)
    name = str(named.value)
    path = cwd / name
    if not path.is_file():
        raise UsageError(f"{named.origin}: there is no file {name!r}", cure="correct its path, or leave it out")
    try:
        from dotenv import dotenv_values  # an optional package
    except ImportError:
        raise UsageError(
            f"{named.origin} needs python-dotenv, which is not installed", cure="pip install python-dotenv"
        ) from None
    try:
        read = dotenv_values(path, encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{named.origin}: {name} cannot be read: {error}", cure="check its permissions; save it as UTF-8"
        ) from None
    added = {key: value for key, value in read.items() if value is not None and key not in environ}
    return Environment({**added, **environ}, name, frozenset(added))
