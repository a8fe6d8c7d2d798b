"""Which settings cannot stand together?

Said in one place they are an error; otherwise the stronger place wins and the weaker one is said to be ignored.
"""

from __future__ import annotations

from launcher.errors import UsageError
from launcher.origin import Origin, Sourced
from launcher.settings.layers import Merged
from launcher.settings.nearest import nearest
from launcher.worker_classes import WORKER_CLASSES

_WSGI = frozenset({"sync", "gthread", "gevent", "gevent_wsgi", "gevent_pywsgi", "eventlet", "tornado"})
_GUNICORNS_OWN = "gunicorn.workers."


def settle(merged: Merged) -> None:
    """Check what is left after merging, change what has another name; raise UsageError for a contradiction."""
    _settle_app(merged)
    _settle_reload(merged)
    worker_class = merged.said("worker_class", str)
    if worker_class is not None:
        merged.winners["worker_class"] = Sourced(_worker_class(worker_class), worker_class.origin)


def _settle_app(merged: Merged) -> None:
    app, variable = merged.said("app", str), merged.said("variable", str)
    if app is None or variable is None or not (":" in app.value or app.origin.where == "--entrypoint"):
        return
    if merged.ranks["app"] == merged.ranks["variable"]:
        raise UsageError(
            f"{app.origin} ({app.value}) and {variable.origin} ({variable.value}) both name the variable",
            cure=f"leave {variable.origin} out",
        )
    merged.lose("variable", f"{app.origin} names the variable too")


def _settle_reload(merged: Merged) -> None:
    """Settle reload against several workers; gunicorn's own reloader goes with any number."""
    reload, workers = merged.said("reload", bool), merged.said("workers", int)
    if reload is None or not reload.value or workers is None or workers.value == 1:
        return
    if merged.value("server", str) == "gunicorn":
        return
    _lose_weaker(merged, reload.origin, workers.origin)


def _lose_weaker(merged: Merged, reload: Origin, workers: Origin) -> None:
    by_reload, by_workers = merged.ranks["reload"], merged.ranks["workers"]
    if by_reload == by_workers:
        raise UsageError(
            f"{reload} and {workers} do not go together: a reloading server is one process",
            cure="leave one of them out",
        )
    if by_workers < by_reload:
        merged.lose("reload", f"{workers} asks for more than one process")
    else:
        merged.lose("workers", f"{reload} means one process")


def _worker_class(said: Sourced[str]) -> str:
    name = said.value.strip().removeprefix("egg:gunicorn#")
    if name in WORKER_CLASSES:
        return WORKER_CLASSES[name]
    if name in _WSGI or name.startswith(_GUNICORNS_OWN):
        raise UsageError(
            f"{said.origin}: {name} is a worker for WSGI, and this starts ASGI applications",
            cure="leave it out, or write uvicorn or asgi",
        )
    if "." in name or ":" in name:
        return name
    found = nearest(name, ("uvicorn", "asgi"))
    raise UsageError(
        f"{said.origin}: {name!r} is no worker class",
        cure=f"did you mean {found}?" if found else "write uvicorn, asgi, or the dotted path of a class",
    )
