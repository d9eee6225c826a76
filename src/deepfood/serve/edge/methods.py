"""HEAD wherever there is GET, the methods for the Allow header, and redirects without a slash."""

from collections.abc import Iterable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Show HEAD to the routes as GET; uvicorn leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # In place: the middleware outside reads the route that the router puts into this scope.
        scope["method"] = "GET"

        async def send_as_head(message: Message) -> None:
            scope["method"] = "HEAD"
            await send(message)

        try:
            await self._app(scope, receive, send_as_head)
        finally:
            scope["method"] = "HEAD"


def methods_at(routes: Iterable[BaseRoute], path: str) -> set[str]:
    """The methods that a path answers; an empty set where no route matches."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            found |= route.methods or set()
        elif isinstance(route, Mount) and route.path_regex.match(path):
            found.add("GET")  # of static files
    return found | ({"HEAD"} if "GET" in found else set())


def without_slash(
    request: Request, routes: Iterable[BaseRoute], public_url: str
) -> Response | None:
    """A redirect to the path without the slashes at its end, below `public_url`, if that exists."""
    path = request.url.path.rstrip("/")
    if path == request.url.path or not methods_at(routes, path):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    # Never made from the Host that the client sent.
    return RedirectResponse(public_url.rstrip("/") + quote(path) + query)
