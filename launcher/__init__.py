"""What may an application or a plugin import?"""

from __future__ import annotations

TYPE_CHECKING = False  # type checkers know the name; `typing` would be most of what this import costs
if TYPE_CHECKING:
    from launcher.hookspecs import hookimpl
    from launcher.records import Event, HealthCheck, Incident, PluginSettings

__all__ = ["Event", "HealthCheck", "Incident", "PluginSettings", "__version__", "hookimpl"]

__version__ = "0.1.0"

# Loaded when they are asked for: every start imports this module, and few need these.
_FROM = {
    "Event": "launcher.records",
    "HealthCheck": "launcher.records",
    "Incident": "launcher.records",
    "PluginSettings": "launcher.records",
    "hookimpl": "launcher.hookspecs",
}


def __getattr__(name: str) -> object:
    """Return a public name of another module."""
    if name not in _FROM:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_FROM[name]), name)
