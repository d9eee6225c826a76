"""A client of a deepfood server, for programs; it needs httpx and pydantic only.

from deepfood.client import Client

with Client("http://127.0.0.1:8000") as food:
    for hit in food.search("dinner.jpg").hits:
        print(hit.label, hit.score)
"""

from deepfood.client.clients import AsyncClient, Client
from deepfood.client.results import (
    Alike,
    Attribute,
    Facts,
    Found,
    GalleryFacts,
    Hit,
    LabelGuess,
    Photo,
)

__all__ = [
    "Alike",
    "AsyncClient",
    "Attribute",
    "Client",
    "Facts",
    "Found",
    "GalleryFacts",
    "Hit",
    "LabelGuess",
    "Photo",
]
