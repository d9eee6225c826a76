"""The contracts of galleries on Milvus, on Milvus Lite: a server in this process."""

from collections.abc import Iterator

import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread

from browse_contract import *  # noqa: F403
from browse_contract import engine_of, every_page
from deepfood.config import Settings, load_settings
from deepfood.gallery.browse import Selected
from deepfood.gallery.written import parse_words
from deepfood.milvus import browse
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.schema import KEYS, WHOLE_ROW, WORDS
from gallery_contract import *  # noqa: F403
from gallery_contract import GalleryUnderTest
from milvus_contract import *  # noqa: F403
from milvus_engine import milvus_engine
from milvus_rollback import *  # noqa: F403
from words_contract import *  # noqa: F403


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("settings")
    return load_settings(
        photos_store=str(folder / "store"), cache=folder / "cache", milvus_timeout_s=60
    )


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MilvusAddress]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield MilvusAddress(f"http://127.0.0.1:{port}", "plates")
    server.stop(None).wait()
    db.close()


@pytest.fixture(scope="module")
def engine(
    address: MilvusAddress, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GalleryUnderTest]:
    with milvus_engine(tmp_path_factory.mktemp("milvus"), address, settings) as made:
        yield made


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


def test_words_find_what_an_earlier_deepfood_wrote_once_it_is_mended(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings
) -> None:
    with MilvusGallery.open(address, settings) as gallery:
        photo = gallery.sample(1, 3)[0]
        (row,) = gallery.rows.query(f'id == "{photo.id}"', [*WHOLE_ROW, KEYS])
        del row[KEYS][WORDS]
        gallery.connection.ask("upsert", collection_name=gallery.collection, data=[row])
    query = parse_words(f'"{photo.file.removesuffix(".jpg")}"')
    assert engine.open().find_written(query, 9).hits == []
    assert [line.partition(": ")[2] for line in engine.problems()] == [
        "it was written by an earlier deepfood, and words do not find it"
    ]
    assert engine.at.repair(quiet=True) == (["1 more photos are found by words"], [])
    assert [hit.id for hit in engine.open().find_written(query, 9).hits] == [photo.id]
