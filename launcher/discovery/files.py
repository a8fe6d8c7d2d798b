"""Where in a file tree could the application be, and what does Python call a file there?

Nothing is imported: modules are found as the import system's own path finder would find them.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

FILES = ("main.py", "app.py", "api.py", "asgi.py")
PACKAGE_FILES = (*FILES, "__init__.py")
# Folders that hold copies, other people's code, or apps that are not the one to serve.
SKIPPED = frozenset({"node_modules", "tests", "test", "migrations", "__pycache__", "site-packages", "build", "dist"})


@dataclass(frozen=True, slots=True)
class ModuleFile:
    """One source file, the module it is, and the folder that has to be on `sys.path` for that."""

    file: Path
    module: str
    import_dir: Path


def named_as_fastapi(file: Path) -> ModuleFile:
    """Return the module of a file as `fastapi run FILE` names it (fastapi-cli 0.0, `evidence/peers.md` §4.3).

    Folders with an `__init__.py` belong to the module's name; the first one without is the import folder.
    """
    resolved = file.resolve()
    parts = [] if resolved.name == "__init__.py" else [resolved.stem]
    folder = resolved.parent
    while (folder / "__init__.py").is_file() and folder.name:
        parts.insert(0, folder.name)
        folder = folder.parent
    return ModuleFile(resolved, ".".join(parts), folder)


def named_below(file: Path, import_dir: Path) -> ModuleFile | None:
    """Return the module of a file as seen from `import_dir`, or None where it is not below it."""
    resolved, root = file.resolve(), import_dir.resolve()
    if not resolved.is_relative_to(root):
        return None
    parts = resolved.relative_to(root).with_suffix("").parts
    return ModuleFile(resolved, ".".join(parts[:-1] if parts[-1] == "__init__" else parts), root)


def module_file(import_dir: Path, module: str) -> Path | None:
    """Return the source of a dotted module below a folder: a package goes before a file, as in Python's path finder."""
    base = import_dir.joinpath(*module.split("."))
    candidates = (base / "__init__.py", base.with_name(f"{base.name}.py"))
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def installed_file(module: str) -> Path | None:
    """Return the source of an installed module, looked up along `sys.path` without importing its parents."""
    from importlib.machinery import PathFinder

    path: list[str] | None = None
    origin: str | None = None
    for name in module.split("."):
        spec = PathFinder.find_spec(name, path)
        if spec is None:
            return None
        path, origin = list(spec.submodule_search_locations or ()), spec.origin
    return Path(origin) if origin and origin.endswith(".py") else None


def candidate_groups(root: Path) -> Iterator[list[list[Path]]]:
    """Yield where an app may be, best first: groups of equal places, each place its files in order of preference."""
    yield [_present(root, FILES)]
    yield [_present(root / "app", PACKAGE_FILES)]
    yield [_present(folder, ("asgi.py",)) for folder in _folders(root)]
    yield [_present(root / "src", FILES)]
    yield [_present(folder, PACKAGE_FILES) for folder in _folders(root / "src")]


def folder_files(folder: Path) -> list[Path]:
    """Return the files of one folder that may hold its app: a package's own `__init__.py` first."""
    return _present(folder, ("__init__.py", *FILES))


def shown(path: Path, base: Path) -> str:
    """Return a path as the user would type it: relative to `base` where it is below, with forward slashes."""
    resolved, root = path.resolve(), base.resolve()
    return resolved.relative_to(root).as_posix() if resolved.is_relative_to(root) else str(path)


def names_in(folder: Path) -> set[str]:
    """Return the exact names in a folder; none where it cannot be read."""
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()


def _present(folder: Path, names: tuple[str, ...]) -> list[Path]:
    # The listing, not is_file() alone: where the file system ignores case, `Main.py` cannot be imported as `main`.
    listing = names_in(folder)
    return [folder / name for name in names if name in listing and (folder / name).is_file()]


def _folders(root: Path) -> list[Path]:
    names = sorted(name for name in names_in(root) if name not in SKIPPED and not name.startswith("."))
    folders = (root / name for name in names if (root / name).is_dir())
    return [folder for folder in folders if not (folder / "pyvenv.cfg").exists()]
