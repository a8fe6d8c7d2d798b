"""Which of a module's names is its app, and what is said where none is?

Pure: it takes what `launcher.discovery.source` saw and returns a name, or the error that the caller raises or collects.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.discovery.names import FACTORY_NAMES, Shape
from launcher.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from launcher.discovery.source import Bound, ModuleNames

PREFERRED = ("app", "application", "api")
WSGI_CURE = "wrap it: asgi_app = asgiref.wsgi.WsgiToAsgi({name}), or serve it with plain gunicorn"


def choose(names: ModuleNames, where: str, module: str, *, factory: bool) -> Bound | UsageError:
    """Return the app (or, for `factory`, the factory) of a module shown as `where`, or the reason why there is none.

    Raises `UsageError` where several names are equally likely.
    """
    preferred = FACTORY_NAMES if factory else PREFERRED
    accepted = (Shape.FACTORY, Shape.POSSIBLE) if factory else (Shape.ASGI, Shape.POSSIBLE)
    for name in preferred:
        bound = names.bound.get(name)
        if bound and bound.shape in accepted:
            return bound
    likely = _likely(names, Shape.FACTORY if factory else Shape.ASGI)
    if len(likely) > 1:
        listed = ", ".join(f"`{bound}`" for bound in likely)
        kind = "factories" if factory else "ASGI apps"
        cure = f"say which: launcher run {module}:{likely[0].name}{' --factory' if factory else ''}"
        raise UsageError(f"{where} has several {kind}: {listed}", cure=cure)
    return likely[0] if likely else _why_none(names, where, module)


def refuse(names: ModuleNames, where: str, import_string: str, *, present: bool) -> UsageError | None:
    """Return the error for an attribute that the module does not have or that is a WSGI app; None if all is well."""
    module, _, attribute = import_string.partition(":")
    if not present:
        return _absent(names, where, module, attribute.partition(".")[0])
    bound = names.bound.get(attribute)
    return _wsgi(bound, where) if bound and bound.shape is Shape.WSGI else None


def _wsgi(bound: Bound, where: str) -> UsageError:
    return UsageError(f"{where}: `{bound}` is a WSGI app, not an ASGI app", cure=WSGI_CURE.format(name=bound.name))


def _absent(names: ModuleNames, where: str, module: str, name: str) -> UsageError:
    """Return the error for an attribute that the module does not have, with what was probably meant."""
    from difflib import get_close_matches

    apps = _likely(names, Shape.ASGI)
    near = get_close_matches(name, [bound.name for bound in apps] or list(names.bound), n=1)
    meant = near[0] if near else apps[0].name if apps else ""
    looks = f"; its ASGI apps: {_listed(apps)}" if apps else f"; it defines {_listed(names.bound.values())}"
    cure = f"did you mean {module}:{meant}?" if meant else "name what the module defines: launcher run module:attribute"
    return UsageError(f"{where} has no `{name}`{looks}", cure=cure)


def _likely(names: ModuleNames, shape: Shape) -> list[Bound]:
    """Return the names of one shape; an app that another one wraps counts only where nothing else does."""
    found = [bound for bound in names.bound.values() if bound.shape is shape]
    return [bound for bound in found if bound.name not in names.wrapped] or found


def _why_none(names: ModuleNames, where: str, module: str) -> UsageError:
    wsgi = _likely(names, Shape.WSGI)
    if wsgi:
        return _wsgi(wsgi[0], where)
    factories = _likely(names, Shape.FACTORY)
    if factories:
        call = f'launcher run "{module}:{factories[0].name}()"'
        cure = f"if the factory is meant: {call}, or {module}:{factories[0].name} --factory"
        return UsageError(f"{where}: no ASGI app, but the factory `{factories[0]}`", cure=cure)
    preferred = [names.bound[name] for name in PREFERRED if name in names.bound]
    if preferred:
        return UsageError(f"{where}: `{preferred[0]}` is not an ASGI app")
    if names.starred:
        return UsageError(f"{where}: no ASGI app to be seen, its star import may bring one")
    own = [bound for bound in names.bound.values() if not bound.node.__class__.__name__.startswith("Import")]
    return UsageError(f"{where}: no ASGI app, it defines {_listed(own)}")


def _listed(bounds: Iterable[Bound], most: int = 5) -> str:
    texts = [f"`{bound}`" for bound in bounds]
    more = f" and {len(texts) - most} more" if len(texts) > most else ""
    return (", ".join(texts[:most]) + more) or "nothing"
