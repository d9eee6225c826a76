"""A gallery in a folder, for the contracts' tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfood.config import load_settings
from deepfood.local import LocalGallery, LocalWriter
from gallery_contract import COLUMNS, GalleryUnderTest
from plates import build, tiny_embedder, write_photos


@contextmanager
def local_engine(folder: Path) -> Iterator[GalleryUnderTest]:
    """Made of 24 photos that are drawn."""
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
