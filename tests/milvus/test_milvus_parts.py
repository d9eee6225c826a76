"""The contract of parts of photos, kept on Milvus Lite, whose scores are those computed here."""

from pathlib import Path

import pytest

from deepfood.embed import Embedder
from milvus_parts import *  # noqa: F403
from parts_contract import Place, check_answers


def test_more_parts_than_milvus_returns_at_once_are_compared_here(
    place: Place, photos: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster a photo at the edge of two pages may differ in the last digits of its score."""
    place.built(photos, embedder)
    monkeypatch.setattr("deepfood.milvus.searched_parts.MOST", 10)
    assert check_answers(place, embedder)
