"""The client of a deepfood server; it needs httpx and pydantic only.

from deepfood_client import Client

with Client("http://127.0.0.1:8000") as food:
    for hit in food.search("dinner.jpg").hits:
        print(hit.label, hit.score)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfood_client.calls import PhotoLike, Question
    from deepfood_client.client import AsyncClient, Client
    from deepfood_client.errors import DeepfoodError
    from deepfood_client.models import (
        Attribute,
        GalleryFacts,
        Hit,
        LabelAnswer,
        LabelGuess,
        NameGuess,
        NamesCalibration,
        NearDuplicate,
        Photo,
        PhotoFacts,
        SearchResult,
        Suggestion,
    )
    from deepfood_client.weighted import Weighted

__all__ = [
    "AsyncClient",
    "Attribute",
    "Client",
    "DeepfoodError",
    "GalleryFacts",
    "Hit",
    "LabelAnswer",
    "LabelGuess",
    "NameGuess",
    "NamesCalibration",
    "NearDuplicate",
    "Photo",
    "PhotoFacts",
    "PhotoLike",
    "Question",
    "SearchResult",
    "Suggestion",
    "Weighted",
]

_MODULE_OF = {
    "AsyncClient": "client",
    "Attribute": "models",
    "Client": "client",
    "DeepfoodError": "errors",
    "GalleryFacts": "models",
    "Hit": "models",
    "LabelAnswer": "models",
    "LabelGuess": "models",
    "NameGuess": "models",
    "NamesCalibration": "models",
    "NearDuplicate": "models",
    "Photo": "models",
    "PhotoFacts": "models",
    "PhotoLike": "calls",
    "Question": "calls",
    "SearchResult": "models",
    "Suggestion": "models",
    "Weighted": "weighted",
}

if not TYPE_CHECKING:  # a type checker would take any name for one that is there

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: the errors alone need no dependency."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
