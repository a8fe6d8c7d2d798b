"""Which class do the workers really get?

Under all of their names uvicorn's and gunicorn's own ASGI class are ours, and so is a class of the application's that
only configures uvicorn's (`CONFIG_KWARGS`): what it would lose by it is nothing that it has said anything about.
"""

from __future__ import annotations

from typing import Any

from gunicorn.workers import SUPPORTED_WORKERS

from launcher.errors import UsageError
from launcher.worker_classes import WORKER_CLASSES

# uvicorn's module is deprecated, and uvicorn-worker's class is its successor.
_UVICORNS = ("uvicorn_worker._workers.UvicornWorker", "uvicorn.workers.UvicornWorker")
_GUNICORNS = "gunicorn.workers."


def known_name(configured: object) -> object:
    """Return the short name of what `worker_class` holds (a name, a dotted name, a class); as it is, if it has none."""
    name = _name(configured)
    return "uvicorn" if name in _UVICORNS else WORKER_CLASSES.get(name, configured)


def refuse_wsgi(configured: object) -> None:
    """Raise UsageError for a class of gunicorn's that cannot serve an ASGI application."""
    name = _name(configured)
    if name not in WORKER_CLASSES and (name in SUPPORTED_WORKERS or name.startswith(_GUNICORNS)):
        raise UsageError(f"worker_class: {name} is a worker for WSGI, and this serves an ASGI application")


def as_ours(cls: Any) -> Any:
    """Return a class that serves as uvicorn's does as one of ours, any other as it is."""
    if getattr(cls, "knows_the_pool", False):
        return cls
    uvicorns = next((one for one in cls.__mro__ if _name(one) in _UVICORNS), None)
    if uvicorns is None or cls.run is not uvicorns.run or cls._serve is not uvicorns._serve:  # noqa: SLF001 - what uvicorn's own subclass overrides, too
        return cls
    from launcher.serving.gunicorn.worker import PoolWorker

    return type(cls.__name__, (PoolWorker, cls), {"__module__": cls.__module__, "__doc__": cls.__doc__})


def _name(configured: object) -> str:
    if isinstance(configured, type):
        return f"{configured.__module__}.{configured.__qualname__}"
    return str(configured).removeprefix("egg:gunicorn#")
