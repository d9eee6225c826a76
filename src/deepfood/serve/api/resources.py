"""Objects that the application opens once for all routes: settings, service, queues."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from deepfood.config import Settings
from deepfood.serve.api.url_fetcher import Fetcher
from deepfood.serve.current import Current
from deepfood.serve.edge.drain import Drain
from deepfood.serve.edge.guard import max_body_bytes
from deepfood.serve.edge.queue import WorkQueue
from deepfood.serve.released import is_released
from deepfood.serve.service import SearchService


@dataclass(frozen=True)
class Resources:
    """Lives from the application's start to its end.

    `searching` runs what decodes, embeds or searches; `explaining` makes heat maps; `reading` only
    reads the gallery; `comparing` waits for lists of all photos; `writing` changes it.
    """

    settings: Settings
    current: Current
    fetcher: Fetcher
    drain: Drain
    searching: WorkQueue
    explaining: WorkQueue
    reading: WorkQueue
    comparing: WorkQueue
    writing: WorkQueue

    @property
    def service(self) -> SearchService:
        """The service of the generation or release that is searched now."""
        return self.current.service

    @property
    def public_url(self) -> str:
        return self.settings.public_url

    @property
    def takes_changes(self) -> bool:
        """Whether who has a key can change the gallery."""
        return bool(self.settings.api_key_hashes.split()) and not is_released(self.settings)

    @property
    def keeps_photos(self) -> bool:
        """Whether a vote may bring the visitor's photo along."""
        return self.settings.feedback and self.settings.feedback_photos_bytes > 0

    @property
    def max_body_bytes(self) -> int:
        return max_body_bytes(self.settings)

    @property
    def takes_urls(self) -> bool:
        """Whether a search may name a photo by `url`."""
        return bool(self.settings.query_url_hosts.strip())


async def resources_of(request: Request) -> Resources:
    """The Resources that the application's lifespan opened."""
    resources: Resources = request.state.resources
    return resources


#: As a parameter's type, it gives a route the Resources.
ResourcesDep = Annotated[Resources, Depends(resources_of)]
