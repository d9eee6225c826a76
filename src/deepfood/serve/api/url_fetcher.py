"""Fetches photos by URL for clients, safe from server-side request forgery.

A server that fetched any URL would give clients access to its own network. So the hosts are
listed in the setting `query_url_hosts`, and even they must have public addresses: a name is
looked up once, every address is checked, and the connection goes to a checked address. A later
answer of a name server has no effect. Each redirect is checked the same way.
"""

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Iterable
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

import httpcore
import httpx

from deepfood import __version__
from deepfood.errors import PhotoTooLargeError, QueryError
from deepfood.photo import Limits

_MAX_REDIRECTS = 3
_TIMEOUT_S = 10.0
_PORTS = {"https": 443, "http": 80}

Network = IPv4Network | IPv6Network


class Fetcher:
    """Gets photos from `hosts`, names as `img.example`, or `http://img.example` for plain http.

    For tests on one machine: `inside` are private networks that count as public, and `ports` the
    ports that may be asked instead of the schemes' own.
    """

    def __init__(
        self,
        hosts: Iterable[str],
        limits: Limits,
        *,
        timeout_s: float = _TIMEOUT_S,
        inside: Iterable[Network] = (),
        ports: Iterable[int] = (),
    ) -> None:
        self._origins = {_origin(host) for host in hosts}
        self._limits = limits
        self._timeout_s = timeout_s
        self._ports = frozenset(ports)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=httpx.create_ssl_context(),
            max_keepalive_connections=0,
            network_backend=_PublicOnly(frozenset(inside)),
        )

    async def get(self, url: str, take: Callable[[int], None] | None = None) -> bytes:
        """The bytes at `url`. Raises QueryError, or PhotoTooLargeError.

        `take` is called with the number of bytes that have just arrived, and may raise.
        """
        if not self._origins:
            raise QueryError("this service takes no URLs: send the photo itself", "url")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._followed(url, take)
        except TimeoutError:
            raise QueryError(
                f"the URL did not answer within {self._timeout_s:g} seconds", "url"
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError):
            # No reason is given: it would reveal which addresses and ports exist.
            raise QueryError("the URL cannot be reached", "url") from None

    async def close(self) -> None:
        await self._pool.aclose()

    async def _followed(self, url: str, take: Callable[[int], None] | None) -> bytes:
        at = self._checked(url)
        for _ in range(1 + _MAX_REDIRECTS):
            headers: dict[bytes | str, bytes | str] = {
                "Host": at.netloc.decode("ascii"),
                "User-Agent": f"deepfood/{__version__}",
                "Accept": "image/*",
                "Accept-Encoding": "identity",
            }
            async with self._pool.stream("GET", str(at), headers=headers) as response:
                if response.status in (301, 302, 303, 307, 308):
                    at = self._checked(self._location(at, response))
                    continue
                if response.status != 200:
                    raise QueryError(f"the URL answers {response.status}", "url")
                return await self._body(response, take)
        raise QueryError(f"the URL redirects more than {_MAX_REDIRECTS} times", "url")

    def _checked(self, url: str) -> httpx.URL:
        """The URL, of a host that is allowed. Raises QueryError."""
        try:
            parsed = httpx.URL(url.strip())
        except (httpx.InvalidURL, ValueError, UnicodeError):
            raise QueryError("the URL is not an address", "url") from None
        if parsed.userinfo:
            raise QueryError("the URL has a user name in it", "url")
        port = parsed.port or _PORTS.get(parsed.scheme, 0)
        if (
            parsed.scheme,
            parsed.raw_host.decode("ascii").lower(),
        ) not in self._origins or port not in (self._ports or {_PORTS[parsed.scheme]}):
            raise QueryError(
                "the URL is not of a host that this service fetches photos from", "url"
            )
        return parsed.copy_with(fragment=None)

    def _location(self, at: httpx.URL, response: httpcore.Response) -> str:
        for name, value in response.headers:
            if name.lower() == b"location":
                try:
                    return str(at.join(value.decode("ascii")))
                except (httpx.InvalidURL, ValueError, UnicodeError):
                    break
        raise QueryError("the URL redirects to no address", "url")

    async def _body(self, response: httpcore.Response, take: Callable[[int], None] | None) -> bytes:
        data = bytearray()
        async for piece in response.aiter_stream():
            if take is not None:
                take(len(piece))
            data += piece
            if len(data) > self._limits.max_bytes:
                raise PhotoTooLargeError(
                    f"the photo at the URL has more than max_photo_bytes, "
                    f"{self._limits.max_bytes:,} bytes"
                )
        return bytes(data)


class _PublicOnly(httpcore.AsyncNetworkBackend):
    """Connects only to public addresses, and exactly to those that were checked."""

    def __init__(self, inside: frozenset[Network]) -> None:
        self._real = httpcore.AnyIOBackend()
        self._inside = inside

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(one[4][0]) for one in found]
        # One private address rules out the name: it is an attack, or its owner's mistake.
        if not addresses or not all(self._is_allowed(address) for address in addresses):
            raise httpcore.ConnectError("not a public address")
        for address in addresses:
            try:
                return await self._real.connect_tcp(
                    address, port, timeout, local_address, socket_options
                )
            except httpcore.ConnectError:
                continue
        raise httpcore.ConnectError("none of its addresses answers")

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        raise httpcore.ConnectError("not a public address")

    def _is_allowed(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        return is_public(address) or any(address in network for network in self._inside)


#: IPv6 networks whose addresses contain the IPv4 address that they lead to.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the public Internet; false for one that contains another address."""
    if isinstance(address, IPv6Address) and (
        address.ipv4_mapped
        or address.sixtofour
        or address.teredo
        or address.is_site_local
        or any(address in network for network in _TRANSLATED)
    ):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _origin(host: str) -> tuple[str, str]:
    scheme, separator, name = host.rpartition("://")
    return (scheme if separator else "https", name.lower())
