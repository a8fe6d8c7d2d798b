"""How are a plugin's hooks found and called?

Registered with pluggy, which checks their arguments, and called one by one, so that the one that fails is known by
name. Used where plugins run: in the plugin host, and in workers for `launcher_wrap_app`.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import pluggy

from launcher import hookspecs
from launcher.hook_plugins import HOOKS
from launcher.records import is_async

CONTAINED = (Exception, SystemExit, GeneratorExit)  # what a plugin may raise without ending whom it is in


class Refused(Exception):
    """A plugin, or one of its functions, cannot be used."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """One plugin's function of one hook."""

    who: str
    hook: str
    function: Callable[..., Any]
    argnames: tuple[str, ...]

    def __call__(self, **given: Any) -> Any:
        """Call it with those of the hook's arguments that it takes. Raises what it raises; Refused for a coroutine."""
        result = self.function(*(given[name] for name in self.argnames))
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            raise Refused(f"{self.hook} returned something to be awaited")
        return result


@dataclass(slots=True)
class Hooks:
    """The plugins that were loaded.

    refused: whoever or whatever could not be used, with the reason: (who, because).
    """

    refused: list[tuple[str, str]] = field(default_factory=list)
    _manager: _Manager = field(init=False)

    def __post_init__(self) -> None:
        """Begin without plugins."""
        self._manager = _Manager(self.refused)

    def load(self, who: str, target: str) -> bool:
        """Import a plugin and register its hooks; False when it is refused. Never raises for what it does."""
        try:
            self._manager.register(_resolved(target), name=who)
        except pluggy.PluginValidationError as error:
            self.refused.append((who, _one_line(error)))
        except CONTAINED as error:
            self.refused.append((who, f"{target}: {type(error).__name__}: {_one_line(error)}"))
        else:
            return True
        return False

    def implementations(self, hook: str) -> list[Implementation]:
        """Return who implements a hook, in pluggy's order of calls: the one registered last is called first."""
        impls: Iterable[pluggy.HookImpl] = reversed(getattr(self._manager.hook, hook).get_hookimpls())
        return [Implementation(impl.plugin_name, hook, impl.function, tuple(impl.argnames)) for impl in impls]


class _Manager(pluggy.PluginManager):
    """pluggy's, which takes functions by their names, too, and refuses those that cannot be called one by one."""

    def __init__(self, refused: list[tuple[str, str]]) -> None:
        super().__init__(hookspecs.PROJECT)
        self.add_hookspecs(hookspecs)
        self.refused, self.who = refused, ""

    def register(self, plugin: object, name: str | None = None) -> str | None:
        self.who = name or ""
        return super().register(plugin, name)

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> pluggy.HookimplOpts | None:
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and not _is_meant(plugin, name):
            return None
        options = options or pluggy.HookimplOpts(
            wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
        )
        hook = options.get("specname") or name
        if because := _unfit(hook, getattr(plugin, name), options):
            self.refused.append((self.who, because))
            return None
        return options


def _is_meant(plugin: object, name: str) -> bool:
    """Tell whether an undecorated attribute is a hook by its name; `launcher_steps` and the like are dictionaries."""
    return name.startswith("launcher_") and inspect.isroutine(getattr(plugin, name))


def _unfit(hook: str, function: object, options: pluggy.HookimplOpts) -> str:
    if hook not in HOOKS:
        return "" if options.get("optionalhook") else f"there is no hook {hook}: {', '.join(HOOKS)}"
    if options.get("wrapper") or options.get("hookwrapper"):
        return f"{hook} is a wrapper; each implementation is called by itself"
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        return f"{hook} is no function"
    return f"{hook} is `async def`; it is called in a thread, where it may block" if is_async(function) else ""


def _resolved(target: str) -> object:
    module, _, attribute = target.partition(":")
    value: object = importlib.import_module(module)
    for part in attribute.split(".") if attribute else ():
        value = getattr(value, part)
    if inspect.isclass(value):
        raise Refused("it is a class; name a module or an instance")
    return value


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())
