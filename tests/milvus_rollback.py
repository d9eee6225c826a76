"""Rollback data of builds on Milvus: damage is found, and concurrent writers do not lose them.

A test module that imports these tests gives the fixtures `engine`, `address` and `settings`, and
`new_gallery` of `milvus_contract`.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import samples
from deepfood.data.photo_file import PhotoFile
from deepfood.errors import ArtifactBusyError, ArtifactCorruptError, ArtifactMissingError
from deepfood.gallery.calibration import Calibration, Labelled, calibrate
from deepfood.gallery.declared import Definition
from deepfood.gallery.embedding import embed_photo
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.living_rows import LivingRows
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.milvus.writer import MilvusWriter
from gallery_contract import GalleryUnderTest, said
from plates import tiny_embedder, write_dishes

#: Damages the before-images in a collection.
Damage = Callable[[Connection, GalleryMetadata, str], object]


def new_file(engine: GalleryUnderTest, seed: int) -> str:
    """A photo that the gallery's source has from now on."""
    name = f"new-{seed}.jpg"
    (engine.photos / name).write_bytes(samples.photo(70, 70, seed))
    return name


def change_photos(engine: GalleryUnderTest, seed: int) -> str:
    """One photo of the source is gone, and another is new; the file of the first."""
    gone = str(min(photo.file for photo, _ in said(engine).values() if not photo.added))
    (engine.photos / gone).unlink()
    new_file(engine, seed)
    return gone


@contextmanager
def asking(engine: GalleryUnderTest) -> Iterator[tuple[Connection, GalleryMetadata]]:
    address = MilvusAddress.parse(engine.place)
    with closing(Connection.strong(address, engine.settings)) as connection:
        yield connection, GalleryMetadata(connection)


def images_of(connection: Connection) -> str:
    """The newest collection of before-images."""
    name = f"{connection.address.name}_g000001_b"
    return str(max(one for one in connection.ask("list_collections") if one.startswith(name)))


def image_in(connection: Connection, images: str) -> dict[str, Any]:
    connection.load(images)
    return dict(next(connection.every(images, "", ["*"])))


def alter(field: str, value: Any) -> Damage:
    def damage(connection: Connection, _: GalleryMetadata, images: str) -> None:
        row = image_in(connection, images)
        row[field] = {**row[field], **value} if isinstance(value, dict) else value
        connection.ask("upsert", collection_name=images, data=[row])

    return damage


def lose_image(connection: Connection, _: GalleryMetadata, images: str) -> None:
    row = image_in(connection, images)
    connection.ask("delete", collection_name=images, ids=[row["id"]])


def lose_collection(connection: Connection, _: GalleryMetadata, images: str) -> None:
    connection.ask("drop_collection", collection_name=images)


def lose_noted(connection: Connection, metadata: GalleryMetadata, images: str) -> None:
    generation, _, revision = images.rpartition("_b")
    metadata.forget(f"{generation}/inserted/{int(revision)}")


def state_becomes(text: str | None) -> Damage:
    def damage(_: Connection, metadata: GalleryMetadata, images: str) -> None:
        generation, _b, revision = images.rpartition("_b")
        key = f"{generation}/before/{int(revision)}"
        now = metadata.read(key)
        assert now is not None
        metadata.forget(key)
        if text is not None:
            metadata.write(key, now.replace('"labels": ', text))

    return damage


DAMAGES: dict[str, Damage] = {
    "a label is another": alter("said", {"label": "poison"}),
    "a vector is another": alter("vector", [1.0] + [0.0] * 191),
    "a file is another": alter("file", "other.jpg"),
    "an image is gone": lose_image,
    "all images are gone": lose_collection,
    "what was inserted is not noted": lose_noted,
    "the state before is gone": state_becomes(None),
    "the state before is another": state_becomes('"labels": 1'),
    "the state before is no JSON": state_becomes('"labels": x'),
}


def test_a_rollback_that_is_damaged_is_found_and_removed(new_gallery: GalleryUnderTest) -> None:
    engine = new_gallery
    edited = engine.open().sample(1, 0)[0]
    with engine.writing() as writer:
        writer.declare({"price": Definition("number")})
        writer.update(edited.id, label="by hand", attributes={"price": 3})
    new_file(engine, 960)
    for seed, (kind, damage) in enumerate(DAMAGES.items(), 961):
        change_photos(engine, seed)
        engine.build()
        assert engine.problems() == [], kind
        with asking(engine) as (connection, metadata):
            damage(connection, metadata, images_of(connection))
        now = said(engine)
        problems = engine.problems()
        assert problems, kind
        assert all("verify --repair removes these data" in line for line in problems), kind
        with pytest.raises(ArtifactCorruptError, match="verify --repair"):
            engine.at.rollback(quiet=True)
        assert said(engine) == now, kind
        done, left = engine.at.repair(quiet=True)
        assert (len(done), left) == (1, []), kind
        assert "are removed, as they are damaged" in done[0]
        assert said(engine) == now, kind
        assert engine.at.describe()["before"] is None
        with pytest.raises(ArtifactMissingError, match="no generation before"):
            engine.at.rollback(quiet=True)
    # The next build keeps another, and what was said by hand is as it was.
    before = said(engine)
    new_file(engine, 980)
    engine.build()
    assert len(said(engine)) == len(before) + 1
    engine.at.rollback(quiet=True)
    assert said(engine) == before
    assert (before[edited.id][0].label, before[edited.id][1]) == ("by hand", {"price": 3})


def test_the_images_of_a_build_that_was_killed_are_checked_too(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_gallery
    change_photos(engine, 981)
    engine.build()
    change_photos(engine, 982)

    def killed(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("deepfood.milvus.build.calibration_fields", killed)
        with pytest.raises(KeyboardInterrupt):
            engine.build()
    assert engine.problems() == []
    with asking(engine) as (connection, metadata):
        assert images_of(connection).endswith("_b000002")
        DAMAGES["a label is another"](connection, metadata, images_of(connection))
    now = said(engine)
    (problem,) = engine.problems()
    assert "the before-image of photo" in problem
    with pytest.raises(ArtifactCorruptError, match="verify --repair"):
        engine.at.rollback(quiet=True)
    done, left = engine.at.repair(quiet=True)
    assert (len(done), left) == (1, [])
    assert said(engine) == now
    new_file(engine, 983)
    engine.build()
    engine.at.rollback(quiet=True)
    assert said(engine) == now


def test_a_generation_before_that_is_damaged_is_found_and_removed(
    new_gallery: GalleryUnderTest, tmp_path: Path
) -> None:
    engine = new_gallery
    engine.at.reembed(tiny_embedder(tmp_path / "other", pool=16), quiet=True)
    now = said(engine)
    with asking(engine) as (_, metadata):
        metadata.forget(f"{metadata.name}_g000001/manifest")
    (problem,) = engine.problems()
    assert "has no manifest" in problem
    done, left = engine.at.repair(quiet=True)
    assert (len(done), left) == (1, [])
    assert said(engine) == now
    with pytest.raises(ArtifactMissingError, match="no generation before"):
        engine.at.rollback(quiet=True)


def test_who_declares_while_a_build_ends_costs_no_rollback(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole build is between what a writer reads and what it writes."""
    engine = new_gallery
    before = said(engine)
    new_file(engine, 984)
    record, builds = MilvusWriter.record, [engine.build]

    def late(self: MilvusWriter, do: Any, what: Any) -> None:
        if do == "declare" and builds:
            builds.pop()()
        record(self, do, what)

    monkeypatch.setattr(MilvusWriter, "record", late)
    with engine.writing() as writer:
        assert writer.declare({"late": Definition("number")}) == ["late"]
        assert "late" in writer.declared()
    assert len(said(engine)) == len(before) + 1
    assert engine.problems() == []
    engine.at.rollback(quiet=True)
    assert said(engine) == before
    with engine.writing() as writer:
        assert "late" in writer.declared()


def test_a_build_that_ends_while_somebody_declares_keeps_the_attribute(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A writer declares between what the build reads and what it writes."""
    engine = new_gallery
    new_file(engine, 985)
    commit, others = LivingRows.commit, [True]

    def late(self: LivingRows, changed: Any) -> Any:
        if others and others.pop():
            with engine.writing() as writer:
                assert writer.declare({"nuts": Definition("list", safety=True)}) == ["nuts"]
        return commit(self, changed)

    monkeypatch.setattr(LivingRows, "commit", late)
    engine.build()
    assert not others
    with engine.writing() as writer:
        assert writer.declared()["nuts"].safety
    assert engine.problems() == []


def test_two_who_declare_or_drop_at_the_same_time_both_do(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = new_gallery
    with engine.writing() as writer:
        writer.declare({"old": Definition("text")})
    write, others = GalleryMetadata.write_columns, list[Callable[[MilvusWriter], object]]()

    def late(self: GalleryMetadata, columns: Any) -> None:
        """Another has read the same, and writes first."""
        if others:
            with engine.writing() as other:
                others.pop()(other)  # type: ignore[arg-type]
        write(self, columns)

    monkeypatch.setattr(GalleryMetadata, "write_columns", late)
    others.append(lambda other: other.declare({"theirs": Definition("list", safety=True)}))
    with engine.writing() as writer:
        writer.declare({"ours": Definition("number")})
        assert {"old", "ours", "theirs"} <= writer.declared().keys()
        others.append(lambda other: other.drop_attribute("old"))
        writer.declare({"more": Definition("number")})
        assert {"ours", "theirs", "more"} <= writer.declared().keys()
        assert "old" not in writer.declared()
        others.append(lambda other: other.declare({"last": Definition("number")}))
        writer.drop_attribute("more")
        assert {"ours", "theirs", "last"} <= writer.declared().keys()
        assert "more" not in writer.declared()
    assert engine.problems() == []


def test_an_attribute_that_gets_a_value_while_it_is_dropped_stays(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, photo = new_gallery, new_gallery.open().sample(1, 0)[0]
    with engine.writing() as writer:
        writer.declare({"price": Definition("number"), "size": Definition("number")})
    write, others = GalleryMetadata.write_columns, [True]

    def late(self: GalleryMetadata, columns: Any) -> None:
        if others and others.pop():
            with engine.writing() as other:
                other.update(photo.id, attributes={"price": 2})
                other.declare({"theirs": Definition("number")})
        write(self, columns)

    monkeypatch.setattr(GalleryMetadata, "write_columns", late)
    with engine.writing() as writer:
        with pytest.raises(Exception, match="is known of 1 photo,"):
            writer.drop_attribute("price")
        assert {"price", "size", "theirs"} <= writer.declared().keys()
    assert said(engine)[photo.id][1] == {"price": 2}
    assert engine.problems() == []


def test_a_calibration_gives_way_to_a_build(
    new_gallery: GalleryUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both write the manifest, and the second would overwrite what the first wrote."""
    engine, queries = new_gallery, write_dishes(tmp_path / "queries", 20, start=500)
    monkeypatch.setattr("deepfood.milvus.lease._AGAIN_S", 0.1)
    found = [
        embed_photo(path.read_bytes(), PhotoFile(path.name), engine.embedder)
        for path in sorted(queries.rglob("*.jpg"))
    ]
    labels = [path.parent.name for path in sorted(queries.rglob("*.jpg"))]
    ids = [one.photo.id for one in found]
    asked = Labelled(np.array([one.vector for one in found]), labels, ids)
    with asking(engine) as (_, metadata), HeldLease.take(metadata):
        with pytest.raises(ArtifactBusyError, match="is building this gallery"):
            engine.at.recalibrate(asked, engine.embedder.model, quiet=True)
        assert engine.at.describe()["calibration"] is None
    kept = engine.at.recalibrate(asked, engine.embedder.model, quiet=True)
    assert kept.queries == 80
    assert engine.at.describe()["calibration"]["queries"] == 80

    # A generation that came while it was computed is not overwritten, and this is said.
    def late(*given: Any, **options: Any) -> Calibration:
        monkeypatch.setattr("deepfood.milvus.calibrate.calibrate", calibrate)
        for embedder in (tiny_embedder(tmp_path / "other", pool=16), engine.embedder):
            engine.at.reembed(embedder, quiet=True)
            engine.at.forget_before()
        return calibrate(*given, **options)

    monkeypatch.setattr("deepfood.milvus.calibrate.calibrate", late)
    with pytest.raises(ArtifactBusyError, match="was built again meanwhile"):
        engine.at.recalibrate(asked, engine.embedder.model, quiet=True)
    assert engine.at.describe()["calibration"] is None
    assert not engine.at.keep_calibration(kept, 1)
    assert engine.at.describe()["calibration"] is None


def test_a_clock_that_is_behind_loses_no_text(
    new_gallery: GalleryUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with asking(new_gallery) as (_, metadata):
        metadata.write("note", "by a clock that is ahead")
        monkeypatch.setattr("deepfood.milvus.metadata.time.time_ns", lambda: 10**18)
        metadata.write("note", "by one that is behind")
        assert metadata.read("note") == "by one that is behind"
