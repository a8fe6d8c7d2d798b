"""What was asked for, and where was it said?"""

from __future__ import annotations

from launcher.settings.load import load
from launcher.settings.topics import (
    AppSettings,
    BindSettings,
    HttpSettings,
    LogSettings,
    OncePer,
    PoolSettings,
    Prestart,
    PrestartSettings,
    Settings,
    StepSettings,
    UnknownRevision,
)

__all__ = [
    "AppSettings",
    "BindSettings",
    "HttpSettings",
    "LogSettings",
    "OncePer",
    "PoolSettings",
    "Prestart",
    "PrestartSettings",
    "Settings",
    "StepSettings",
    "UnknownRevision",
    "load",
]
