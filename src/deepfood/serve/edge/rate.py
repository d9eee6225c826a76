"""Limit the requests per minute of each client."""

import ipaddress
import math
import time
from collections import OrderedDict

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from deepfood.counted import counted
from deepfood.serve.edge.problem import problem

#: Clients kept; beyond it, the least recently active is dropped.
MAX_CLIENTS = 10_000
_WINDOW_S = 60.0
_FREE_METHODS = ("GET", "HEAD", "OPTIONS")


class Rate:
    """A token bucket per client, which holds a minute's tokens and refills evenly.

    One number per client is stored, as in the generic cell rate algorithm: when its bucket is full.
    """

    def __init__(self, per_minute: int) -> None:
        self._each_s = _WINDOW_S / per_minute
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def wait_s(self, client: str, now_s: float) -> float:
        """Take a token and return 0; or return the seconds until there is one."""
        full_at = max(now_s, self._full_at.get(client, 0.0)) + self._each_s
        too_early_s = full_at - now_s - _WINDOW_S
        if too_early_s > 1e-6:  # more than a rounding error
            return too_early_s
        self._full_at[client] = full_at
        self._full_at.move_to_end(client)
        if len(self._full_at) > MAX_CLIENTS:
            self._full_at.popitem(last=False)
        return 0.0


class RateLimit:
    """Answer 429 to a client that sends too many requests.

    Requests that only read are free, as a page of hits needs dozens of thumbnails.
    """

    def __init__(self, app: ASGIApp, per_minute: int) -> None:
        self._app = app
        self._per_minute = per_minute
        self._rate = Rate(per_minute)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in _FREE_METHODS:
            wait_s = self._rate.wait_s(client_of(scope), time.monotonic())
            if wait_s:
                detail = (
                    f"more than {counted(self._per_minute, 'request')} a minute: try again later"
                )
                answer = problem(Request(scope), 429, detail)
                answer.headers["Retry-After"] = str(math.ceil(wait_s))
                await answer(scope, receive, send)
                return
        await self._app(scope, receive, send)


def client_of(scope: Scope) -> str:
    """The client's address; of IPv6 the first 64 bits, as clients choose the rest.

    Behind a proxy of `trusted_proxies` it is the address that the proxy names.
    """
    host = str((scope.get("client") or ("",))[0])
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host[:64]
    if address.version == 4:
        return str(address)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, 64), strict=False))
