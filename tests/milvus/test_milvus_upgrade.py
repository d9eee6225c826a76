"""A gallery on Milvus that was made before there was a journal, upgraded to the current format."""

import json
import secrets
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from milvus_lite.adapter.grpc.server import start_server_in_thread
from pymilvus import CollectionSchema, DataType, FieldSchema

from deepfood.config import load_settings
from deepfood.data.photos import list_photos
from deepfood.errors import ArtifactFormatError, EngineError
from deepfood.gallery.photo import REMOVED, Skipped
from deepfood.milvus.absent_edits import AbsentEdits
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import collection_of, drop_others, go_live
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.milvus.schema import PHOTO_ROW, WRITTEN, index_of, photo_schema
from deepfood.milvus.upgrade import upgrade_on_milvus
from deepfood.milvus.verify import problems_on_milvus
from gallery_contract import COLUMNS, GalleryUnderTest, new_photo, said
from live import run_here
from milvus_engine import milvus_engine
from plates import Counting

FIELDS = [*PHOTO_ROW, "vector", "keys", WRITTEN]


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield f"http://127.0.0.1:{port}"
    server.stop(None).wait()
    db.close()


@pytest.fixture
def engine(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[GalleryUnderTest]:
    """With all that people say, and two files removed: one before the last build, one since."""
    monkeypatch.setenv("DEEPFOOD_PHOTOS_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("DEEPFOOD_MILVUS_TIMEOUT_S", "60")
    settings = load_settings()
    address = MilvusAddress(uri, f"old_{secrets.token_hex(4)}")
    with milvus_engine(tmp_path, address, settings) as made:
        with made.writing() as writer:
            writer.add([new_photo(made, 905)])
            writer.update("plate-00003.jpg", label="soup", attributes={"price": 4.5})
            writer.update("plate-00004.jpg", attributes={"allergens": ["peanut"]})
            writer.remove(["plate-00007.jpg"])
        made.build()
        with made.writing() as writer:
            writer.remove(["plate-00008.jpg"])
        yield made


def address_of(engine: GalleryUnderTest) -> MilvusAddress:
    return MilvusAddress.parse(engine.place)


def photos_with_vectors(engine: GalleryUnderTest) -> dict[str, Any]:
    gallery = engine.open()
    photos, vectors, rows = gallery.photos()
    return {one.id: vectors.take(rows)[at].tolist() for at, one in enumerate(photos)}


def undo_the_journal(engine: GalleryUnderTest) -> None:
    """Make the gallery one of format 1, as deepfood wrote them: what the journal added is gone."""
    address, settings = address_of(engine), engine.settings
    with closing(Connection.strong(address, settings)) as connection:
        metadata = GalleryMetadata(connection)
        gallery = MilvusGallery(connection, settings)
        fold = gallery.journal.read().fold
        removed = [one for one in (fold[sha256].removed for sha256 in fold) if one]
        old = collection_of(address.name, 7)
        fields = [*photo_schema(gallery.manifest.dimension).fields]
        schema = CollectionSchema([*fields, FieldSchema("edited", DataType.BOOL)])
        connection.ask("create_collection", collection_name=old, schema=schema)
        connection.ask("create_index", collection_name=old, index_params=index_of(settings))
        connection.load(old)
        rows = []
        for row in gallery.rows.every(FIELDS):
            by_hand = row["said"].pop("by_hand")
            rows.append({**row, "edited": bool(by_hand)})
        connection.ask("upsert", collection_name=old, data=rows)
        skipped = [
            Skipped(one["file"], REMOVED, one["bytes"], one["modified_ns"]) for one in removed
        ]
        left_out = [one for one in gallery.left_out() if one.reason != REMOVED]
        metadata.write(
            f"{old}/left_out", json.dumps([asdict(one) for one in left_out + skipped[:1]])
        )
        for one in skipped[1:]:
            text = json.dumps(asdict(one))
            metadata.put([(f"{old}/removed/{one.file}", f"{old}/removed", 0, 0, 1, text)])
        manifest = {**gallery.manifest.model_dump(mode="json"), "format": 1, "generation": 7}
        metadata.write(f"{old}/manifest", json.dumps(manifest))
        go_live(connection, old)
        gallery.journal.forget()
        AbsentEdits(metadata).replace(type(fold)(), ())
        drop_others(connection, metadata, {7})


def test_an_earlier_gallery_is_refused_and_brought_over_with_all_that_was_said(
    engine: GalleryUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    before, vectors = said(engine), photos_with_vectors(engine)
    undo_the_journal(engine)
    place = str(address_of(engine))
    for command in (
        ["info", place],
        ["verify", place],
        ["build", engine.photos, "--out", place],
        ["history", place],
        ["reembed", place, "--model", engine.embedder.model.folder],
        ["rollback", place],
        ["search", place, engine.photos / "plate-00001.jpg"],
        ["add", place, engine.photos / "plate-00001.jpg"],
    ):
        assert run_here(*command) == 2, command
        assert f"deepfood verify --repair {place}" in capsys.readouterr().err, command
    assert run_here("verify", place, "--repair") == 0
    assert "the current format: 23 photos as before" in capsys.readouterr().out
    after = said(engine)
    assert after.keys() == before.keys()
    for photo_id, (photo, attributes) in before.items():
        by_hand = photo.label_edited or photo.name_edited
        now, values = after[photo_id]
        assert (now.label, now.name, now.added) == (photo.label, photo.name, photo.added)
        assert now.label_edited == now.name_edited == by_hand
        assert values == attributes
    assert photos_with_vectors(engine) == vectors
    assert list(problems_on_milvus(address_of(engine), engine.settings, quiet=True)) == []
    counted = Counting(engine.embedder)
    source = list_photos(engine.photos)
    built = build_on_milvus(source, address_of(engine), counted, engine.settings, quiet=True)  # type: ignore[arg-type]
    assert (counted.asked, built.up_to_date) == (0, True)
    assert said(engine) == after
    with engine.writing() as writer:
        assert writer.declared().keys() == COLUMNS.keys()
        writer.update("plate-00004.jpg", label="stew")
    assert run_here("verify", place, "--repair") == 2, "nothing is there to mend"
    assert "repaired by building it again" in capsys.readouterr().err


def test_a_removed_photo_stays_out_by_its_content(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    undo_the_journal(engine)
    with closing(Connection.strong(address_of(engine), engine.settings)) as connection:
        metadata, old = GalleryMetadata(connection), collection_of(address_of(engine).name, 7)
        manifest = json.loads(str(metadata.read(f"{old}/manifest")))
        # It had another Model before, and has no attributes.
        metadata.write(f"{old}/manifest", json.dumps({**manifest, "before": 6}))
        metadata.write_columns({})
    monkeypatch.setattr("deepfood.milvus.upgrade.BATCH", 5)
    done = upgrade_on_milvus(address_of(engine), engine.settings, quiet=True)
    assert any("the previous generation is deleted" in line for line in done)
    before = said(engine)
    (engine.photos / "plate-00007.jpg").rename(engine.photos / "other-name.jpg")
    engine.build()
    assert said(engine).keys() == before.keys()


def test_an_upgrade_that_is_killed_begins_again(
    engine: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = said(engine)
    undo_the_journal(engine)
    address, settings = address_of(engine), engine.settings
    for where in ("finish_index", "generation_for", "go_live"):
        with monkeypatch.context() as patched:
            patched.setattr(f"deepfood.milvus.upgrade.{where}", _killed)
            with pytest.raises(EngineError, match="killed"):
                upgrade_on_milvus(address, settings, quiet=True)
        with pytest.raises(ArtifactFormatError):
            MilvusGallery.open(address, settings)
    upgrade_on_milvus(address, settings, quiet=True)
    assert said(engine).keys() == before.keys()
    assert list(problems_on_milvus(address, settings, quiet=True)) == []
    assert len(list(engine.open().history())) < 12, "what a killed one wrote of it is gone"  # type: ignore[attr-defined]


def _killed(*_: object, **__: object) -> None:
    raise EngineError("killed")
