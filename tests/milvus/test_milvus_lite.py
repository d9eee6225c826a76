"""The contracts of galleries on Milvus, on Milvus Lite: a server in this process."""

from deepfood.config import Settings
from deepfood.gallery.written import parse_words
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.schema import KEYS, WHOLE_ROW, WORDS
from gallery_contract import *  # noqa: F403
from gallery_contract import GalleryUnderTest
from milvus_contract import *  # noqa: F403
from milvus_rollback import *  # noqa: F403
from words_contract import *  # noqa: F403


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
    assert engine.at.repair(quiet=True) == (["1 more photo is found by words"], [])
    assert [hit.id for hit in engine.open().find_written(query, 9).hits] == [photo.id]
