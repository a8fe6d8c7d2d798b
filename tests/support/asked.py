"""How does a test ask for settings, away from this machine's own files and variables?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from launcher.errors import UsageError
from launcher.settings.load import load
from launcher.settings.topics import Settings


def asked(
    folder: Path,
    given: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> Settings:
    """Return the settings of a project in `folder`; `files` are written first, `root/…` is the root directory."""
    for name, text in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return load(given or {}, cwd=folder, environ=environ or {}, root=folder / "root")


def refusal(
    folder: Path,
    given: Mapping[str, object] | None = None,
    environ: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
) -> UsageError:
    """Return the error that ends the reading of these settings."""
    try:
        settings = asked(folder, given, environ, files)
    except UsageError as error:
        return error
    raise AssertionError(f"nothing was refused: {settings}")


def reasons(settings: Settings) -> dict[str, str]:
    """Return what was set without effect: the place → the reason."""
    return {ignored.origin.where: ignored.because for ignored in settings.ignored}
