"""What was altered is never pushed: a release would make it look whole for ever."""

import os
import shutil
import sqlite3
from contextlib import ExitStack, closing
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from shelves import photos_of, settings, small_chunks

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError, ArtifactError
from deepfood.gallery.declared import Definition
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.checkpoints import fold_of, write_checkpoint
from deepfood.local.journal import Journal
from deepfood.local.renew import compact
from deepfood.local.store import Store
from deepfood.release import frozen as frozen_of
from deepfood.release.checked import check_journal
from deepfood.release.frozen import Frozen, frozen
from deepfood.release.pull import pull
from deepfood.release.push import push
from deepfood.release.shelf import Shelf
from live import run_here
from plates import edit_manifest, write_photos


@pytest.fixture(params=["f32", pytest.param("i8", marks=pytest.mark.slow)])
def gallery(request: pytest.FixtureRequest, tmp_path: Path, embedder: Embedder) -> Path:
    photos = write_photos(tmp_path / "photos", 12)
    (photos / "broken.jpg").write_bytes(b"no photo")
    out = tmp_path / "gallery"
    source = list_photos(photos)
    build_gallery(source, out, embedder, IndexSpec(), storage=request.param, quiet=True)
    with LocalWriter.open(out) as writer:
        writer.remove(["plate-00002.jpg"])
        writer.declare({"allergens": Definition("list", safety=True)})
        writer.update("plate-00003.jpg", attributes={"allergens": ["peanut"]})
    return out


@pytest.fixture(autouse=True)
def beyond_what_opening_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    """As with a gallery of many photos; and files travel in pieces that begin within rows."""
    monkeypatch.setattr("deepfood.local.snapshot.CHECK_ON_OPEN_BYTES", 0)
    small_chunks(monkeypatch, 1000)


def push_to(folder: Path, gallery: Path) -> Shelf:
    shelf = Shelf.open(str(folder), settings(), make=True)
    push(gallery, shelf.bucket.url, settings(), quiet=True)
    return shelf


def generation(gallery: Path) -> Path:
    return LocalManifest.read(gallery).folder(gallery)


def flip(gallery: Path, row: int) -> None:
    """Flip a bit in the last byte of a row's vector."""
    [path] = generation(gallery).glob("vectors.*")
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 12 * (row + 1) - 1] ^= 1
    path.write_bytes(contents)


@pytest.mark.parametrize("row", [0, 7, 11])
def test_an_altered_vector_is_not_pushed_and_named(
    row: int, gallery: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flip(gallery, row)
    shelf = tmp_path / "shelf"
    assert run_here("push", gallery, shelf) == 2
    said = capsys.readouterr().err
    assert f"the vector of row {row} is altered" in said
    assert f"deepfood verify {gallery} --repair, and push again" in said
    assert Shelf.open(str(shelf), settings()).names() == []
    assert run_here("verify", gallery, "--repair") == 0
    push_to(shelf, gallery)
    pull(str(shelf), tmp_path / "pulled", settings(), quiet=True)
    assert photos_of(tmp_path / "pulled") == photos_of(gallery)


def test_the_vector_of_a_removed_photo_may_be_anything(gallery: Path, tmp_path: Path) -> None:
    flip(gallery, 2)
    assert len(push_to(tmp_path / "shelf", gallery).names()) == 1


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE photos SET label = 'soup' WHERE row = 4", "row 4 of the catalogue"),
        ("UPDATE photos SET vector_crc = 0 WHERE row = 4", "row 4 of the catalogue"),
        ("UPDATE attributes SET safety = 0", "the attribute allergens is altered"),
        ("UPDATE attribute_values SET value = '[]'", "the attribute allergens of row 3 is altered"),
        ("DELETE FROM attribute_keys", "the attribute allergens of row 3 is altered"),
        ("UPDATE skipped SET reason = 'none'", r"the skipped file broken\.jpg is altered"),
        ("DELETE FROM photos WHERE row = 5", "is damaged: the list of its rows"),
        ("DELETE FROM changes", "is damaged"),
        ("INSERT INTO changes VALUES (9, 6, 'remove', 0)", "is damaged"),
        ("UPDATE state SET next_row = 12", "is damaged"),
        ("UPDATE state SET record_sum = ''", "is damaged"),
    ],
)
def test_an_altered_catalogue_is_not_pushed(
    statement: str, said: str, gallery: Path, embedder: Embedder, tmp_path: Path
) -> None:
    add_photos(gallery, [write_photos(tmp_path / "new", 1, start=50)], embedder, quiet=True)
    with closing(sqlite3.connect(generation(gallery) / "catalogue.sqlite")) as db, db:
        assert db.execute(statement).rowcount > 0
    with pytest.raises(ArtifactCorruptError, match=said):
        push_to(tmp_path / "shelf", gallery)
    assert Shelf.open(str(tmp_path / "shelf"), settings()).names() == []


def test_an_altered_journal_is_not_pushed(gallery: Path, tmp_path: Path) -> None:
    journal = Journal(gallery)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00004.jpg", photo_name="Soup")
    write_checkpoint(fold_of(journal), journal)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00004.jpg", photo_name="Leek soup")
    for path in sorted(journal.folder.iterdir()):
        whole = path.read_bytes()
        for at in {*range(0, len(whole), 23), len(whole) - 1}:
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
            with pytest.raises(ArtifactError), frozen(gallery):
                pass
        path.write_bytes(whole)
    pushed = push_to(tmp_path / "shelf", gallery)
    pull(pushed.bucket.url, tmp_path / "pulled", settings(), quiet=True)
    assert fold_of(Journal(tmp_path / "pulled")).head == fold_of(journal).head


def test_a_journal_that_lacks_its_last_record_is_not_pushed(gallery: Path) -> None:
    journal = Journal(gallery)
    before = {path: path.stat().st_size for path in journal.folder.iterdir()}
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00004.jpg", photo_name="Soup")
    with LocalGallery.open(gallery) as opened:
        head = opened.store.state().head
    for path in journal.folder.iterdir():
        os.truncate(path, before.get(path, 0))
    with pytest.raises(ArtifactCorruptError, match=f"the journal lacks record {head.number}"):
        check_journal(Journal(gallery), head, gallery)


def test_a_file_that_differs_from_its_manifest_is_not_pushed(gallery: Path, tmp_path: Path) -> None:
    [path] = gallery.glob("models/*/model.onnx")
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 1
    path.write_bytes(contents)
    with pytest.raises(ArtifactCorruptError, match=r"model\.onnx differs from the manifest"):
        push_to(tmp_path / "shelf", gallery)
    assert Shelf.open(str(tmp_path / "shelf"), settings()).names() == []


def test_a_generation_that_goes_while_it_is_opened_is_opened_again(
    gallery: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    opening, seen = Store.open, list[str]()

    def compacted_meanwhile(folder: Path, *about: Any) -> Store:
        seen.append(folder.name)
        if len(seen) == 1:
            compact(gallery, embedder.model, quiet=True)
            shutil.rmtree(folder, ignore_errors=True)
        return opening(folder, *about)

    with frozen(gallery) as first:
        before = {photo.id for photo in first.photos}
    monkeypatch.setattr("deepfood.release.frozen.Store", SimpleNamespace(open=compacted_meanwhile))
    with frozen(gallery) as found:
        assert {photo.id for photo in found.photos} == before
    assert seen[1] != seen[0], "the generation that was there by then"


def test_what_is_committed_while_a_gallery_is_read_is_read(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, read = frozen_of._gallery, list[Frozen]()

    def committed_meanwhile(opened: LocalGallery, stack: ExitStack) -> Frozen:
        read.append(reading(opened, stack))
        if len(read) == 1:
            edit_manifest(gallery, uncalibrated="by hand")
        return read[-1]

    monkeypatch.setattr(frozen_of, "_gallery", committed_meanwhile)
    with frozen(gallery) as found:
        assert found is read[1]
        (about,) = [part for part in found.parts if part.name == "manifest.json"]
        assert b"by hand" in about.file.read(about.bytes)
