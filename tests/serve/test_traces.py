"""Spans of a real server, as an OTLP collector on 127.0.0.1 gets them."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from http_thread import QuietHandler, http_server
from live import SmallGallery, serving
from samples import photo

SECRET = "Sesame1234"  # pragma: allowlist secret


@dataclass
class Collector:
    url: str = ""
    services: set[str] = field(default_factory=set)
    spans: list[Span] = field(default_factory=list)

    def take(self, body: bytes) -> None:
        for one in ExportTraceServiceRequest.FromString(body).resource_spans:
            about = {pair.key: pair.value.string_value for pair in one.resource.attributes}
            self.services.add(about["service.name"])
            for scope in one.scope_spans:
                self.spans += scope.spans

    def of_trace(self, trace_id: str, count: int) -> dict[str, Span]:
        deadline = time.monotonic() + 300
        while True:
            found = [span for span in self.spans if span.trace_id.hex() == trace_id]
            if len(found) == count:
                return {span.name: span for span in found}
            assert time.monotonic() < deadline, found
            time.sleep(0.05)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collected = Collector()

    class Handler(QuietHandler):
        def do_POST(self) -> None:
            assert self.path == "/v1/traces"
            collected.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

    with http_server(Handler) as collected.url:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collected.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        yield collected


def test_a_search_is_a_span_with_its_parts_in_it(
    collector: Collector, small_gallery: SmallGallery
) -> None:
    trace, parent, bad, last = "a" * 32, "b" * 16, "c" * 32, "d" * 32

    def sent(one: str) -> dict[str, str]:
        return {"traceparent": f"00-{one}-{parent}-01", "User-Agent": SECRET}

    with serving(small_gallery.folder, traces=True) as server:
        url = server.url + "/api/v1/search"
        httpx.post(url, files={"photo": (SECRET, photo())}, headers=sent(trace), timeout=300)
        httpx.get(server.url + f"/photos/{SECRET}?{SECRET}", headers=sent(bad), timeout=300)
        spans = collector.of_trace(trace, 4)
        httpx.get(server.url + "/healthz", headers=sent(last), timeout=300)
    # What was not sent when the server was told to end is sent then.
    assert set(collector.of_trace(last, 1)) == {"GET /healthz"}

    request = spans.pop("POST /api/v1/search")
    assert request.parent_span_id.hex() == parent
    assert request.kind == Span.SPAN_KIND_SERVER
    told = {pair.key: pair.value for pair in request.attributes}
    assert told["http.route"].string_value == "/api/v1/search"
    assert told["http.response.status_code"].int_value == 200
    assert set(spans) == {"decode", "embed", "search"}
    for part in spans.values():
        assert part.parent_span_id == request.span_id
        assert request.start_time_unix_nano <= part.start_time_unix_nano
        assert part.end_time_unix_nano <= request.end_time_unix_nano
    (failed,) = collector.of_trace(bad, 1).values()
    assert failed.name == "GET /photos/{id}"
    assert failed.status.code == Status.STATUS_CODE_UNSET  # a 404 is no fault of the server
    assert collector.services == {"deepfood"}
    assert not any(SECRET.encode() in span.SerializeToString() for span in collector.spans)
