"""The contract of listing and counting, kept by galleries on Milvus Lite."""

import pytest

from browse_contract import *  # noqa: F403
from browse_contract import engine_of, every_page
from deepfood.gallery.browse import Selected
from deepfood.milvus import browse
from gallery_contract import GalleryUnderTest


@pytest.mark.parametrize("sort", ["newest", "-newest", "name", "-name", "grams", "-grams"])
@pytest.mark.parametrize("limit", [1, 5])
def test_pages_that_are_found_by_bisection_are_the_same(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch, sort: str, limit: int
) -> None:
    """In a gallery with more photos than are sorted for a page."""
    gallery = engine_of(engine)
    (whole,) = every_page(gallery, Selected(), sort, 500)
    monkeypatch.setattr(browse, "_WINDOW", 2)
    pages = every_page(gallery, Selected(), sort, limit)
    assert [photo for page in pages for photo, _ in page.photos] == [
        photo for photo, _ in whole.photos
    ]
    assert {page.total for page in pages} == {whole.total}
