"""OpenTelemetry: a span for each request, and in it decode, embed and search.

Needs `deepfood[otel]`. Its SDK reads the standard `OTEL_` variables, which configure the exporter.
As in the log, a route is named by its template, and nothing from the client is sent. The existing
instrumentations for ASGI would send paths and queries.
"""

from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deepfood.extras import missing_extra
from deepfood.serve.telemetry.observe import method_of, route_of

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer


class Trace:
    """ASGI middleware that continues the trace in the request's `traceparent`."""

    def __init__(self, app: ASGIApp, tracer: "Tracer") -> None:
        self._app = app
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        from opentelemetry.propagate import extract
        from opentelemetry.trace import SpanKind, StatusCode

        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = method_of(scope)
        parent = extract(dict(Headers(scope=scope)))
        with self._tracer.start_as_current_span(method, parent, SpanKind.SERVER) as span:
            span.set_attribute("http.request.method", method)

            async def send_noting(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attribute("http.response.status_code", message["status"])
                    if message["status"] >= 500:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            try:
                await self._app(scope, receive, send_noting)
            finally:
                span.update_name(f"{method} {route_of(scope)}")
                span.set_attribute("http.route", route_of(scope))


def open_tracer() -> "Tracer":
    """The tracer of this process, which exports its spans. Raises MissingExtraError."""
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise missing_extra("traces need an extra", "otel") from error
    named = Resource.create({"service.name": "deepfood"}).merge(OTELResourceDetector().detect())
    provider = TracerProvider(resource=named)  # it flushes when the process ends
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return provider.get_tracer("deepfood")
