"""Which plugins have hooks?

Found without importing any: the source is looked through for the hooks' names, so that no process is started and no
worker loads a module for nothing. Where the source does not tell, a plugin may have every hook.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GROUP = "launcher"
HOOKS = ("launcher_event", "launcher_health_checks", "launcher_incident", "launcher_wrap_app")

_MENTIONED = re.compile(rb"\b(?:" + "|".join(HOOKS).encode() + rb")\b")
_IMPORT_OF_ALL = re.compile(rb"^\s*from\s.*\bimport\s*\(?\s*\*", re.MULTILINE)
# A plugin that is installed everywhere and used where its settings are: `launcher_only_with = "file"`, in the module,
# or a tuple, of which one is enough: `("file", "$VARIABLE")`.
_ONLY_WITH = re.compile(rb"""^launcher_only_with\s*=\s*(["'][^"'\n]+["']|\([^()\n]+\))""", re.MULTILINE)
_QUOTED = re.compile(rb"""["']([^"'\n]+)["']""")
_MOST_FILES = 200  # of a package that an object may come from; of a larger one it is not told
_HEADING = re.compile(rb"^\s*\[launcher\]", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class HookPlugin:
    """A plugin that has hooks.

    who: how a person calls it: distribution and version, or the module. target: `module` or `module:attribute`.
    """

    who: str
    target: str
    hooks: tuple[str, ...]

    def as_plan(self) -> dict[str, Any]:
        """Return it as it crosses to other processes (JSON); `HookPlugin.of_plan` reads it."""
        return {"who": self.who, "target": self.target, "hooks": list(self.hooks)}

    @classmethod
    def of_plan(cls, plan: Mapping[str, Any]) -> HookPlugin:
        """Return what `as_plan` wrote."""
        return cls(plan["who"], plan["target"], tuple(plan["hooks"]))


def hook_plugins(
    modules: Sequence[str] = (), import_dir: Path | None = None, *, unused: bool = False
) -> list[HookPlugin]:
    """Return those of `plugins = [...]`, in this order, then the installed ones.

    modules: names; looked for in `import_dir`, then as Python does. unused: also those whose file is not there. Costs
    1 ms where no such plugin is installed.
    """
    named = (HookPlugin(f"module {name}", name, mentioned(name, import_dir)) for name in modules)
    found = [plugin for plugin in (*named, *_installed()) if plugin.hooks]
    return found if unused else [plugin for plugin in found if _is_used(plugin, import_dir)]


def of_host(plugins: Iterable[HookPlugin]) -> list[dict[str, Any]]:
    """Return the plan's `hooks`: what the plugin host has to load; empty when it is not needed for them."""
    return [plugin.as_plan() for plugin in plugins if set(plugin.hooks) - {"launcher_wrap_app"}]


def of_workers(plugins: Iterable[HookPlugin]) -> list[str]:
    """Return the handover's `wrap_app`: what each worker has to load; almost always empty."""
    return [plugin.target for plugin in plugins if "launcher_wrap_app" in plugin.hooks]


def mentioned(target: str, import_dir: Path | None = None) -> tuple[str, ...]:
    """Return the hooks whose names stand in the source of a plugin; all of them where the source does not tell."""
    module, _, attribute = target.partition(":")
    found: set[str] = set()
    for path in (source := list(_source(module, attribute, import_dir))):
        try:
            text = path.read_bytes()
        except OSError:
            return HOOKS
        if not attribute and _IMPORT_OF_ALL.search(text):
            return HOOKS
        found |= {name.decode() for name in _MENTIONED.findall(text)}
    return tuple(sorted(found)) if source else HOOKS


def _is_used(plugin: HookPlugin, import_dir: Path | None) -> bool:
    """Tell whether a file that the plugin needs is there, in the working directory, or a variable set."""
    module = plugin.target.partition(":")[0]
    try:
        needed = [_ONLY_WITH.search(path.read_bytes()) for path in _source(module, "", import_dir)]
    except OSError:
        return True
    return all(any(map(_is_there, _QUOTED.findall(match[1]))) for match in needed if match)


def _is_there(needed: bytes) -> bool:
    name = os.fsdecode(needed)
    return bool(os.environ.get(name[1:], "").strip()) if name.startswith("$") else Path(name).exists()


def _source(module: str, attribute: str, import_dir: Path | None) -> Iterator[Path]:
    """Yield the files that may define the hooks; nothing when they cannot be found."""
    from launcher.discovery.files import installed_file, module_file

    file = (module_file(import_dir, module) if import_dir else None) or installed_file(module)
    if file is None:
        return
    if not attribute:
        yield file
        return
    files = sorted(file.parent.rglob("*.py")) if (file.parent / "__init__.py").is_file() else [file]
    if len(files) <= _MOST_FILES:  # the object's class may be in any of them
        yield from files


def _installed() -> list[HookPlugin]:
    """Return those that installed distributions register; of two with one name the first on the path, as Python has it.

    Read here, from the files that importlib.metadata reads, too: that takes 35 ms, in every start.
    """
    found: dict[str, list[tuple[str, str, str]]] = {}
    for folder in sys.path:
        for information in _informations(folder):
            if points := _points(_content(f"{information}/entry_points.txt")):
                name, version = _name_and_version(information)
                found.setdefault(name.lower(), [(*point, f"{name} {version}") for point in points])
    ordered = sorted(point for points in found.values() for point in points)
    return [HookPlugin(who, target, mentioned(target)) for _, target, who in ordered]


def _informations(folder: str) -> Iterator[str]:
    """Yield the folders of metadata of the distributions in a folder of the path; archives have none to offer."""
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 - half a millisecond instead of three, in every start
    except OSError:
        return
    for name in names:
        if name.endswith((".dist-info", ".egg-info")):
            yield f"{folder or '.'}/{name}"


def _points(entry_points: bytes) -> list[tuple[str, str]]:
    """Return names and values under our heading (packaging.python.org, "Entry points specification")."""
    if not (heading := _HEADING.search(entry_points)):
        return []
    section = re.split(rb"^\s*\[", entry_points[heading.end() :], maxsplit=1, flags=re.MULTILINE)[0]
    lines = (line.split(b"[")[0].partition(b"=") for line in section.splitlines())  # not the extras behind it
    points = [(os.fsdecode(name.strip()), os.fsdecode(value.strip())) for name, _, value in lines if value.strip()]
    return [(name, value) for name, value in points if not name.startswith(("#", ";"))]


def _name_and_version(information: str) -> tuple[str, str]:
    metadata = _content(f"{information}/METADATA") or _content(f"{information}/PKG-INFO")
    name, version = (
        re.search(rb"^" + field + rb":\s*(\S+)", metadata, re.MULTILINE) for field in (b"Name", b"Version")
    )
    return os.fsdecode(name[1] if name else b"?"), os.fsdecode(version[1] if version else b"?")


def _content(file: str) -> bytes:
    try:
        with open(file, "rb") as opened:  # noqa: PTH123 - as above
            return opened.read()
    except OSError:
        return b""
