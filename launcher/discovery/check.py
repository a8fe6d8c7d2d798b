"""Does a file hold the app it is said to hold?

Parsing costs milliseconds, so that a given attribute is first looked for as text: most files are never parsed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.discovery.files import ModuleFile, module_file
from launcher.errors import UsageError

if TYPE_CHECKING:
    from launcher.discovery.source import ModuleNames

# Words in a source without which nothing in it can be a WSGI app we know: they save parsing it.
WSGI_HINTS = ("Flask", "Bottle", "get_wsgi_application", "falcon", "Dash", "environ, start_response")
# A source with one of these may bind names that do not stand in it.
DYNAMIC_HINTS = ("import *", "__getattr__", "globals()", "vars()", "exec(", "setattr(")


def read(source: ModuleFile, where: str) -> ModuleNames:
    """Return the names that a file binds; raises `UsageError`, naming file and line, where it cannot be parsed."""
    from launcher.discovery.source import read_names

    def is_module(level: int, dotted: str) -> bool:
        # Relative imports start at the package: the file's own folder for one dot, one folder up for each more.
        parents = source.file.parents
        base = parents[min(level, len(parents)) - 1] if level else source.import_dir
        return module_file(base, dotted) is not None

    try:
        return read_names(source.file.read_bytes(), is_module)
    except SyntaxError as error:
        message = f"{where}:{error.lineno or 1}: {error.msg}"
        raise UsageError(message, cure="correct it, or name the app: launcher run module:attribute") from error
    except (OSError, ValueError, RecursionError) as error:
        raise UsageError(f"{where} cannot be read: {error}") from error


def check_attribute(
    source: ModuleFile, where: str, attribute: str, *, believe_unreadable: bool = False
) -> UsageError | None:
    """Return the error for an attribute that the source clearly does not have or that is a WSGI app.

    With `believe_unreadable` a file that cannot be parsed is the server's to report (exit 3); else `UsageError`.
    """
    try:
        text = source.file.read_text("utf-8", "replace")
    except OSError:
        return None
    first = attribute.partition(".")[0]
    present = mentions(text, first) or any(hint in text for hint in DYNAMIC_HINTS) or _is_submodule(source, first)
    if present and not any(hint in text for hint in WSGI_HINTS):
        return None
    return _parsed(source, where, attribute, present=present, believe_unreadable=believe_unreadable)


def mentions(text: str, name: str) -> bool:
    """Tell whether `name` stands in a source as a word of its own: cheap, and never wrong when it says no."""
    at = text.find(name)
    while at >= 0:
        around = text[max(at - 1, 0) : at] + text[at + len(name) : at + len(name) + 1]
        if not any(character.isalnum() or character == "_" for character in around):
            return True
        at = text.find(name, at + 1)
    return False


def _parsed(
    source: ModuleFile, where: str, attribute: str, *, present: bool, believe_unreadable: bool
) -> UsageError | None:
    from launcher.discovery.choice import refuse

    try:
        names = read(source, where)
    except UsageError:
        if believe_unreadable:
            return None
        raise
    return refuse(names, where, f"{source.module}:{attribute}", present=present)


def _is_submodule(source: ModuleFile, name: str) -> bool:
    return source.file.name == "__init__.py" and module_file(source.file.parent, name) is not None
