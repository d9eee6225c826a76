"""Another Model, back again, and without holes: beside the living gallery, and losing nothing."""

import contextlib
import errno
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from deepfood.data.photos import PhotoSource, list_photos
from deepfood.data.root import Folder
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactCorruptError,
    ArtifactMissingError,
    DatasetError,
    DiskFullError,
    ModelMismatchError,
)
from deepfood.gallery.declared import Definition
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import Consent
from deepfood.gallery.values import type_of
from deepfood.index import IndexSpec, Storage
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.journal import Journal
from deepfood.local.renew import RENEWING, compact, only_renewal, open_work, reembed
from deepfood.local.rollback import forget, rollback
from deepfood.local.store import CATALOGUE
from deepfood.local.verify import gallery_problems
from deepfood.model import Model
from plates import LIMITS, Counting, build, jpeg, tiny_embedder, write_dishes, write_photos

pytestmark = pytest.mark.slow

COUNT = 30


@pytest.fixture
def old(tmp_path: Path) -> Embedder:
    return tiny_embedder(tmp_path / "old", pool=8)


@pytest.fixture
def new(tmp_path: Path) -> Embedder:
    return tiny_embedder(tmp_path / "new", pool=4)  # another dimension, too


@pytest.fixture
def gallery(tmp_path: Path, old: Embedder) -> Path:
    build(write_photos(tmp_path / "photos", COUNT), tmp_path / "g", old, IndexSpec(kind="hnsw"))
    return tmp_path / "g"


def add(gallery: Path, embedder: Embedder, folder: Path, *seeds: int) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = []
    for seed in seeds:
        paths.append(folder / f"new-{seed}.jpg")
        paths[-1].write_bytes(jpeg(1000 + seed))
    return [photo.id for photo, _ in add_photos(gallery, paths, embedder, quiet=True).photos]


def said(gallery: Path) -> list[object]:
    """All that the catalogue says of photos and skipped files, whatever their rows."""
    with LocalGallery.open(gallery) as opened:
        photos = sorted(opened.store.photos(), key=lambda photo: photo.sha256)
        return [*photos, *opened.store.skipped()]


def check(gallery: Path, embedder: Embedder, *, exact: bool = True) -> None:
    """Whole to the last byte, and each photo has the vector of this Model and finds itself."""
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalGallery.open(gallery, embedder.model) as opened:
        photos, vectors, rows = opened.photos()
        assert len(photos) == opened.count > 0
        for photo, stored in zip(photos, vectors.take(rows), strict=True):
            vector = embedder.embed(opened.read(photo))
            np.testing.assert_allclose(stored, vector, atol=1e-6 if exact else 2e-2)
            assert opened.search(vector, 1)[0].photo == photo
            assert opened.photo(photo.id) == photo


@pytest.mark.parametrize("storage", ["f32", "f16", "i8"])
def test_another_model_and_back(
    storage: Storage, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    gallery, exact = tmp_path / "g", storage == "f32"
    photos = list_photos(write_photos(tmp_path / "photos", COUNT))
    build_gallery(photos, gallery, old, IndexSpec(), storage, quiet=True)
    before = said(gallery)
    done = reembed(gallery, new, quiet=True)
    assert (done.count, done.made, done.lost, done.swapped) == (COUNT, COUNT, [], True)
    assert said(gallery) == before
    check(gallery, new, exact=exact)
    assert LocalManifest.read(gallery).storage == storage
    assert not (gallery / RENEWING).exists()

    again = reembed(gallery, new, quiet=True)
    assert (again.made, again.swapped) == (0, False)

    back = rollback(gallery, lambda model: pytest.fail("nothing was added"), quiet=True)
    assert (back.count, back.made) == (COUNT, 0)
    assert said(gallery) == before
    check(gallery, old, exact=exact)
    assert rollback(gallery, lambda model: new, quiet=True).made == 0
    check(gallery, new, exact=exact)


def test_what_was_changed_since_goes_back_and_forth(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    kept = add(gallery, old, tmp_path / "more", 1, 2, 3)
    reembed(gallery, new, quiet=True)
    check(gallery, new)
    added = add(gallery, new, tmp_path / "more", 4, 5)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00003.jpg", kept[0], added[0]])
        writer.update("plate-00004.jpg", label="soup")
        writer.update(kept[1], photo_name="Tom's")
    now = said(gallery)
    counting = Counting(old)
    back = rollback(gallery, lambda model: counting, quiet=True)  # type: ignore[arg-type,return-value]
    assert (back.made, counting.asked) == (1, 1)
    assert said(gallery) == now
    check(gallery, old)

    add(gallery, old, tmp_path / "more", 6)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00005.jpg"])
    now = said(gallery)
    assert rollback(gallery, lambda model: new, quiet=True).made == 1
    assert said(gallery) == now
    check(gallery, new)


def test_what_was_added_dropped_and_taken_back_since_goes_back(
    tmp_path: Path, old: Embedder
) -> None:
    """The generation before has a photo that was lost since, and then added."""
    photos, gallery = write_photos(tmp_path / "photos", 4), tmp_path / "g"
    build(photos, gallery, old)
    lost = (photos / "plate-00003.jpg").rename(tmp_path / "lost.jpg")
    build(photos, gallery, old)
    add_photos(gallery, [lost], old, label="soup", quiet=True)
    with LocalWriter.open(gallery) as writer:
        writer.declare({"price": Definition("number"), "hot": Definition("boolean")})
        writer.drop_attribute("hot")
        writer.update("lost.jpg", attributes={"price": 5})
        writer.update("plate-00001.jpg", label="wrong", attributes={"price": 4})
        writer.undo(Journal(gallery).head().number)
    now = [one for one in said(gallery) if isinstance(one, Photo)]
    back = rollback(gallery, lambda model: pytest.fail("nothing is embedded"), quiet=True)
    assert back.count == 4
    assert [one for one in said(gallery) if isinstance(one, Photo)] == now
    with LocalGallery.open(gallery) as opened:
        assert {column.name for column in opened.columns()} == {"price"}
        values = {one.file: opened.facts(one.id)[1] for one in opened.store.photos()}
    assert {file: some for file, some in values.items() if some} == {"lost.jpg": {"price": 5}}
    check(gallery, old)


def test_a_gallery_without_photos_has_nothing_to_embed_again(
    tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    gallery = tmp_path / "g"
    (tmp_path / "photos").mkdir()
    build_gallery(
        *(PhotoSource(Folder(tmp_path / "photos"), ()), gallery, old, IndexSpec()),
        consent=Consent(empty=True),
        quiet=True,
    )
    with pytest.raises(DatasetError, match="has no photos: build it, or add some"):
        reembed(gallery, new, quiet=True)


def test_photos_that_are_too_large_for_the_limits_now_refuse_the_swap(
    gallery: Path, tmp_path: Path
) -> None:
    small = tiny_embedder(tmp_path / "new", pool=4, limits=replace(LIMITS, max_pixels=100))
    with pytest.raises(DatasetError, match=r"30 photos .* 96 x 72 pixels.*limit.* 100:"):
        reembed(gallery, small, quiet=True)


def test_begun_work_that_is_damaged_is_begun_anew(gallery: Path, new: Embedder) -> None:
    assert reembed(gallery, new, swap=False, quiet=True).made == COUNT
    with contextlib.closing(sqlite3.connect(gallery / RENEWING / CATALOGUE)) as db, db:
        db.execute("UPDATE photos SET label = 'x' WHERE row = 3")
    assert reembed(gallery, new, quiet=True).made == COUNT
    check(gallery, new)


def test_work_is_marked_whole_or_not_at_all(
    gallery: Path, old: Embedder, new: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever reads beside it, or after a disk was full, finds no half of a mark."""
    move = Path.replace

    def full(path: Path, target: Path) -> Path:
        if target.name == "renewing-with":
            raise OSError(errno.ENOSPC, "No space left on device")
        return move(path, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFullError):
        reembed(gallery, new, quiet=True)
    with pytest.raises(ArtifactMissingError, match="is not being embedded again"):
        open_work(gallery)
    monkeypatch.undo()
    compact(gallery, old.model, quiet=True)
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_going_back_leaves_no_long_tail(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.local.reindex.TAIL_ROWS", 2)
    reembed(gallery, new, quiet=True)
    add(gallery, new, tmp_path / "more", 1, 2, 3)
    rollback(gallery, lambda model: old, quiet=True)
    assert LocalManifest.read(gallery).covered == COUNT + 3
    check(gallery, old)
    assert rollback(gallery, lambda model: new, quiet=True).count == COUNT + 3


def test_a_build_comes_in_between_a_rollback(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    reembed(gallery, new, quiet=True)
    add(gallery, new, tmp_path / "more", 1)

    def build_first(model: Model) -> Embedder:
        write_photos(tmp_path / "photos", 1, start=COUNT)
        build(tmp_path / "photos", gallery, new, IndexSpec(kind="hnsw"))
        return old

    with pytest.raises(ArtifactMissingError, match="built or embedded again meanwhile"):
        rollback(gallery, build_first, quiet=True)
    check(gallery, new)


def test_adding_across_a_change(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.gallery.add._BATCH_PHOTOS", 1)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00000.jpg"])

    class Meanwhile(Counting):
        change: Callable[[], object]

        def on(self, number: int) -> None:
            if number == 2:
                self.change()

    paths = [write_photos(tmp_path / "more", 6, start=500)]

    adding = Meanwhile(old)
    adding.change = lambda: compact(gallery, old.model, quiet=True)
    # Compaction keeps the Model: adding goes on in the new generation.
    done = add_photos(gallery, paths, adding, quiet=True)  # type: ignore[arg-type]
    assert [outcome for _, outcome in done.photos] == ["added"] * 6
    assert LocalManifest.read(gallery).generation == 2
    check(gallery, old)

    adding = Meanwhile(old)
    adding.change = lambda: reembed(gallery, new, quiet=True)
    with pytest.raises(ModelMismatchError, match=r"another Model meanwhile: \d of 6 photos"):
        add_photos(gallery, paths, adding, wait_s=20, quiet=True)  # type: ignore[arg-type]
    check(gallery, new)


def test_attributes_go_along(gallery: Path, tmp_path: Path, old: Embedder, new: Embedder) -> None:
    def say(file: str, **values: object) -> None:
        with LocalWriter.open(gallery) as writer:
            writer.declare(
                {name: Definition(type_of(name, value)) for name, value in values.items()}
            )
            writer.update(file, attributes=values)

    def found(where: str) -> set[str]:
        with LocalGallery.open(gallery) as opened:
            hits = opened.find(opened.vector(some), COUNT, where=parse_filter(where)).hits
        return {hit.photo.file for hit in hits}

    with LocalGallery.open(gallery) as opened:
        some = next(opened.store.photos()).id
    say("plate-00003.jpg", cuisine="thai", price=9.5)
    say("plate-00004.jpg", cuisine="thai", allergens=["peanut"])
    say("plate-00005.jpg", cuisine="thai", allergens=[])
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00001.jpg"])  # so that compacting gives each another row
    asked = ['cuisine = "thai" AND NOT allergens HAS "peanut"', "price < 10", 'cuisine = "thai"']
    for step in (
        lambda: reembed(gallery, new, quiet=True),
        lambda: compact(gallery, new.model, quiet=True),
        lambda: say("plate-00006.jpg", cuisine="thai", vegan=True),  # a new attribute
        lambda: say("plate-00003.jpg", price=12),
        lambda: rollback(gallery, lambda model: old, quiet=True),
        lambda: rollback(gallery, lambda model: new, quiet=True),
    ):
        before = [found(where) for where in asked]
        done = step()
        if done:
            assert [found(where) for where in asked] == before
    assert found(asked[0]) == {"plate-00005.jpg"}
    assert found(asked[1]) == set()
    assert found(asked[2]) == {f"plate-0000{number}.jpg" for number in (3, 4, 5, 6)}
    assert found("vegan = true") == {"plate-00006.jpg"}
    check(gallery, new)


def test_what_changes_meanwhile_is_taken_over(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    class Busy(Counting):
        """The gallery changes while this embeds, and is searched."""

        def on(self, number: int) -> None:
            if number == 10:
                add(gallery, old, tmp_path / "more", 1, 2)
                with LocalWriter.open(gallery) as writer:
                    writer.remove(["plate-00000.jpg", "plate-00029.jpg"])
                    writer.update("plate-00001.jpg", label="soup")
                with LocalGallery.open(gallery, old.model) as opened:
                    assert len(opened.search(old.embed(jpeg(3)), 9)) == 9

    done = reembed(gallery, Busy(new), quiet=True)  # type: ignore[arg-type]
    assert done.count == COUNT
    check(gallery, new)
    with LocalGallery.open(gallery) as opened:
        files = {photo.file: photo for photo in opened.store.photos()}
    assert files.keys() >= {"new-1.jpg", "new-2.jpg"}
    assert not files.keys() & {"plate-00000.jpg", "plate-00029.jpg"}
    assert (files["plate-00001.jpg"].label, files["plate-00001.jpg"].label_edited) == ("soup", True)
    add(gallery, new, tmp_path / "more", 3)


def test_stopped_work_goes_on(gallery: Path, new: Embedder) -> None:
    stopped = Counting(new, stop_at=20)
    with pytest.raises(KeyboardInterrupt):
        reembed(gallery, stopped, quiet=True)  # type: ignore[arg-type]
    with contextlib.closing(open_work(gallery)) as work:
        lacking = COUNT - work.count()
    assert lacking == COUNT - 20
    going_on = Counting(new)
    assert reembed(gallery, going_on, quiet=True).made == lacking  # type: ignore[arg-type]
    assert going_on.asked == lacking
    check(gallery, new)


def test_killed_between_rename_and_commit(
    gallery: Path, new: Embedder, old: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def killed(self: LocalManifest, folder: Path) -> None:
            raise KeyboardInterrupt

        patch.setattr(LocalManifest, "write", killed)
        with pytest.raises(KeyboardInterrupt):
            reembed(gallery, new, quiet=True)
    with LocalGallery.open(gallery, old.model) as opened:
        assert opened.count == COUNT
    assert reembed(gallery, new, quiet=True).made == 0
    check(gallery, new)


def test_readers_of_the_old_generation_go_on(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    query = old.embed(jpeg(7))
    with LocalGallery.open(gallery, old.model) as reader:
        hits = reader.search(query, 9)
        reembed(gallery, new, quiet=True)
        assert reader.search(query, 9) == hits
        assert reader.superseded
        forget(gallery)  # its files are deleted under it
        assert reader.search(query, 9) == hits
        assert reader.photo(hits[0].photo.id) == hits[0].photo


def test_unreadable_photos_refuse_the_swap(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    lost = tmp_path / "photos/plate-00003.jpg"
    data = lost.read_bytes()
    lost.unlink()
    (tmp_path / "photos/plate-00004.jpg").write_bytes(jpeg(4000))
    before = LocalManifest.read(gallery)
    with pytest.raises(DatasetError, match=r"2 photos of .* the first, plate-00003\.jpg"):
        reembed(gallery, new, quiet=True)
    assert LocalManifest.read(gallery) == before

    lost.write_bytes(data)
    done = reembed(gallery, new, drop_unreadable=True, quiet=True)
    assert done.made == 1  # the rest was done before
    assert [photo.file for photo, _ in done.lost] == ["plate-00004.jpg"]
    assert done.count == COUNT - 1
    check(gallery, new)
    # Nobody removed it: where its vector still is, it comes back.
    assert rollback(gallery, lambda model: old, quiet=True).count == COUNT
    assert rollback(gallery, lambda model: new, drop_unreadable=True, quiet=True).count == COUNT - 1


def test_an_added_photo_that_is_lost_is_not_rolled_back_silently(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    reembed(gallery, new, quiet=True)
    add(gallery, new, tmp_path / "more", 1)
    for path in (gallery / "photos").rglob("*"):
        if path.is_file():
            path.unlink()
    with pytest.raises(DatasetError, match=r"new-1\.jpg"):
        rollback(gallery, lambda model: old, quiet=True)
    assert LocalManifest.read(gallery).model_fingerprint == new.model.fingerprint
    assert rollback(gallery, lambda model: old, drop_unreadable=True, quiet=True).count == COUNT
    check(gallery, old)


@pytest.mark.parametrize("storage", ["f32", "f16", "i8"])
def test_compacting_drops_holes_and_keeps_vectors(
    storage: Storage, tmp_path: Path, old: Embedder
) -> None:
    gallery = tmp_path / "g"
    photos = list_photos(write_photos(tmp_path / "photos", COUNT))
    build_gallery(photos, gallery, old, IndexSpec(kind="hnsw"), storage, quiet=True)
    add(gallery, old, tmp_path / "more", 1)
    with LocalWriter.open(gallery) as writer:
        writer.remove([f"plate-{number:05d}.jpg" for number in range(0, COUNT, 2)])
    before = said(gallery)
    with LocalGallery.open(gallery) as opened:
        _, vectors, rows = opened.photos()
        kept = vectors.take(rows)
        done = compact(gallery, old.model, quiet=True)
        assert done.count == COUNT // 2 + 1
        assert opened.follow().count == done.count
        _, vectors, rows = opened.photos()
        assert rows.tolist() == list(range(done.count))
        # i8: its scale is rounded once more.
        np.testing.assert_allclose(vectors.take(rows), kept, rtol=2e-7 if storage == "i8" else 0)
    assert said(gallery) == before
    check(gallery, old, exact=storage == "f32")
    with pytest.raises(ArtifactMissingError, match="no generation before"):
        rollback(gallery, lambda model: old, quiet=True)


def test_compacting_keeps_the_way_back(gallery: Path, old: Embedder, new: Embedder) -> None:
    reembed(gallery, new, quiet=True)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00003.jpg"])
    compact(gallery, new.model, quiet=True)
    check(gallery, new)
    assert rollback(gallery, lambda model: old, quiet=True).count == COUNT - 1
    check(gallery, old)


def test_a_build_keeps_the_generation_before_it(
    gallery: Path, tmp_path: Path, old: Embedder, new: Embedder
) -> None:
    reembed(gallery, new, quiet=True)
    rollback(gallery, lambda model: old, quiet=True)  # generation 1 lives, and 2 is kept
    write_photos(tmp_path / "photos", 1, start=COUNT)
    build(tmp_path / "photos", gallery, old, IndexSpec(kind="hnsw"))
    check(gallery, old)
    assert LocalGallery.open(gallery).count == COUNT + 1
    assert rollback(gallery, lambda model: old, quiet=True).count == COUNT
    assert len(list((gallery / "models").iterdir())) == 1, "that of the one before is forgotten"
    assert rollback(gallery, lambda model: old, quiet=True).count == COUNT + 1


def test_a_damaged_way_back_is_found_and_not_taken(
    gallery: Path, old: Embedder, new: Embedder
) -> None:
    before = LocalManifest.read(gallery)
    reembed(gallery, new, quiet=True)
    path = before.folder(gallery) / "vectors.f32"
    contents = bytearray(path.read_bytes())
    contents[1000] ^= 1
    path.write_bytes(contents)
    (problem,) = gallery_problems(gallery, quiet=True)
    assert "the generation before: 1 vector is altered, row 1 first" in problem
    with pytest.raises(ArtifactCorruptError, match="1 vector is altered"):
        rollback(gallery, lambda model: old, quiet=True)
    assert LocalManifest.read(gallery).model_fingerprint == new.model.fingerprint
    forget(gallery)
    check(gallery, new)


def test_only_one_renews(gallery: Path, old: Embedder, new: Embedder) -> None:
    with only_renewal(gallery), pytest.raises(ArtifactBusyError, match="is embedding"):
        reembed(gallery, new, quiet=True)
    with pytest.raises(ArtifactMissingError, match="is not a gallery"):
        reembed(gallery / "nothing", new, quiet=True)


def test_calibration_is_made_again(tmp_path: Path, old: Embedder, new: Embedder) -> None:
    gallery = tmp_path / "g"
    build(write_dishes(tmp_path / "photos", 20), gallery, old)
    before = LocalManifest.read(gallery).calibration
    assert before is not None
    reembed(gallery, new, quiet=True)
    after = LocalManifest.read(gallery).calibration
    assert after is not None
    assert after.hit != before.hit
    with LocalWriter.open(gallery) as writer:
        writer.remove(["spinach_curry/00003.jpg"])
    compact(gallery, new.model, quiet=True)
    assert LocalManifest.read(gallery).calibration == after
    rollback(gallery, lambda model: old, quiet=True)
    assert LocalManifest.read(gallery).calibration == before
