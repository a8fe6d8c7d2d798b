"""Which app?

APP is `module:attribute`, `module:factory()`, a module, a file, a folder, or nothing (DESIGN §6). The application is
never imported here: where an attribute has to be found, the source is read (`launcher.discovery.source`).
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from launcher.discovery.files import (
    PACKAGE_FILES,
    ModuleFile,
    candidate_groups,
    folder_files,
    installed_file,
    module_file,
    named_as_fastapi,
    named_below,
    names_in,
    shown,
)
from launcher.errors import UsageError
from launcher.origin import DEFAULT, Origin, Sourced

if TYPE_CHECKING:
    from launcher.discovery.source import Bound, ModuleNames

CURE = "name it: launcher run module:attribute"


@dataclass(frozen=True, slots=True)
class AppRequest:
    """What the settings say about the app; every field may be empty.

    `app` is the APP argument or whichever setting stands for it, already chosen by precedence; `variable` is the name
    given with `--app`, as in `fastapi run FILE --app NAME`; `app_dir` is relative to the working directory.
    """

    app: Sourced[str] | None = None
    variable: Sourced[str] | None = None
    factory: bool = False
    app_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class App:
    """The app in the form servers take, `module:attribute`, with why it is this one.

    `import_dir` is absolute and has to be on `sys.path`; with `factory` the attribute is called without arguments.
    """

    import_string: str
    factory: bool
    import_dir: Path
    because: str
    origin: Origin


class _NoAppError(UsageError):
    """No app in one module: final for a module that was asked for, one more line for a search."""


@dataclass(frozen=True, slots=True)
class _Search:
    """What every way of finding needs to know."""

    cwd: Path
    root: Path
    app_dir_given: bool
    attribute: str
    factory: bool
    origin: Origin

    def named(self, file: Path) -> ModuleFile:
        below = named_below(file, self.root) if self.app_dir_given else None
        source = below or named_as_fastapi(file)
        if "." in source.file.stem:
            message = f"{self.shown(file)} cannot be imported: a module's name has no dot"
            raise UsageError(message, cure="rename the file")
        return source

    def shown(self, path: Path) -> str:
        return shown(path, self.cwd)


def find_app(request: AppRequest, cwd: Path) -> App:
    """Return the app that `request` means, seen from the absolute folder `cwd`.

    Raises `UsageError` where there is none, where there are several, or where it cannot be an ASGI app; never for an
    explicit `module:attribute` whose file is not found, because it may be installed.
    """
    text = request.app.value.strip() if request.app else ""
    search = _search(request, cwd, request.app.origin if request.app and text else None)
    if not text:
        return _in_tree(search)
    target, attribute = _split(text)
    if attribute is not None and request.variable:
        message = f"both {text} ({search.origin}) and {request.variable.origin} name a variable"
        raise UsageError(message, cure="leave one of them out")
    if attribute is not None:
        name, factory = _attribute(attribute)
        search = replace(search, attribute=name, factory=request.factory or factory)
    if _is_path(target, search, has_attribute=attribute is not None):
        return _at_path(target, search)
    if not target or any(not part or set(part) & set(" \t\"'()") for part in target.split(".")):
        raise UsageError(f"{text!r} ({search.origin}) is not a module, a file or a folder", cure=CURE)
    return _named(target, search) if search.attribute else _in_module(target, search)


def _search(request: AppRequest, cwd: Path, origin: Origin | None) -> _Search:
    root = Path(os.path.abspath(cwd / (request.app_dir or ".")))  # noqa: PTH100 - resolve() would follow symlinks
    if not root.is_dir():
        raise UsageError(f"--app-dir {request.app_dir} is not a folder")
    variable = request.variable
    chosen = origin or (variable.origin if variable else DEFAULT)
    name, factory = _attribute(variable.value) if variable else ("", False)
    return _Search(cwd, root, bool(request.app_dir), name, request.factory or factory, chosen)


def _attribute(text: str) -> tuple[str, bool]:
    """Return the name in `attribute` or `factory()`, and whether it is to be called."""
    name = text.strip().removesuffix("()")
    if not all(part.isidentifier() for part in name.split(".")):
        raise UsageError(f"{text!r} is not the name of an app in a module", cure="module:attribute or module:factory()")
    return name, text.strip().endswith("()")


def _split(text: str) -> tuple[str, str | None]:
    """Split at the last colon, unless it is the one after a drive's letter in a Windows path."""
    target, colon, attribute = text.rpartition(":")
    if not colon or "/" in attribute or "\\" in attribute:
        return text, None
    return target, attribute


def _is_path(target: str, search: _Search, *, has_attribute: bool) -> bool:
    if target.endswith(".py") or "/" in target or "\\" in target or target in {".", ".."}:
        return True
    return not has_attribute and (search.cwd / target).is_dir() and _source_of(target, search) is None


def _source_of(module: str, search: _Search) -> ModuleFile | None:
    """Return a module's file below the import folder, or below `src` where that one has none."""
    folders = [search.root] if search.app_dir_given else [search.root, search.root / "src"]
    found = ((folder, module_file(folder, module)) for folder in folders)
    return next((ModuleFile(file, module, folder) for folder, file in found if file), None)


def _named(module: str, search: _Search) -> App:
    """Handle `module:attribute`: believed, except where the module's own source speaks against it."""
    source = _source_of(module, search)
    if source is None:
        because = f"not found below {search.root}: expected to be installed"
        return _app(ModuleFile(search.root, module, search.root), search, because)
    return _checked(source, search, believe_unreadable=True)


def _in_module(module: str, search: _Search) -> App:
    source = _source_of(module, search)
    if source is None:
        file = installed_file(module)
        if file is None:
            raise UsageError(f"there is no module {module} below {search.root}, and none installed", cure=CURE)
        source = ModuleFile(file, module, search.root)
    return _app_in_one(_with_submodules(source), search)


def _with_submodules(source: ModuleFile) -> list[ModuleFile]:
    """Return a module and, for a package, the files in it that may hold the app its `__init__.py` does not."""
    if source.file.name != "__init__.py":
        return [source]
    inner = [file for file in folder_files(source.file.parent) if file.name != "__init__.py"]
    return [source, *(ModuleFile(file, f"{source.module}.{file.stem}", source.import_dir) for file in inner)]


def _at_path(target: str, search: _Search) -> App:
    path = next((each for each in (search.cwd / target, search.root / target) if each.exists()), None)
    if path is None:
        message = f"{target} ({search.origin}) does not exist below {search.cwd}"
        raise UsageError(message, cure=_nearest_file(target, search))
    if path.is_dir():
        files = folder_files(path)
        if not files:
            raise UsageError(f"the folder {target} has none of {', '.join(PACKAGE_FILES)}", cure=CURE)
        return _app_in_one([search.named(file) for file in files], search)
    if path.suffix != ".py":
        raise UsageError(f"{target} ({search.origin}) is not a Python file", cure=CURE)
    return _app_in_one([search.named(path)], search)


def _nearest_file(target: str, search: _Search) -> str:
    from difflib import get_close_matches

    missing = search.cwd / target
    near = get_close_matches(missing.name, sorted(names_in(missing.parent)), n=1)
    return f"did you mean {search.shown(missing.parent / near[0])}?" if near else CURE


def _app_in_one(sources: list[ModuleFile], search: _Search) -> App:
    """Return the app of the first file that has one; where none has, the first file's reason is the error."""
    misses: list[_NoAppError] = []
    for source in sources:
        try:
            return _app_in(source, search)
        except _NoAppError as miss:
            misses.append(miss)
    if len(misses) == 1:
        raise misses[0]
    raise _nothing("no app was found", misses)


def _in_tree(search: _Search) -> App:
    """Search the usual places; equal places with one app each are a question for the user."""
    misses: list[_NoAppError] = []
    tried: set[Path] = set()
    for group in candidate_groups(search.root):
        apps: list[App] = []
        for place in group:
            new = [file for file in place if file not in tried]
            tried.update(new)
            apps += _first_app(new, search, misses)
        if len(apps) > 1:
            found = ", ".join(app.import_string for app in apps)
            cure = f"say which: launcher run {apps[0].import_string}"
            raise UsageError(f"several apps were found: {found}", cure=cure)
        if apps:
            return apps[0]
    looked = "main.py, app.py, api.py, asgi.py, the same in app/, */asgi.py, src/*/"
    raise _nothing(f"no app was found in {search.root} (looked for {looked})", misses)


def _first_app(files: list[Path], search: _Search, misses: list[_NoAppError]) -> list[App]:
    for file in files:
        try:
            return [_app_in(search.named(file), search)]
        except _NoAppError as miss:
            misses.append(miss)
    return []


def _nothing(headline: str, misses: list[_NoAppError]) -> UsageError:
    lines = [headline, *(f"  {miss.message}" for miss in misses)]
    cure = next((miss.cure for miss in misses if miss.cure != CURE), CURE)
    return _NoAppError("\n".join(lines if misses else [f"{headline}: none of them exists"]), cure=cure)


def _app_in(source: ModuleFile, search: _Search) -> App:
    """Return the app of one file, its attribute given or found."""
    if search.attribute:
        return _checked(source, search)
    from launcher.discovery.check import read
    from launcher.discovery.choice import choose

    where = search.shown(source.file)
    names = read(source, where)
    bound = choose(names, where, source.module, factory=search.factory)
    if isinstance(bound, UsageError):
        raise _NoAppError(bound.message, cure=bound.cure or CURE)
    trouble = _relative_trouble(source, names, bound)
    return _app(source, replace(search, attribute=bound.name), f"found {where}, its `{bound}`{trouble}")


def _checked(source: ModuleFile, search: _Search, *, believe_unreadable: bool = False) -> App:
    """Return the app under the given attribute, unless the source clearly speaks against it."""
    from launcher.discovery.check import check_attribute

    where = search.shown(source.file)
    error = check_attribute(source, where, search.attribute, believe_unreadable=believe_unreadable)
    if error:
        raise _NoAppError(error.message, cure=error.cure)
    return _app(source, search, f"found {where}")


def _app(source: ModuleFile, search: _Search, found: str) -> App:
    asked = f"asked for by {search.origin}, " if search.origin is not DEFAULT else ""
    import_string = f"{source.module}:{search.attribute}"
    return App(import_string, search.factory, source.import_dir, asked + found, search.origin)


def _relative_trouble(source: ModuleFile, names: ModuleNames, bound: Bound) -> str:
    """Say that relative imports cannot work in a top-level module, which FastAPI's naming may make of a file."""
    if not names.relative or "." in source.module or source.file.name == "__init__.py":
        return ""
    folder = source.import_dir.name
    return f"; its relative imports need {folder}/__init__.py, or `launcher run {folder}.{source.module}:{bound.name}`"
