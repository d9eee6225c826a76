"""The contract of galleries, kept by the local one."""

from collections.abc import Iterator

import pytest

from browse_contract import *  # noqa: F403
from deepfood.config import load_settings
from deepfood.local import LocalGallery, LocalWriter
from gallery_contract import *  # noqa: F403
from gallery_contract import COLUMNS, GalleryUnderTest
from plates import build, tiny_embedder, write_photos
from words_contract import *  # noqa: F403


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GalleryUnderTest]:
    folder = tmp_path_factory.mktemp("contract")
    photos, out = write_photos(folder / "photos", 24), folder / "gallery"
    embedder = tiny_embedder(folder / "model")
    build(photos, out, embedder)
    with LocalWriter.open(out) as writer:
        writer.declare(COLUMNS)
    with LocalGallery.open(out, embedder.model) as gallery:
        yield GalleryUnderTest(
            build=lambda: build(photos, out, embedder),
            open=lambda: gallery,
            writing=lambda: LocalWriter.open(out),
            photos=photos,
            embedder=embedder,
            place=out,
            settings=load_settings(),
        )
