"""The contract of parts of photos on Milvus, and what only Milvus does for it, on Milvus Lite as on
a cluster.

A test module that imports these tests gives the fixtures `address` and `settings`.
"""

import itertools
import math
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from threading import Event, Thread, current_thread
from typing import Any

import pytest

from deepfood.config import Settings
from deepfood.data.photo_file import PhotoFile
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import PhotoNotFoundError
from deepfood.gallery.embedding import embed_photo
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from parts_contract import *  # noqa: F403
from parts_contract import TABLES, Place, check_answers, check_whole, finds, parts_of, table


@pytest.fixture
def place(address: MilvusAddress, settings: Settings, tmp_path: Path) -> Place:
    own = MilvusAddress(address.uri, f"parts_{secrets.token_hex(4)}")
    given = settings.model_dump(include={"cache", "milvus_timeout_s", "milvus_consistency"})
    return Place(str(own), {**given, "photos_store": str(tmp_path / "store")}, exact=1e-5)


@contextmanager
def before_change(called: Callable[[str, str], object]) -> Iterator[None]:
    """Has each request that changes a collection call with its verb and the collection's name."""
    ask = Connection.ask

    def asked(self: Connection, verb: str, **arguments: Any) -> Any:
        if verb in {"upsert", "delete", "create_collection"}:
            called(verb, arguments["collection_name"])
        return ask(self, verb, **arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "ask", asked)
        yield


def seeds_with_parts(embedder: Embedder) -> list[int]:
    """Seeds of the gallery's tables that have parts."""
    return [one for one in range(TABLES) if parts_of(embedder, one).boxes]


def test_a_build_that_was_killed_is_ended_by_the_next(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    """It begins to keep parts; what was found is kept, and they are searched once all are there."""
    engine = place.built(photos, embedder, parts=None)
    source, number, ended = list_photos(photos), 0, False
    while not ended:
        number += 1
        left = itertools.count(1)

        def kill(*_: str, left: Iterator[int] = left, number: int = number) -> None:
            if next(left) == number:
                raise KeyboardInterrupt

        try:
            with before_change(kill):
                engine.build(source, parts=True, quiet=True)
            ended = True
        except KeyboardInterrupt:
            parts = engine.describe()["parts"]
            assert parts is None or not list(engine.problems(quiet=True))
    assert number > 5
    check_whole(engine)
    assert check_answers(place, embedder)
    engine.rollback(quiet=True)
    assert engine.describe()["parts"] is None


def test_what_a_killed_writer_has_left_is_told_and_mended_by_a_build(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    """Its photo's row is written, and the copies in the rows of the parts are not.

    Answers are right all the same.
    """

    def kill(_: str, collection: str) -> None:
        if collection.endswith("_parts"):
            raise KeyboardInterrupt

    engine = place.built(photos, embedder)
    changed, removed, *_ = seeds_with_parts(embedder)
    with before_change(kill), engine.writer() as writer:
        with pytest.raises(KeyboardInterrupt):
            writer.update(f"tables/{changed}.jpg", label="soup")
        with pytest.raises(KeyboardInterrupt):
            writer.remove([f"tables/{removed}.jpg"])
    assert any("its parts differ from it" in line for line in engine.problems(quiet=True))
    assert check_answers(place, embedder)
    engine.build(list_photos(photos), quiet=True)
    check_whole(engine)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_photo_that_is_deleted_and_added_at_once_is_looked_at_again(
    place: Place, photos: Path, embedder: Embedder, *, is_late: bool
) -> None:
    """It is added just before its parts are deleted, or `is_late`: its row is written after."""
    engine = place.built(photos, embedder)
    seed = seeds_with_parts(embedder)[0]
    one = embed_photo(table(seed), PhotoFile(f"{seed}.jpg"), embedder)
    arrived, deleted = Event(), Event()

    def add() -> None:
        with engine.writer(embedder.model) as writer:
            writer.add([one])

    def meet(verb: str, collection: str) -> None:
        if current_thread() is adding:
            if is_late and collection.endswith("_g000001"):
                arrived.set()
                deleted.wait()
        elif verb == "delete" and collection.endswith("_parts"):
            adding.start()
            if is_late:
                arrived.wait()
            else:
                adding.join()

    adding = Thread(target=add, daemon=True)
    with before_change(meet), engine.writer() as writer:
        writer.remove([one.photo.id])
        deleted.set()
        adding.join()
    assert list(engine.problems(quiet=True)) == [
        "1 photo was not looked at for parts: build the gallery again"
    ]
    with closing(engine.open_to_read()) as gallery:
        engine.look_after(gallery, PartEmbedder(embedder))
    assert finds(engine, embedder, seed)
    check_whole(engine)


def test_parts_that_were_altered_or_lost_are_named_and_found_again(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    engine = place.built(photos, embedder)
    with closing(engine.open_to_read()) as gallery:
        assert isinstance(gallery, MilvusGallery)
        ask, parts = gallery.connection.ask, gallery.parts().collection
        altered, lacking, lost, *_ = gallery.connection.query(parts, "part == 0", ["*"])
        vector = [2 * one for one in altered["vector"]]
        ask("upsert", collection_name=parts, data=[{**altered, "vector": vector}])
        ask("delete", collection_name=parts, ids=[lacking["id"]])
        ask("delete", collection_name=parts, filter=f'photo == "{lost["photo"]}"')
    mends = "deepfood verify --repair finds them again"
    assert sorted(engine.problems(quiet=True)) == sorted(
        f"photo {row['photo']}: {fault}: {mends}"
        for row, fault in [
            (altered, "the vector of a part is altered"),
            (lacking, "some of its parts are missing"),
            (lost, "all of its parts are missing"),
        ]
    )
    assert engine.repair(quiet=True) == (["the parts of 3 photos are found again"], [])
    assert check_answers(place, embedder)


def test_vectors_of_photos_are_read_many_at_a_time(
    place: Place, photos: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.milvus.parts.BATCH", 4)
    query, asked = Connection.query, list[str]()

    def counted(self: Connection, collection: str, *given: Any, **more: Any) -> Any:
        if ["id", "vector"] in given:
            asked.append(collection)
        return query(self, collection, *given, **more)

    engine = place.built(photos, embedder, parts=None)
    with closing(engine.open_to_read()) as gallery:
        assert isinstance(gallery, MilvusGallery)
        every, count = gallery.sample(gallery.count, 0), gallery.count
        with engine.writer() as writer:
            writer.remove([every[5].id])
        monkeypatch.setattr(Connection, "query", counted)
        wholes = gallery.parts().wholes([one.id for one in every])
        with pytest.raises(PhotoNotFoundError, match="removed from the gallery meanwhile"):
            wholes.of(every[5])
        for one in every[:5] + every[6:]:
            assert wholes.of(one) == pytest.approx(embedder.embed(gallery.read(one)), abs=1e-6)
        assert asked == [gallery.collection] * math.ceil(count / 4)
        asked.clear()
        engine.build(list_photos(photos), parts=True, quiet=True)
        assert len(asked) == math.ceil(count / 4)
    check_whole(engine)
