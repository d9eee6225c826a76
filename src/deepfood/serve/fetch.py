"""A photo from another server, named by a client: from few hosts, within limits, never from inside.

Whoever can make a server fetch what he names can reach what only the server reaches. So the hosts
are listed in the setting `query_url_hosts`, and even their names must lead to public addresses: the
name is looked up once, every address is checked, and the connection goes to an address that was
checked. No later answer of a name server can lead it elsewhere. Redirects begin all of it anew.
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

    `inside` are networks that count as public though they are not, and `ports` those that may be
    asked, none for the schemes' own: a test has nothing but this machine.
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

        `take` is told of the number of bytes each time some come, and may raise to refuse them.
        """
        if not self._origins:
            raise QueryError("this service takes no URLs: send the photo itself")
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._followed(url, take)
        except TimeoutError:
            raise QueryError(f"the URL did not answer within {self._timeout_s:g} seconds") from None
        except (httpcore.NetworkError, httpcore.ProtocolError, OSError, UnicodeError):
            # No reason: it would tell which addresses and ports there are.
            raise QueryError("the URL cannot be reached") from None

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
                    raise QueryError(f"the URL answers {response.status}")
                return await self._body(response, take)
        raise QueryError(f"the URL redirects more than {_MAX_REDIRECTS} times")

    def _checked(self, url: str) -> httpx.URL:
        """The URL, of a host that is allowed. Raises QueryError."""
        try:
            parsed = httpx.URL(url.strip())
        except (httpx.InvalidURL, ValueError, UnicodeError):
            raise QueryError("the URL is no address") from None
        if parsed.userinfo:
            raise QueryError("the URL has a user name in it")
        port = parsed.port or _PORTS.get(parsed.scheme, 0)
        if (
            parsed.scheme,
            parsed.raw_host.decode("ascii").lower(),
        ) not in self._origins or port not in (self._ports or {_PORTS[parsed.scheme]}):
            raise QueryError("the URL is not of a host that this service fetches photos from")
        return parsed.copy_with(fragment=None)

    def _location(self, at: httpx.URL, response: httpcore.Response) -> str:
        for name, value in response.headers:
            if name.lower() == b"location":
                try:
                    return str(at.join(value.decode("ascii")))
                except (httpx.InvalidURL, ValueError, UnicodeError):
                    break
        raise QueryError("the URL redirects to no address")

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
    """Connects to public addresses only, to the very ones that it has checked."""

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
        # One bad address condemns the name: it is an attempt, or a fault of who runs it.
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

    async def sleep(self, seconds: float) -> None:
        await self._real.sleep(seconds)

    def _is_allowed(self, text: str) -> bool:
        address = ipaddress.ip_address(text.partition("%")[0])
        return is_public(address) or any(address in network for network in self._inside)


#: IPv6 networks whose addresses hold an IPv4 address that they lead to.
_TRANSLATED = (ipaddress.ip_network("64:ff9b::/96"), ipaddress.ip_network("64:ff9b:1::/48"))


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is one of the open Internet; false for what wraps another address."""
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
    scheme, given, name = host.rpartition("://")
    return (scheme if given else "https", name.lower())
