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
# A plugin that is installed everywhere and used where its settings are: `launcher_only_with = "file"`, in the module.
_ONLY_WITH = re.compile(rb"""^launcher_only_with\s*=\s*["']([^"'\n]+)["']""", re.MULTILINE)
_MOST_FILES = 200  # of a package that an object may come from; of a larger one it is not told
_HEADING = re.compile(rb"^\s*\[\s*launcher\s*\]", re.MULTILINE)


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
    """Tell whether the file is there that the plugin needs, in the working directory."""
    module = plugin.target.partition(":")[0]
    try:
        needed = [_ONLY_WITH.search(path.read_bytes()) for path in _source(module, "", import_dir)]
    except OSError:
        return True
    return all(Path(os.fsdecode(match[1])).exists() for match in needed if match)


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


def _installed() -> Iterator[HookPlugin]:
    if not any(map(_has_our_group, sys.path)):
        return
    from importlib.metadata import entry_points  # 35 ms, where there is one

    for point in sorted(entry_points(group=GROUP), key=lambda point: (point.name, point.value)):
        who = f"{point.dist.name} {point.dist.version}" if point.dist else point.name
        yield HookPlugin(who, point.value, mentioned(point.value))


def _has_our_group(folder: str) -> bool:
    """Tell whether a distribution in this folder registers hooks. In doubt (an archive) it does."""
    try:
        names = os.listdir(folder or ".")  # noqa: PTH208 - half a millisecond instead of three, in every start
    except NotADirectoryError:
        return folder.endswith((".egg", ".whl"))
    except OSError:
        return False
    return any(
        _HEADING.search(_content(f"{folder or '.'}/{name}"))
        for name in names
        if name.endswith((".dist-info", ".egg-info"))
    )


def _content(folder: str) -> bytes:
    try:
        with open(f"{folder}/entry_points.txt", "rb") as file:  # noqa: PTH123 - as above
            return file.read()
    except OSError:
        return b""
