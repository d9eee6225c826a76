"""What HTTP asks of every address: HEAD where there is GET, and all methods named where one is not.

An address with a slash too many leads to the one without, below `public_url`.
"""

from collections.abc import Iterable
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    """Let routes see HEAD as GET; uvicorn leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        # In place, since those outside look at the route that is put into it.
        scope["method"] = "GET"

        async def send_as_head(message: Message) -> None:
            scope["method"] = "HEAD"
            await send(message)

        try:
            await self._app(scope, receive, send_as_head)
        finally:
            scope["method"] = "HEAD"


def methods_at(routes: Iterable[BaseRoute], path: str) -> set[str]:
    """The methods that an address answers; none where there is nothing."""
    found: set[str] = set()
    for route in routes:
        if isinstance(route, Route) and route.path_regex.match(path):
            found |= route.methods or set()
        elif isinstance(route, Mount) and route.path_regex.match(path):
            found.add("GET")  # of static files
    return found | ({"HEAD"} if "GET" in found else set())


def without_slash(request: Request) -> Response | None:
    """The way to the address without the slashes at its end, if there is something."""
    state, path = request.app.state, request.url.path.rstrip("/")
    if path == request.url.path or not methods_at(state.routes, path):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    # Never made from the Host that the client sent.
    return RedirectResponse(state.settings.public_url.rstrip("/") + quote(path) + query)
