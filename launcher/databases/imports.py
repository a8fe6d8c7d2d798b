"""Is the driver there?"""

from __future__ import annotations

import importlib
from typing import Any

from launcher.databases.errors import CannotAsk


def driver(name: str) -> Any:
    """Return the driver's module. Raises CannotAsk."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise CannotAsk(f"the driver {name} cannot be imported: {error}") from None
