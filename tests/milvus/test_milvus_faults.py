"""What goes wrong on Milvus is told in a line: rows, texts and Models that others changed, servers
that are away, and changes that are made twice.
"""

import base64
import itertools
import json
import os
import secrets
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from pymilvus.grpc_gen import milvus_pb2, milvus_pb2_grpc

from deepfood.artifacts import with_checksum
from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.engine import engine_at
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactMissingError,
    DatasetError,
    EngineError,
    PhotoNotFoundError,
    QueryError,
    SettingError,
)
from deepfood.gallery.browse import After, Selected, Sort
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import PASSES
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.fold import addition_of
from deepfood.gallery.photo import Photo
from deepfood.gallery.written import parse_words
from deepfood.milvus import browse, calibrate, rollback_data, rows
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.connection import Connection
from deepfood.milvus.follow import JournalFollower
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import go_live, living_collection
from deepfood.milvus.journal import MilvusJournal
from deepfood.milvus.lease import HeldLease, Lease
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.milvus.model_copy import fetch_model, forget_model, keep_model
from deepfood.milvus.rows import Row, Rows
from deepfood.milvus.schema import KEYS, WHOLE_ROW, WORDS, row_of, words_for
from deepfood.milvus.stored_photos import StoredPhotos
from deepfood.milvus.successor import MilvusSuccessor, _merge_join
from deepfood.milvus.upgrade import upgrade_on_milvus
from deepfood.milvus.writer import MilvusWriter
from deepfood.model import open_model
from gallery_contract import GalleryUnderTest, new_photo, said
from milvus_engine import milvus_engine
from plates import tiny_embedder, write_photos


@pytest.fixture(scope="module")
def gallery(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings
) -> Iterator[MilvusGallery]:
    """Photos of two labels and one price, and others of none."""
    with MilvusWriter.open(address, settings) as writer:
        for number in range(8):
            writer.update(f"plate-0000{number}.jpg", label=f"soup {number % 2}")
        for number in (0, 2, 4, 6, 8):
            writer.update(f"plate-0000{number}.jpg", attributes={"price": 3})
    with MilvusGallery.open(address, settings) as gallery:
        yield gallery


@pytest.fixture(scope="module")
def metadata(gallery: MilvusGallery) -> GalleryMetadata:
    return gallery.metadata


@contextmanager
def altered(gallery: MilvusGallery, photo: Photo, change: Callable[[Row], object]) -> Iterator[Row]:
    """A row of the gallery is another meanwhile."""
    (before,) = gallery.rows.query(f'id == "{photo.id}"', WHOLE_ROW_AND_KEYS)
    (row,) = gallery.rows.query(f'id == "{photo.id}"', WHOLE_ROW_AND_KEYS)
    change(row)
    ask, collection = gallery.connection.ask, gallery.collection
    ask("upsert", collection_name=collection, data=[row])
    try:
        yield row
    finally:
        if row["id"] != before["id"]:
            ask("delete", collection_name=collection, ids=[row["id"]])
        ask("upsert", collection_name=collection, data=[before])


WHOLE_ROW_AND_KEYS = [*WHOLE_ROW, KEYS]


@contextmanager
def text_altered(metadata: GalleryMetadata, key: str, text: str | None) -> Iterator[None]:
    """A text beside the gallery is another meanwhile, or none."""
    before = metadata.read(key)
    assert before is not None
    if text is None:
        metadata.forget(key)
    else:
        metadata.write(key, text)
    try:
        yield
    finally:
        metadata.write(key, before)


# verify


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda row: row.update(vector=[2 * one for one in row["vector"]]), "has the length 2.000"),
        (lambda row: row.update(id="f" * 20), "its id does not match its content"),
        (lambda row: row.update({KEYS: [*row[KEYS], "more"]}), "its keys for filters and words do"),
    ],
)
def test_a_row_that_was_altered_is_named(
    change: Callable[[Row], object], said: str, engine: GalleryUnderTest, gallery: MilvusGallery
) -> None:
    photo = gallery.sample(1, 0)[0]
    with altered(gallery, photo, change):
        assert any(said in line for line in engine.problems())
    assert engine.problems() == []


def test_a_gallery_without_its_model_or_journal_is_told(
    engine: GalleryUnderTest, gallery: MilvusGallery, metadata: GalleryMetadata, tmp_path: Path
) -> None:
    settings = engine.settings.model_copy(update={"cache": tmp_path})  # which has no copy yet
    there = replace(engine, settings=settings)
    key = f"model/{gallery.manifest.model_fingerprint[:16]}/manifest.json"
    with text_altered(metadata, key, None):
        [said] = there.problems()
        assert "has no copy of its Model" in said
    (row, *_) = metadata.rows(
        'key == "journal"', ["id", "version", "part", "parts", "text"], "Strong"
    )
    values = [row["version"], row["part"], row["parts"]]
    metadata.put([(row["id"], "journal", *values, row["text"].replace("d", "e"))])
    [said] = there.problems()
    assert "is missing or altered" in said
    metadata.put([(row["id"], "journal", *values, row["text"])])
    stray = Path(str(engine.settings.photos_store)) / "photos" / "ab" / ("ab" * 32)
    stray.parent.mkdir(parents=True, exist_ok=True)
    stray.write_bytes(b"")
    [said] = there.problems()
    assert said.endswith(f"holds {'ab' * 32}, which has no row")
    stray.unlink()
    unfinished = gallery.manifest.model_copy(update={"whole": False})
    metadata.write_manifest(gallery.collection, unfinished)
    [said] = there.problems()
    assert "is incomplete: run the same build again, it resumes" in said
    metadata.write_manifest(gallery.collection, gallery.manifest.model_copy(update={"whole": True}))
    assert there.problems() == []


def test_a_row_that_differs_from_its_keys_is_no_answer(gallery: MilvusGallery) -> None:
    photo = next(one for one in gallery.photos()[0] if one.file == "plate-00001.jpg")
    [other] = gallery.rows.query('file == "plate-00000.jpg"', WHOLE_ROW_AND_KEYS)
    where = parse_filter("price = 3")
    with altered(gallery, photo, lambda row: row.update({KEYS: other[KEYS]})):
        with pytest.raises(ArtifactCorruptError, match="differs from its keys for filters"):
            gallery.find(gallery.vector(photo.id), 3, where=where)
        with pytest.raises(ArtifactCorruptError, match="not what filters and words find it by"):
            gallery.browse(Selected(where=where), Sort.parse("newest"), 5)
    with altered(gallery, photo, lambda row: row[KEYS].update({WORDS: " zebra "})):
        assert gallery.find_written(parse_words("zebra"), 5).hits == []


# Texts and Models beside the rows


def test_a_manifest_that_is_none_is_told(gallery: MilvusGallery, metadata: GalleryMetadata) -> None:
    with (
        text_altered(metadata, f"{gallery.collection}/manifest", "{}"),
        pytest.raises(ArtifactCorruptError, match=r"is damaged or of another version"),
    ):
        metadata.manifest(gallery.collection)
    with pytest.raises(ArtifactMissingError, match="has no manifest of plates_g000077"):
        metadata.manifest("plates_g000077", "Bounded")


def test_a_copy_of_a_model_is_not_believed(
    engine: GalleryUnderTest, metadata: GalleryMetadata, settings: Settings, tmp_path: Path
) -> None:
    model, other = engine.embedder.model, tiny_embedder(tmp_path / "other", pool=16).model
    keep_model(metadata, other)
    cached = tmp_path / "cache" / "models" / model.fingerprint[:16]
    mine = settings.model_copy(update={"cache": tmp_path / "cache"})

    def key(name: str) -> str:
        return f"model/{model.fingerprint[:16]}/{name}"

    # A folder of the cache that has become another Model's is fetched again.
    cached.parent.mkdir(parents=True)
    other.folder.rename(cached)
    assert fetch_model(metadata, model.fingerprint, mine).fingerprint == model.fingerprint
    (cached / "manifest.json").unlink()
    theirs = {
        name: metadata.read(f"model/{other.fingerprint[:16]}/{name}")
        for name in (*other.manifest.files, "manifest.json")
    }
    with ExitStack() as stack:
        for name, text in theirs.items():
            stack.enter_context(text_altered(metadata, key(name), text))
        with pytest.raises(ArtifactMissingError, match="does not hold the Model that its manifest"):
            fetch_model(metadata, model.fingerprint, mine)
    (manifest,) = [str(text) for name, text in theirs.items() if name == "manifest.json"]
    about = json.loads(base64.b85decode(manifest))
    about["files"] = {f"sub/{name}": one for name, one in about["files"].items()}
    del about["checksum"]
    text = base64.b85encode(with_checksum(json.dumps(about, indent=2).encode())).decode()
    with (
        text_altered(metadata, key("manifest.json"), text),
        pytest.raises(ArtifactMissingError, match="names a file 'sub/"),
    ):
        fetch_model(metadata, model.fingerprint, mine)
    forget_model(metadata, other.fingerprint)
    forget_model(metadata, other.fingerprint)  # which is no longer there
    with pytest.raises(ArtifactMissingError, match="has no copy of its Model"):
        fetch_model(metadata, other.fingerprint, mine)


# Pages, with few photos as of very many


def test_a_page_is_found_among_very_many_photos_of_one_value(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    sort = Sort.parse("price")
    whole = gallery.browse(Selected(), sort, 100).photos
    monkeypatch.setattr(browse, "_WINDOW", 2)
    found, cursor = list[Any](), None
    for _ in whole:
        page = gallery.browse(Selected(), sort, 1, cursor)
        found += page.photos
        cursor = page.next
    assert cursor is None
    assert found == whole


def test_labels_of_very_many_photos_are_counted_in_pages(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browse, "MOST", 8)
    first = gallery.label_page("soup", 1)
    assert first.next is not None
    second = gallery.label_page("soup", 1, first.next)
    assert second.next is None
    shown = [(one.label, one.count) for page in (first, second) for one in page.labels]
    assert shown == [("soup 0", 4), ("soup 1", 4)]


def test_a_cursor_that_ends_in_no_id_is_none(gallery: MilvusGallery) -> None:
    sort = Sort.parse("newest")
    evil = After(gallery.manifest.generation, 0, 'x" or id != "').text(
        Selected().digest(sort, "ids")
    )
    with pytest.raises(QueryError, match="is not a cursor: begin with the first page"):
        gallery.browse(Selected(), sort, 5, evil)


class EndsEarly(Rows):
    """As a graph search with a filter may: it finds none."""

    def _search(self, *_: Any) -> list[Row]:
        return []


def test_a_search_that_ends_early_compares_all_rows(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rows, "_KEPT", 1)
    query = gallery.vector(gallery.sample(1, 0)[0].id)
    found = EndsEarly(gallery.connection, gallery.collection, 64).hits(query, 2)
    wanted = gallery.search(query, 2)
    assert [hit.photo for hit in found] == [hit.photo for hit in wanted]
    assert [hit.score for hit in found] == pytest.approx([hit.score for hit in wanted], abs=1e-6)
    with pytest.raises(QueryError, match="16385 photos at once are too many for Milvus"):
        gallery.rows.hits(query, 16_385)


def test_vectors_are_those_of_their_photos_and_one_that_is_gone_is_named(
    gallery: MilvusGallery,
) -> None:
    ids = [photo.id for photo in gallery.sample(3, 0)]
    assert np.array_equal(gallery.vectors(ids), np.stack([gallery.vector(one) for one in ids]))
    with pytest.raises(PhotoNotFoundError, match="0" * 20):
        gallery.vectors([ids[0], "0" * 20])


def test_of_very_many_photos_a_sample_calibrates(
    gallery: MilvusGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = calibrate.labelled_photos(gallery)
    monkeypatch.setattr(calibrate, "_MOST", 12)
    some = calibrate.labelled_photos(gallery)
    assert 0 < len(some.labels) < len(every.labels) == gallery.count


# Rows


def test_a_row_holds_so_much_and_no_more(gallery: MilvusGallery) -> None:
    photo, vector = gallery.sample(1, 0)[0], np.ones(3, np.float32)
    with pytest.raises(DatasetError, match=r"its attributes have more than 60,000 bytes"):
        row_of(photo, vector, {f"a{number}": "x" * 1000 for number in range(70)}, 0)
    words = words_for(replace(photo, name="leek " * 2000), {})
    assert len(words) <= 4002
    assert set(words.split()) <= {"leek", "|"}


def test_added_photos_need_a_place(gallery: MilvusGallery, settings: Settings) -> None:
    photo = replace(gallery.sample(1, 0)[0], added=True)
    place = f"{settings.photos_store}/photos/{photo.sha256[:2]}/{photo.sha256}"
    assert StoredPhotos(gallery.manifest, settings).where(photo) == place
    there = gallery.sample(1, 0)[0]
    assert gallery.where(there).endswith(f"/{there.file}")
    nowhere = StoredPhotos(
        gallery.manifest.model_copy(update={"photos_store": None}),
        settings.model_copy(update={"photos_store": None}),
    )
    assert list(nowhere.kept()) == []
    with pytest.raises(SettingError, match="need a place for their bytes: set photos_store"):
        nowhere.keep(photo, b"")


def test_two_photos_of_one_name_are_named_by_their_ids(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings
) -> None:
    new = new_photo(engine, 801)
    new = replace(new, photo=replace(new.photo, file="plate-00002.jpg"))
    with MilvusWriter.open(address, settings) as writer:
        writer.add([new])
        with pytest.raises(QueryError, match=rf"2 photos are called .*{new.photo.id}"):
            writer.update("plate-00002.jpg", label="soup")
        writer.remove([new.photo.id])


def test_rows_of_two_generations_are_compared_in_the_order_of_their_ids() -> None:
    def rows_of(ids: str) -> list[Row]:
        return [{"id": one} for one in ids]

    pairs = [
        (one and one["id"], other and other["id"])
        for one, other in _merge_join(rows_of("ace"), rows_of("bcde"))
    ]
    assert pairs == [("a", None), (None, "b"), ("c", "c"), (None, "d"), ("e", "e")]
    with pytest.raises(EngineError, match="out of order"):
        list(_merge_join(rows_of("ba"), []))


# Changes


def test_a_change_that_is_made_twice_counts_once(
    engine: GalleryUnderTest, address: MilvusAddress, settings: Settings
) -> None:
    """Somebody begins to make a next generation between the two tries."""
    times: list[int] = []

    @contextmanager
    def twice(writer: MilvusWriter) -> Iterator[None]:
        stable = writer.in_stable_generation
        with ExitStack() as stack:

            def begun_meanwhile(change: Callable[[], Any]) -> Any:
                tries = []

                def again() -> Any:
                    tries.append(change)
                    done = change()
                    if len(tries) == 1:
                        stack.enter_context(HeldLease.take(writer._metadata))
                    return done

                writer.in_stable_generation = stable  # type: ignore[method-assign]
                done = stable(again)
                times.append(len(tries))
                return done

            writer.in_stable_generation = begun_meanwhile  # type: ignore[method-assign]
            yield

    new = new_photo(engine, 802)
    with MilvusWriter.open(address, settings) as writer:
        with twice(writer):
            assert writer.declare({"twice": Definition("number")}) == ["twice"]
        with twice(writer):
            writer.drop_attribute("twice")
        with twice(writer):
            assert writer.add([new]) == ["added"]
        with twice(writer):
            assert [photo.id for photo in writer.remove([new.photo.id])] == [new.photo.id]
    assert times == [2, 2, 2, 2]
    assert engine.problems() == []


def test_a_gallery_that_is_not_there_is_not_changed(
    address: MilvusAddress, settings: Settings, engine: GalleryUnderTest, tmp_path: Path
) -> None:
    nowhere = MilvusAddress(address.uri, "nowhere")
    with (
        MilvusWriter.open(nowhere, settings) as writer,
        pytest.raises(ArtifactMissingError, match="there is no gallery"),
    ):
        writer.update("a.jpg", label="soup")
    with pytest.raises(ArtifactMissingError, match="there is no gallery"):
        upgrade_on_milvus(nowhere, settings)
    other = tiny_embedder(tmp_path / "other", pool=16).model
    not_begun = pytest.raises(ArtifactMissingError, match="is not being embedded again")
    with not_begun, engine.at.beside(other):
        pass


def test_the_alias_of_a_living_generation_stays(gallery: MilvusGallery) -> None:
    go_live(gallery.connection, gallery.collection)
    assert living_collection(gallery.connection) == gallery.collection


def wait_until(happened: Callable[[], bool]) -> None:
    until = time.monotonic() + 60
    while not happened():
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_lease_that_another_takes_is_lost_and_one_that_is_not_renewed_in_time_is_not(
    metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.milvus.lease._AGAIN_S", 0.05)
    asking, failed = Connection.ask, list[str]()

    def renewing() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if one.name == "lease"]

    def away(connection: Connection, verb: str, **arguments: Any) -> Any:
        if threading.current_thread().name == "lease" and len(failed) < 3:
            failed.append(verb)
            raise EngineError("the engine is away")
        return asking(connection, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", away)
    with HeldLease.take(metadata) as held:
        wait_until(lambda: len(failed) == 3)
        held.check()
        later = Lease("f" * 16, "filling", int((time.time() + 3600) * 1000))
        later.write(metadata)
        wait_until(lambda: not renewing())
        with pytest.raises(ArtifactBusyError, match="another process has begun"):
            held.check()
    replace(later, phase="over", until=later.until + 1).write(metadata)


@pytest.mark.parametrize("done", [True, False])
def test_an_alias_whose_answer_is_lost_is_looked_for(
    done: bool, metadata: GalleryMetadata, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next try is refused, as it is there already, or gone; or it is refused for good."""
    asking, alias = Connection.ask, f"lost_{secrets.token_hex(4)}"

    def lost(connection: Connection, verb: str, **arguments: Any) -> Any:
        if verb not in ("create_alias", "drop_alias"):
            return asking(connection, verb, **arguments)
        if done:
            asking(connection, verb, **arguments)
        raise EngineError(f"refused {verb}")

    for change, verb in ((metadata.add_alias, "create_alias"), (metadata.drop_alias, "drop_alias")):
        with monkeypatch.context() as patch:
            patch.setattr(Connection, "ask", lost)
            if done:
                change(alias)
            else:
                with pytest.raises(EngineError, match=f"refused {verb}"):
                    change(alias)
        assert (alias in metadata.aliases()) == ((verb == "create_alias") == done)
        if verb == "create_alias" and not done:
            metadata.add_alias(alias)
    if not done:
        metadata.drop_alias(alias)


# Servers


def test_a_server_that_is_away_is_named_after_some_tries(settings: Settings) -> None:
    quick = settings.model_copy(update={"milvus_timeout_s": 0.2})
    with closing(Connection(MilvusAddress("http://127.0.0.1:9", "plates"), quick)) as connection:
        said = r"127\.0\.0\.1:9/plates did not list_collections within 0\.2 s: .*milvus_timeout_s"
        with pytest.raises(EngineError, match=said):
            connection.ask("list_collections")


class OnlyConnects(milvus_pb2_grpc.MilvusServiceServicer):
    """A server that has none of Milvus' methods but this one."""

    def Connect(self, request: object, context: object) -> Any:
        return milvus_pb2.ConnectResponse()


def test_a_server_of_another_kind_is_named(settings: Settings) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    milvus_pb2_grpc.add_MilvusServiceServicer_to_server(OnlyConnects(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    quick = settings.model_copy(update={"milvus_timeout_s": 0.2})
    address = MilvusAddress(f"http://127.0.0.1:{port}", "plates")
    try:
        with (
            closing(Connection(address, quick)) as other,
            pytest.raises(EngineError, match=r"did not describe_alias within 0\.2 s: Method not"),
        ):
            living_collection(other)
    finally:
        server.stop(None).wait()


def test_rows_that_are_dropped_while_they_are_read_are_refused(
    address: MilvusAddress, settings: Settings
) -> None:
    own = MilvusAddress(address.uri, f"dropped_{secrets.token_hex(4)}")
    with closing(Connection.strong(own, settings)) as connection:
        texts = GalleryMetadata(connection)
        texts.create(settings)
        for number in range(5):
            texts.write(f"text {number}", "soup")
        reading = connection.every(texts.collection, "", ["key"], page=2)
        next(reading)
        connection.ask("drop_collection", collection_name=texts.collection)
        with pytest.raises(EngineError, match="refuses query_iterator"):
            list(reading)


# What rolls a gallery back


@pytest.fixture
def own(
    engine: GalleryUnderTest,
    address: MilvusAddress,
    settings: Settings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[GalleryUnderTest]:
    """Six photos, read and written two at a time, as very many are by the thousand."""
    for module in ("rows", "follow", "successor", "before_images", "living_rows"):
        monkeypatch.setattr(f"deepfood.milvus.{module}.BATCH", 2)
    monkeypatch.setattr("deepfood.milvus.successor._S", 0)
    there = MilvusAddress(address.uri, f"own_{secrets.token_hex(4)}")
    mine = settings.model_copy(update={"photos_store": str(tmp_path / "store")})
    with milvus_engine(tmp_path, there, mine, write_photos(tmp_path / "photos", 6)) as made:
        yield made


def test_batch_by_batch_a_gallery_is_built_changed_and_rolled_back(
    own: GalleryUnderTest, tmp_path: Path
) -> None:
    def labels(**of: str) -> None:
        lines = [f"{name.replace('_', '-')}.jpg,{label}" for name, label in of.items()]
        (own.photos / "photos.csv").write_text("\n".join(["photo,label", *lines]))

    labels(plate_00001="soup", plate_00002="stew", plate_00003="pie", plate_00004="pie")
    own.build()
    before = said(own)
    labels(plate_00001="cake", plate_00002="cake", plate_00003="cake", plate_00004="cake")
    own.build()
    changed = said(own)
    assert [one.label for one, _ in changed.values()].count("cake") == 4
    with own.writing() as writer:
        (gone,) = writer.remove(["plate-00003.jpg"])
    own.at.rollback(quiet=True)
    now = said(own)
    assert gone.id not in now, "removed by hand since"
    assert {one: now[one][0].label for one in now} == {
        one: before[one][0].label for one in before if one != gone.id
    }
    other = tiny_embedder(tmp_path / "other", pool=16)
    assert own.at.reembed(other, quiet=True).made == 3
    assert own.problems() == []
    connection = Connection.strong(MilvusAddress.parse(own.place), own.settings)
    with closing(connection), HeldLease.take(GalleryMetadata(connection)):
        assert own.problems() == [], "a rollback may be using its data"
    with closing(Connection.strong(MilvusAddress.parse(own.place), own.settings)) as connection:
        earlier = f"{connection.address.name}_g000001"
        assert own.at.describe()["before"]["generation"] == 1
        with text_altered(GalleryMetadata(connection), f"{earlier}/manifest", None):
            assert own.at.describe()["before"] is None, "verify tells what is wrong with it"
        connection.ask("release_collection", collection_name=earlier)
        connection.ask("drop_collection", collection_name=earlier)
    [fault] = own.problems()
    assert f"there is no collection {earlier}: deepfood verify --repair removes these" in fault
    done, left = own.at.repair(quiet=True)
    assert ["the previous generation is removed" in line for line in done] == [True]
    assert left == []


@pytest.mark.parametrize("way", ["build", "reembed"])
def test_a_gallery_that_is_changed_without_pause_is_made_all_the_same(
    own: GalleryUnderTest, way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last changes are taken over while writers wait: not more than some passes before."""
    work: Any = {"build": JournalFollower, "reembed": MilvusSuccessor}[way]
    catch_up, photo, calls = work.catch_up, own.open().sample(1, 0)[0].id, itertools.count()
    passes = {"build": 1 + PASSES, "reembed": PASSES}[way]

    def changed_before(self: Any) -> int:
        if (number := next(calls)) < passes:
            with own.writing() as writer:
                writer.update(photo, photo_name=f"name {number}")
        found: int = catch_up(self)
        return found

    monkeypatch.setattr(work, "catch_up", changed_before)
    monkeypatch.setattr("deepfood.milvus.renew._FEW", 0)
    if way == "build":
        own.build()
    else:
        own.at.reembed(tiny_embedder(tmp_path / "other", pool=16), quiet=True)
    assert next(calls) == passes + (way == "reembed")
    assert said(own)[photo][0].name == f"name {passes - 1}"


def test_a_copy_takes_the_place_of_a_photo_that_is_lost(own: GalleryUnderTest) -> None:
    photo = next(one for one in own.open().photos()[0] if one.file == "plate-00003.jpg")
    shutil.copy(own.photos / photo.file, own.photos / "z-copy.jpg")
    [skipped] = own.build().skipped
    assert (skipped.file, skipped.same_as) == ("z-copy.jpg", photo.sha256)
    with closing(own.at.open()[0]) as gallery:
        assert isinstance(gallery, MilvusGallery)
        gallery.connection.ask("delete", collection_name=gallery.collection, ids=[photo.id])
    (own.photos / photo.file).unlink()
    own.build()
    now = said(own)
    assert len(now) == 6
    assert now[photo.id][0].file == "z-copy.jpg"
    assert own.problems() == []


def test_the_first_build_takes_the_model_that_ships_and_the_next_the_gallerys_own(
    address: MilvusAddress, settings: Settings, tmp_path: Path
) -> None:
    place = MilvusAddress(address.uri, f"own_{secrets.token_hex(4)}")
    photos = list_photos(write_photos(tmp_path / "photos", 2))
    engine = engine_at(str(place), settings)
    first = engine.build(photos, quiet=True)
    assert first.manifest.model_fingerprint == open_model().fingerprint
    assert (first.count, first.embedded) == (2, 2)
    elsewhere = engine_at(str(place), settings.model_copy(update={"cache": tmp_path / "cache"}))
    again = elsewhere.build(photos, quiet=True)
    assert (again.count, again.embedded) == (2, 0)
    assert again.manifest.model_fingerprint == first.manifest.model_fingerprint


def test_rollback_data_that_are_replaced_while_they_are_read_have_no_fault(
    engine: GalleryUnderTest,
    gallery: MilvusGallery,
    metadata: GalleryMetadata,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = gallery.follow()

    def away(*_: object) -> list[str]:
        raise EngineError("the engine is away")

    def replaced(*_: object) -> list[str]:
        newer = before.model_copy(update={"revision": before.revision + 1})
        metadata.write_manifest(gallery.collection, newer)
        raise EngineError("a collection is gone")

    monkeypatch.setattr(rollback_data, "_generation_faults", replaced)
    assert engine.problems() == []
    metadata.write_manifest(gallery.collection, before)
    monkeypatch.setattr(rollback_data, "_generation_faults", away)
    with pytest.raises(EngineError, match="the engine is away"):
        engine.problems()


def test_photos_that_cannot_be_read_are_gone_like_those_that_are_not_there(
    own: GalleryUnderTest,
) -> None:
    for number in range(4):
        (own.photos / f"plate-0000{number}.jpg").write_bytes(b"no photo")
    os.truncate(own.photos / "plate-00000.jpg", 2**30)  # larger than any photo may be
    with pytest.raises(DatasetError, match=r"4 of the 6 photos .* are no longer in"):
        own.build()


def test_a_gallery_of_an_unmarked_format_gets_its_mark(
    own: GalleryUnderTest,
) -> None:
    with closing(own.at.open()[0]) as gallery:
        assert isinstance(gallery, MilvusGallery)
        old = gallery.manifest.model_copy(update={"format": 1})
        gallery.metadata.write_manifest(gallery.collection, old)
        done, left = own.at.repair(quiet=True)
        assert done == ["the gallery has the current format: only its manifest was written"]
        assert left == []
        assert gallery.metadata.manifest(gallery.collection).format == 2


def test_an_added_photo_whose_bytes_are_gone_is_told(own: GalleryUnderTest) -> None:
    with own.writing() as writer:
        writer.add([new_photo(own, 803)])
    other: Embedder = tiny_embedder(own.photos.parent / "other", pool=16)
    for path in Path(str(own.settings.photos_store)).rglob("*"):
        if path.is_file():
            path.unlink()
    address = MilvusAddress.parse(own.place)
    report = build_on_milvus(list_photos(own.photos), address, other, own.settings, quiet=True)
    assert (report.count, report.gone) == (6, ("new-803.jpg",))
    [skipped] = report.skipped
    assert skipped.reason == "the gallery's copy of its bytes is gone or damaged: add it again"


def test_an_added_photo_of_a_killed_writer_that_kept_no_bytes_is_told(
    own: GalleryUnderTest,
) -> None:
    new = new_photo(own, 804)
    connection = Connection(MilvusAddress.parse(own.place), own.settings)
    with closing(connection):
        journal = MilvusJournal(GalleryMetadata(connection), "killed")
        journal.append("add", {"photos": [addition_of(new.photo, {})]})
    report = own.build()
    assert report.count == 6
    [skipped] = report.skipped
    assert skipped.reason == "the gallery's copy of its bytes is gone or damaged: add it again"
    assert new.photo.id not in said(own)


def test_a_gallery_without_photos_is_not_embedded_again(
    own: GalleryUnderTest, tmp_path: Path
) -> None:
    with own.writing() as writer:
        writer.remove([photo.id for photo in own.open().sample(10, 0)])
    with pytest.raises(DatasetError, match="has no photos: build it, or add some"):
        own.at.reembed(tiny_embedder(tmp_path / "other", pool=16), quiet=True)
