"""A TCP proxy that delays everything, as if the server were far away."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit


@contextmanager
def far_away(server_url: str, delay_s: float) -> Iterator[str]:
    """Another address of a server, which adds `delay_s` to its responses; in a separate process."""
    ours, theirs = multiprocessing.Pipe()
    server = urlsplit(server_url)
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(server.hostname, server.port, delay_s, theirs), daemon=True
    )
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.terminate()
        process.join()


def _serve(host: str, port: int, delay_s: float, address: Connection) -> None:
    async def relay(
        source: asyncio.StreamReader, target: asyncio.StreamWriter, after_s: float
    ) -> None:
        later = asyncio.get_running_loop().call_later
        while data := await source.read(2**16):
            if after_s:
                later(after_s, target.write, data)
            else:
                target.write(data)
                await target.drain()
        later(after_s, target.close)

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection(host, port)
        async with asyncio.TaskGroup() as both:
            both.create_task(relay(reader, there_writer, delay_s))
            both.create_task(relay(there_reader, writer, 0))

    async def main() -> None:
        server = await asyncio.start_server(connected, "127.0.0.1", 0)
        address.send(server.sockets[0].getsockname()[1])
        await server.serve_forever()

    asyncio.run(main())
