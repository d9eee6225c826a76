"""The client of a deepfood server; it needs httpx and pydantic only.

from deepfood_client import Client

with Client("http://127.0.0.1:8000") as food:
    for hit in food.search("dinner.jpg").hits:
        print(hit.label, hit.score)
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deepfood_client.calls import BatchQuestion, Listing, PhotoLike, Question
    from deepfood_client.client import AsyncClient, Client
    from deepfood_client.errors import DeepfoodError
    from deepfood_client.models import (
        Attribute,
        BatchAnswer,
        BatchProblem,
        BatchResult,
        Bin,
        DoubtfulLabel,
        DoubtfulPage,
        DuplicateGroup,
        DuplicatePage,
        Explanation,
        Facet,
        Facets,
        GalleryFacts,
        HeatMap,
        Hit,
        LabelAnswer,
        LabelCount,
        LabelGuess,
        LabelPage,
        NameGuess,
        NamesCalibration,
        NearDuplicate,
        Note,
        Outlier,
        OutlierPage,
        Overlap,
        OverlapPage,
        Photo,
        PhotoFacts,
        PhotoPage,
        PlatePart,
        Region,
        SearchResult,
        Suggestion,
        ToLabel,
        ToLabelPage,
        ValueCount,
    )
    from deepfood_client.weighted import Weighted

__all__ = [
    "AsyncClient",
    "Attribute",
    "BatchAnswer",
    "BatchProblem",
    "BatchQuestion",
    "BatchResult",
    "Bin",
    "Client",
    "DeepfoodError",
    "DoubtfulLabel",
    "DoubtfulPage",
    "DuplicateGroup",
    "DuplicatePage",
    "Explanation",
    "Facet",
    "Facets",
    "GalleryFacts",
    "HeatMap",
    "Hit",
    "LabelAnswer",
    "LabelCount",
    "LabelGuess",
    "LabelPage",
    "Listing",
    "NameGuess",
    "NamesCalibration",
    "NearDuplicate",
    "Note",
    "Outlier",
    "OutlierPage",
    "Overlap",
    "OverlapPage",
    "Photo",
    "PhotoFacts",
    "PhotoLike",
    "PhotoPage",
    "PlatePart",
    "Question",
    "Region",
    "SearchResult",
    "Suggestion",
    "ToLabel",
    "ToLabelPage",
    "ValueCount",
    "Weighted",
]

_MODULE_OF = {
    "AsyncClient": "client",
    "Attribute": "models",
    "BatchAnswer": "models",
    "BatchProblem": "models",
    "BatchQuestion": "calls",
    "BatchResult": "models",
    "Bin": "models",
    "Client": "client",
    "DeepfoodError": "errors",
    "DoubtfulLabel": "models",
    "DoubtfulPage": "models",
    "DuplicateGroup": "models",
    "DuplicatePage": "models",
    "Explanation": "models",
    "Facet": "models",
    "Facets": "models",
    "GalleryFacts": "models",
    "HeatMap": "models",
    "Hit": "models",
    "LabelAnswer": "models",
    "LabelCount": "models",
    "LabelGuess": "models",
    "LabelPage": "models",
    "Listing": "calls",
    "NameGuess": "models",
    "NamesCalibration": "models",
    "NearDuplicate": "models",
    "Note": "models",
    "Outlier": "models",
    "OutlierPage": "models",
    "Overlap": "models",
    "OverlapPage": "models",
    "Photo": "models",
    "PhotoFacts": "models",
    "PhotoLike": "calls",
    "PhotoPage": "models",
    "PlatePart": "models",
    "Question": "calls",
    "Region": "models",
    "SearchResult": "models",
    "Suggestion": "models",
    "ToLabel": "models",
    "ToLabelPage": "models",
    "ValueCount": "models",
    "Weighted": "weighted",
}

if not TYPE_CHECKING:  # pragma: no branch - a type checker would take any name

    def __getattr__(name: str) -> object:
        """Import a public name when it is first used: the errors alone need no dependency."""
        if name not in _MODULE_OF:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value = getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
        globals()[name] = value
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
