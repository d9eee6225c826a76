"""Builds the application: routes, middleware, and the resources that live as long as it does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import Depends, FastAPI
from starlette.staticfiles import StaticFiles

from deepfood import __version__
from deepfood.config import Settings, load_settings
from deepfood.photo import Limits
from deepfood.serve import STATIC
from deepfood.serve.api import batch, changes, explain, lists, routes, votes
from deepfood.serve.api.document import complete_document
from deepfood.serve.api.parameters import check_query
from deepfood.serve.api.problems import add_problem_handlers
from deepfood.serve.api.resources import Resources
from deepfood.serve.api.url_fetcher import Fetcher
from deepfood.serve.current import Current, Upkeep
from deepfood.serve.edge.compress import Compress
from deepfood.serve.edge.conditional import NotModified
from deepfood.serve.edge.door import Door
from deepfood.serve.edge.drain import CloseWhileDraining, Drain, draining
from deepfood.serve.edge.guard import ImageSources, SecurityHeaders, add_guards
from deepfood.serve.edge.methods import HeadAsGet
from deepfood.serve.edge.problem import AnswerUnexpected
from deepfood.serve.edge.queue import WorkQueue
from deepfood.serve.edge.workers import end_with_parent
from deepfood.serve.service import SearchService, open_service
from deepfood.serve.telemetry import logs
from deepfood.serve.telemetry.metrics import trace_with
from deepfood.serve.telemetry.observe import Observe
from deepfood.serve.telemetry.tracing import Trace, open_tracer

#: A page requests dozens of thumbnails at once, and shows each refused one as broken.
_QUEUED_READS = 1024


def create_app(
    settings: Settings,
    opener: Callable[[Settings], SearchService],
    fetcher: Fetcher | None = None,
) -> FastAPI:
    """The application; `opener` is called once, when it starts.

    `fetcher` gets photos by URL; None makes one from the settings.
    """
    if fetcher is None:
        fetcher = Fetcher(settings.query_url_hosts.split(), Limits.of(settings))
    drain, images = Drain(), ImageSources()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[dict[str, object]]:
        service = await asyncio.to_thread(opener, settings)
        current = Current(settings, service)
        upkeep = Upkeep(current, settings)
        images.photo_host = service.links.host() if service.links else ""
        upkeep.start()
        # As many photos are decoded at once as there are cores (and memory). Changes that wait for
        # their turn, heat maps and the page's pictures have queues of their own, so that none of
        # them holds up searches, nor searches them.
        queued, timeout_s = settings.max_queued, settings.request_timeout_s
        with (
            WorkQueue("search", service.embedder.at_once, queued, timeout_s) as searching,
            WorkQueue("explain", 1, queued, timeout_s) as explaining,
            WorkQueue("read", 2, _QUEUED_READS, timeout_s) as reading,
            WorkQueue("compare", 2, queued, timeout_s) as comparing,
            WorkQueue("write", 1, queued, timeout_s, finishes=True) as writing,
            draining(drain, settings.drain_s),
        ):
            yield {
                "resources": Resources(
                    settings=settings,
                    current=current,
                    fetcher=fetcher,
                    drain=drain,
                    searching=searching,
                    explaining=explaining,
                    reading=reading,
                    comparing=comparing,
                    writing=writing,
                ),
                # For `edge/http1.py`, before there is a request.
                "door": Door(searching, drain, settings.cors_origins.split()),
            }
        await fetcher.close()
        upkeep.end()
        current.service.close()

    app = FastAPI(
        title="deepfood",
        version=__version__,
        summary="Photo search for food: send a photo, get the ones that look like it.",
        lifespan=lifespan,
        docs_url=None,  # FastAPI's pages load scripts from another host
        redoc_url=None,
        dependencies=[Depends(check_query)],
        redirect_slashes=False,  # methods.py does, and ignores the client's Host
    )
    rooms = (routes, batch, lists, explain, changes, votes)
    routers = [room.router for room in rooms]
    for router in routers:
        app.include_router(router)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")
    every_route = [*app.routes, *(route for router in routers for route in router.routes)]
    add_problem_handlers(app, every_route, settings.public_url)
    complete_document(app)
    # The middleware added last runs first.
    app.add_middleware(NotModified)
    app.add_middleware(Compress)
    app.add_middleware(HeadAsGet)
    add_guards(app, settings)
    app.add_middleware(AnswerUnexpected)
    app.add_middleware(Observe)
    if settings.traces:
        tracer = open_tracer()
        trace_with(tracer.start_as_current_span)
        app.add_middleware(Trace, tracer=tracer)
    app.add_middleware(SecurityHeaders, images=images)
    app.add_middleware(CloseWhileDraining, drain=drain)
    return app


def app_for_worker() -> FastAPI:
    """The application of one worker process of `deepfood serve --workers`."""
    settings = load_settings()
    logs.configure(settings)
    logs.log_crashes()
    end_with_parent()
    return create_app(settings, open_service)
