"""A gallery on some Milvus, for the contracts' tests."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.writer import MilvusWriter
from gallery_contract import COLUMNS, GalleryUnderTest
from plates import tiny_embedder, write_photos


@contextmanager
def milvus_engine(
    folder: Path, address: MilvusAddress, settings: Settings, photos: Path | None = None
) -> Iterator[GalleryUnderTest]:
    """Made of `photos`, or of 24 that are drawn."""
    photos = photos or write_photos(folder / "photos", 24)
    embedder = tiny_embedder(folder / "model")

    def build() -> object:
        return build_on_milvus(list_photos(photos), address, embedder, settings, quiet=True)

    build()
    with MilvusWriter.open(address, settings) as writer:
        writer.declare(COLUMNS)
    with MilvusGallery.open(address, settings, embedder.model) as gallery:

        def opened() -> MilvusGallery:
            gallery.follow()
            return gallery

        yield GalleryUnderTest(
            build=build,
            open=opened,
            writing=lambda: MilvusWriter.open(address, settings),
            photos=photos,
            embedder=embedder,
            place=str(address),
            settings=settings,
        )
