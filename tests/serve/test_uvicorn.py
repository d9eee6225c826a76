"""What deepfood.serve.edge relies on of uvicorn's internals: an upgrade may change any of it.

The package's docstring lists it. What the service does with it is tested in test_overload and
test_drain; these tests say which part of uvicorn changed.
"""

import ast
import asyncio
import importlib.metadata
import inspect
import pickle
import re
import signal
import socket
import textwrap
import threading
import tomllib
from pathlib import Path

import httptools
import pytest
import uvicorn
from uvicorn.config import STARTUP_FAILURE
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState
from uvicorn.supervisors.multiprocess import Multiprocess, Process

from deepfood.config import load_settings
from deepfood.serve.edge.http1 import Config, Protocol, RefusedCycle
from deepfood.serve.edge.workers import Workers

ROOT = Path(__file__).parents[2]


async def no_app(scope: object, receive: object, send: object) -> None:
    raise AssertionError("no request comes here")


def source_of(function: object) -> ast.AST:
    return ast.parse(textwrap.dedent(inspect.getsource(function)))  # type: ignore[arg-type]


def attributes_of(owner: str, tree: ast.AST) -> set[str]:
    """The attributes that code uses of `owner`, such as "self.cycle"."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == owner
    }


def test_the_version_that_is_installed_is_the_one_that_is_pinned() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    (pinned,) = [one for one in needed if re.match(r"uvicorn\b", one)]
    least, below = re.search(r">=0\.(\d+),<0\.(\d+)$", pinned).groups()  # type: ignore[union-attr]
    assert int(below) == int(least) + 1, "one minor version"
    assert importlib.metadata.version("uvicorn").split(".")[:2] == ["0", least]


def test_every_override_overrides_something() -> None:
    for own, base in ((Protocol, HttpToolsProtocol), (Workers, Multiprocess)):
        public = {name for name in vars(own) if not name.startswith("_")} - {"config"}
        assert public
        for name in public:
            theirs = inspect.signature(getattr(base, name))
            assert (
                inspect.signature(getattr(own, name)).parameters.keys() == theirs.parameters.keys()
            )


def test_no_private_name_of_ours_is_one_of_uvicorns() -> None:
    for own, base in ((Protocol, HttpToolsProtocol), (Workers, Multiprocess)):
        used = attributes_of("self", source_of(base)) | set(vars(base))
        private = {name for name in vars(own) if re.match(r"_[a-z]", name)}
        private |= {
            one for one in attributes_of("self", source_of(own)) if re.match(r"_[a-z]", one)
        }
        assert private
        assert not private & used


def test_a_connection_has_what_the_protocol_reads() -> None:
    async def made() -> HttpToolsProtocol:
        config = Config(no_app, load_settings())
        return HttpToolsProtocol(config, ServerState(), {"door": None})

    connection = asyncio.run(made())
    used = attributes_of("self", source_of(Protocol))
    missing = {name for name in used if not name.startswith("_") and not hasattr(connection, name)}
    assert missing == {"url"}, "of a request that is arriving"
    assert connection.app_state == {"door": None}
    assert isinstance(connection.parser, httptools.HttpRequestParser)
    connection.on_message_begin()
    connection.on_url(b"/a")
    connection.on_header(b"X-Name", b"Value")
    assert (connection.url, connection.headers) == (b"/a", [(b"x-name", b"Value")])


def test_a_cycle_has_what_the_protocol_reads() -> None:
    set_at_first = attributes_of("self", source_of(RequestResponseCycle.__init__))
    read = attributes_of("cycle", source_of(Protocol)) | attributes_of(
        "self.cycle", source_of(Protocol)
    )
    assert read
    assert read <= set_at_first


def test_uvicorn_uses_of_a_refused_request_only_what_stands_in_for_it() -> None:
    tree = source_of(HttpToolsProtocol)
    used = attributes_of("self.cycle", tree) | attributes_of("existing_cycle", tree)
    # These are used only of a request that is not answered yet.
    unanswered = {"body", "disconnected", "keep_alive", "more_body"}
    stand_in = {name for name in dir(RefusedCycle()) if not name.startswith("_")}
    assert used - unanswered <= stand_in
    assert RefusedCycle().response_complete


def test_the_configuration_reaches_workers_whole() -> None:
    settings = load_settings(body_timeout_s=7.5, max_connections=3, drain_s=2.5)
    config = pickle.loads(pickle.dumps(Config("deepfood.serve.app:app_for_worker", settings)))
    assert (config.body_timeout_s, config.max_connections, config.drain_s) == (7.5, 3, 2.5)
    assert config.http is Protocol
    assert config.timeout_worker_healthcheck == 60


def test_a_supervisor_has_what_workers_use() -> None:
    assert {"keep_subprocess_alive", "terminate_all", "join_all"} <= attributes_of(
        "self", source_of(Multiprocess.run)
    )
    set_at_first = attributes_of("self", source_of(Multiprocess.__init__))
    assert {"config", "sockets", "processes", "should_exit"} <= set_at_first
    worker = Process(Config("deepfood.serve.app:app_for_worker", load_settings()), [])
    used = attributes_of("worker", source_of(Workers))
    assert used
    assert not {name for name in used if not hasattr(worker, name)}


def test_a_worker_answers_each_message_on_its_pipe() -> None:
    worker = Process(Config("deepfood.serve.app:app_for_worker", load_settings()), [])
    for _ in range(2):
        worker.parent_conn.send(b"ping")
        worker.pong()
        assert worker.parent_conn.poll(5)
        worker.parent_conn.recv()
    assert not worker.parent_conn.poll(0)


def test_the_lifespan_starts_where_sigterm_is_handled() -> None:
    seen = []

    async def app(scope: dict[str, str], receive: object, send: object) -> None:
        assert scope["type"] == "lifespan"
        seen.append(signal.getsignal(signal.SIGTERM))
        raise RuntimeError("that is all")

    assert threading.current_thread() is threading.main_thread()
    before = signal.getsignal(signal.SIGTERM)
    server = Server(uvicorn.Config(app, lifespan="on", log_config=None))  # type: ignore[arg-type]
    with socket.socket() as unused, pytest.raises(SystemExit) as ended:
        asyncio.run(server.serve([unused]))
    assert ended.value.code == STARTUP_FAILURE  # by which a parent knows what happened
    assert seen == [server.handle_exit]
    assert signal.getsignal(signal.SIGTERM) is before
