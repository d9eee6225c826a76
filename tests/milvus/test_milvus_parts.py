"""The contract of parts of photos, kept on Milvus Lite, and what only Milvus does for it."""

import secrets
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.parts import StoredParts
from parts_contract import *  # noqa: F403
from parts_contract import Place, check_answers, check_whole


@pytest.fixture
def place(address: MilvusAddress, settings: Settings, tmp_path: Path) -> Place:
    own = MilvusAddress(address.uri, f"parts_{secrets.token_hex(4)}")
    given = settings.model_dump(include={"cache", "milvus_timeout_s"})
    return Place(str(own), {**given, "photos_store": str(tmp_path / "store")}, exact=1e-5)


@pytest.fixture
def kills(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Ends work instead of the write with this number; 0 lets all go on."""
    left, ask = [0], Connection.ask

    def killed(self: Connection, verb: str, **arguments: Any) -> Any:
        if verb in {"upsert", "delete", "create_collection"}:
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt
        return ask(self, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", killed)
    return left


def test_a_build_that_was_killed_is_ended_by_the_next(
    place: Place, photos: Path, embedder: Embedder, kills: list[int]
) -> None:
    """It begins to keep parts; what was found is kept, and they are searched once all are there."""
    engine = place.built(photos, embedder, parts=None)
    source, number, ended = list_photos(photos), 0, False
    while not ended:
        number += 1
        kills[0] = number
        try:
            engine.build(source, parts=True, quiet=True)
            ended = True
        except KeyboardInterrupt:
            kills[0] = 0
            parts = engine.describe()["parts"]
            assert parts is None or not list(engine.problems(quiet=True))
    kills[0] = 0
    assert number > 5
    check_whole(engine)
    assert check_answers(place, embedder)
    engine.rollback(quiet=True)
    assert engine.describe()["parts"] is None


def test_what_a_killed_writer_has_left_is_told_and_mended_by_a_build(
    place: Place, photos: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its photo's row is written, and the copies in the rows of the parts are not."""
    engine = place.built(photos, embedder)
    with monkeypatch.context() as patch, engine.writer() as writer:
        patch.setattr(StoredParts, "settle", lambda *_: None)
        writer.update("tables/3.jpg", label="soup")
        writer.remove(["tables/4.jpg"])
    assert any("its parts differ from it" in line for line in engine.problems(quiet=True))
    engine.build(list_photos(photos), quiet=True)
    check_whole(engine)
    assert check_answers(place, embedder)


def test_parts_that_were_altered_are_named_and_found_again(
    place: Place, photos: Path, embedder: Embedder
) -> None:
    engine = place.built(photos, embedder)
    with closing(engine.open_to_read()) as gallery:
        assert isinstance(gallery, MilvusGallery)
        ask, collection = gallery.connection.ask, gallery.parts().collection
        rows = gallery.connection.query(collection, "part == 0", ["*"])
        first, second, *_ = rows
        ask(
            "upsert",
            collection_name=collection,
            data=[{**first, "vector": [2 * one for one in first["vector"]]}],
        )
        ask("delete", collection_name=collection, ids=[second["id"]])
    said = list(engine.problems(quiet=True))
    assert "finds them again" in said[0]
    assert [line.partition(": ")[0] for line in sorted(said)] == [
        f"photo {one}" for one in sorted([first["photo"], second["photo"]])
    ]
    assert any("the vector of a part is altered" in line for line in said)
    assert any("some of its parts are missing" in line for line in said)
    done, left = engine.repair(quiet=True)
    assert done == ["the parts of 2 photos are found again"]
    assert left == []
    assert check_answers(place, embedder)
