"""What do well-known names say about the thing that is called?

Kept as data, so that no framework is imported to know its app.
"""

from __future__ import annotations

from enum import IntEnum

# Last parts that mean one thing wherever they are imported from: frameworks, adapters and the factories of the docs of
# each framework. `Router` is missing on purpose: Starlette's is an ASGI app, Litestar's is not.
ASGI_NAMES = frozenset(
    {
        *("FastAPI", "Starlette", "Litestar", "Starlite", "Quart", "QuartTrio", "Sanic", "Esmerald", "Ravyn", "Lilya"),
        *("FastHTML", "AsyncApp", "ASGIApp", "ProtocolTypeRouter", "get_asgi_application", "get_default_application"),
        *("make_asgi_app", "http_app", "streamable_http_app", "sse_app", "WsgiToAsgi", "WSGIMiddleware"),
    },
)
# Common words that mean an ASGI app only with their package before them.
ASGI_DOTTED = frozenset(
    {
        *("blacksheep.Application", "blacksheep.server.Application", "falcon.asgi.App", "micropie.App"),
        *("connexion.App", "connexion.FlaskApp", "ariadne.asgi.GraphQL", "strawberry.asgi.GraphQL"),
    },
)
WSGI_NAMES = frozenset({"Flask", "Bottle", "get_wsgi_application", "ProxyFix", "Dash", "APIFlask", "WhiteNoise"})
WSGI_DOTTED = frozenset({"falcon.App", "falcon.API"})
# Things people call `app` or `api` that no server can serve.
OTHER_NAMES = frozenset({"Typer", "Celery", "APIRouter", "Blueprint", "NinjaAPI", "QApplication", "ArgumentParser"})
OTHER_DOTTED = frozenset({"aiohttp.web.Application", "tornado.web.Application", "cyclopts.App"})
# The annotation of asgiref and of Starlette for "any ASGI app".
ASGI_TYPES = frozenset({"ASGIApp", "ASGIApplication", "ASGI3Application"})
FACTORY_NAMES = ("create_app", "make_app", "get_app", "build_app", "create_application", "app_factory")


class Shape(IntEnum):
    """What a name is bound to; where a condition decides between two, the greater one is meant."""

    OTHER = 0
    MODULE = 1
    FACTORY = 2
    WSGI = 3
    POSSIBLE = 4
    ASGI = 5


def well_known(dotted: str) -> Shape:
    """Return what calling something of this dotted name makes; POSSIBLE where the name says nothing."""
    last = dotted.rpartition(".")[2]
    if dotted in ASGI_DOTTED or last in ASGI_NAMES:
        return Shape.ASGI
    if dotted in WSGI_DOTTED or last in WSGI_NAMES:
        return Shape.WSGI
    return Shape.OTHER if dotted in OTHER_DOTTED or last in OTHER_NAMES else Shape.POSSIBLE
