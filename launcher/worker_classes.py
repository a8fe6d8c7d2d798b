"""Under which names is a worker class known?

Neutral: the settings go by it, and so does the server, which has no use for the rest of the settings.
"""

from __future__ import annotations

from types import MappingProxyType

# Under their shorter names; gunicorn's import path of the first is deprecated since uvicorn 0.30.
WORKER_CLASSES = MappingProxyType(
    {
        "uvicorn": "uvicorn",
        "uvicorn.workers.UvicornWorker": "uvicorn",
        "uvicorn_worker.UvicornWorker": "uvicorn",
        "asgi": "asgi",
        "gunicorn.workers.gasgi.ASGIWorker": "asgi",
    }
)
