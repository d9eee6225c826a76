"""Middleware around answers that come in parts, break off, or are faults."""

import asyncio
import gzip
import multiprocessing
import sys
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.errors import MissingExtraError
from deepfood.serve.edge import workers
from deepfood.serve.edge.compress import Compress
from deepfood.serve.edge.conditional import NotModified
from deepfood.serve.edge.problem import AnswerUnexpected
from deepfood.serve.telemetry.tracing import Trace, open_tracer

TEXT = "soup " * 1000


def answering(*parts: bytes, status: int = 200, breaks_off: bool = False) -> ASGIApp:
    """Answers in parts, with the length of all of them."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        length = str(sum(map(len, parts))).encode()
        headers = [(b"content-type", b"text/plain"), (b"content-length", length)]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        for number, part in enumerate(parts, 1):
            more = number < len(parts)
            await send({"type": "http.response.body", "body": part, "more_body": more})
        if breaks_off:
            raise OSError("the disk is gone")

    return app


def answer(app: ASGIApp, sent: list[Message], **headers: str) -> tuple[dict[str, str], bytes]:
    """What a client gets: headers and body; `sent` are the messages, also where it breaks off."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": "/",
        "headers": [
            (name.replace("_", "-").encode(), one.encode()) for name, one in headers.items()
        ],
    }

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request"}

    async def ask() -> None:
        await app(scope, receive, send)

    asyncio.run(ask())
    found = {name.decode().lower(): value.decode() for name, value in sent[0]["headers"]}
    return found, b"".join(message.get("body", b"") for message in sent[1:])


def test_an_answer_in_parts_is_compressed_whole() -> None:
    half = TEXT.encode()[: len(TEXT) // 2]
    headers, body = answer(Compress(answering(half, half)), [], accept_encoding="gzip")
    assert headers["content-encoding"] == "gzip"
    assert len(body) < len(TEXT) / 10
    assert gzip.decompress(body) == half + half


def test_only_an_answer_that_comes_whole_gets_a_tag() -> None:
    headers, body = answer(NotModified(answering(b"soup")), [])
    assert headers["etag"]
    headers, body = answer(NotModified(answering(b"so", b"up")), [])
    assert "etag" not in headers
    assert body == b"soup"


def test_an_answer_that_has_begun_is_not_begun_again() -> None:
    sent: list[Message] = []
    with pytest.raises(OSError, match="the disk is gone"):
        answer(AnswerUnexpected(answering(b"soup", breaks_off=True)), sent)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]


@pytest.mark.parametrize(("status", "of_span"), [(500, StatusCode.ERROR), (404, StatusCode.UNSET)])
def test_a_fault_of_the_server_is_one_of_the_span(status: int, of_span: StatusCode) -> None:
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    answer(Trace(answering(b"", status=status), provider.get_tracer("here")), [])
    [span] = spans.get_finished_spans()
    assert span.status.status_code == of_span


def test_without_the_extra_the_command_that_installs_it_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(MissingExtraError, match=r"traces need an extra: .*\[otel\]"):
        open_tracer()


# Workers


class Worker:
    def __init__(self, parent_conn: Any) -> None:
        self.parent_conn = parent_conn


def test_a_worker_whose_pipe_is_closed_does_not_answer() -> None:
    ours, theirs = multiprocessing.Pipe()
    worker: Any = Worker(ours)
    parent: Any = SimpleNamespace(_pinged={}, config=SimpleNamespace(timeout_worker_healthcheck=60))
    assert workers.Workers._is_responsive(parent, worker), "it may still answer"
    theirs.close()
    assert not workers.Workers._is_responsive(parent, worker)
    assert workers._cause_of(None) == "does not answer, stopped or hanging"


def test_a_process_without_a_parent_waits_for_none() -> None:
    before = threading.active_count()
    workers.end_with_parent()
    assert threading.active_count() == before
