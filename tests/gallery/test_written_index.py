"""The index of words in a catalogue: kept with each change, checked, mended, and never believed."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError, ArtifactError, DiskFullError, QueryError
from deepfood.gallery.declared import Definition
from deepfood.gallery.photo import EmbeddedPhoto
from deepfood.gallery.written import parse_words
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, columns
from deepfood.local import vocabulary as local_words
from deepfood.local.growing_store import GrowingStore
from deepfood.local.repair import repair
from deepfood.local.store import CATALOGUE
from deepfood.local.verify import gallery_problems
from gallery_writing import made_photo
from plates import build, tiny_embedder, write_photos

NAMES = ["Pumpkin soup", "Lentil soup", "Plum cake", "Lemon cake", "Mint tea"]


@pytest.fixture
def embedder(tmp_path: Path) -> Embedder:
    return tiny_embedder(tmp_path / "model")


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", len(NAMES)), out, embedder)
    with LocalWriter.open(out) as writer:
        writer.declare({"also": Definition("list")})
        for number, name in enumerate(NAMES):
            writer.update(f"plate-{number:05}.jpg", photo_name=name, attributes={"also": ["Dish"]})
    return out


def found(folder: Path, words: str) -> list[str]:
    with LocalGallery.open(folder) as gallery:
        hits = gallery.find_written(parse_words(words), 9).hits
        return sorted(hit.photo.name or "" for hit in hits)


def catalogue(folder: Path) -> Path:
    return LocalManifest.read(folder).folder(folder) / CATALOGUE


def alter(folder: Path, statement: str) -> None:
    with closing(sqlite3.connect(catalogue(folder))) as db, db:
        assert db.execute(statement).rowcount


def mend(folder: Path, embedder: Embedder) -> list[str]:
    done, left = repair(folder, [embedder.model], lambda _: embedder, quiet=True)
    assert left == []
    assert list(gallery_problems(folder, quiet=True)) == []
    return done


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE written_content SET c0 = 'chocolate' WHERE id = 1",
        "DELETE FROM written_content WHERE id = 1",
        "INSERT INTO written (rowid, name) VALUES (40, 'lentil stew')",
        "UPDATE written SET name = 'lentil pumpkin' WHERE rowid = 3",
        "DELETE FROM written WHERE rowid = 1",
        "UPDATE written_docsize SET sz = x'0500000000' WHERE id = 1",
        "UPDATE written_data SET block = zeroblob(length(block)) WHERE id > 10",
        "DELETE FROM words WHERE word = ' lentil '",
        "UPDATE words SET word = ' lentel ' WHERE word = ' lentil '",
        "INSERT INTO words (word) VALUES (' lentilles ')",
        "DELETE FROM word_parts_data WHERE id > 10",
    ],
)
def test_a_damaged_index_is_told_and_mended_and_not_believed(
    gallery: Path, embedder: Embedder, statement: str
) -> None:
    alter(gallery, statement)
    told = list(gallery_problems(gallery, quiet=True))
    assert any("index of words" in line for line in told), told
    for words, right in (
        ("lentil", {"Lentil soup"}),
        ("chocolate", set[str]()),
        ("entil", {"Lentil soup"}),
        ("lentel", {"Lentil soup"}),
    ):
        try:
            assert {*found(gallery, words)} <= right
        except ArtifactCorruptError as error:
            assert "run deepfood verify --repair" in str(error)  # noqa: PT017
    assert "the words are indexed again" in mend(gallery, embedder)
    assert found(gallery, "lentil") == found(gallery, "entil") == ["Lentil soup"]
    assert found(gallery, "lintil") == ["Lentil soup"]


def test_a_word_that_the_index_does_not_lead_to_is_told(gallery: Path, embedder: Embedder) -> None:
    with closing(sqlite3.connect(catalogue(gallery))) as db, db:
        db.execute("INSERT INTO written (written, rank) VALUES ('pgsz', 32)")  # many pages
        db.execute("INSERT INTO written (written) VALUES ('rebuild')")
    assert list(gallery_problems(gallery, quiet=True)) == []
    alter(gallery, "DELETE FROM written_idx WHERE pgno > 2")
    told = list(gallery_problems(gallery, quiet=True))
    assert any("does not find" in line or "is damaged" in line for line in told), told
    mend(gallery, embedder)
    assert found(gallery, "soup") == ["Lentil soup", "Pumpkin soup"]


def test_an_altered_row_is_not_answered_with(gallery: Path) -> None:
    alter(gallery, "UPDATE photos SET name = 'Lentil ragout' WHERE row = 1")
    with pytest.raises(ArtifactCorruptError, match="row 1 has been altered"):
        found(gallery, "lentil")
    assert found(gallery, "pumpkin") == ["Pumpkin soup"]
    alter(gallery, "UPDATE photos SET label = 'Ragout' WHERE row = 2")
    with LocalGallery.open(gallery) as opened:
        for begun in ("ragout", "plum"):
            with pytest.raises(ArtifactCorruptError, match=r"row [12] has been altered"):
                opened.suggest(begun)
        assert [one.text for one in opened.suggest("mint")] == ["Mint tea"]


def without_index(folder: Path) -> None:
    """As an earlier deepfood left it."""
    with closing(sqlite3.connect(catalogue(folder))) as db:
        for table in ("written", "word_parts", "words", "written_for"):
            db.execute(f"DROP TABLE {table}")
        db.execute("DROP INDEX photos_name")


def changed_by_an_earlier_deepfood(folder: Path) -> None:
    """It has the index, and a deepfood that does not know it has changed a name."""
    manifest = LocalManifest.read(folder)
    inside = manifest.folder(folder)
    earlier = GrowingStore.open(inside, manifest.dimension, manifest.storage, words=False)
    with closing(earlier) as store:
        (row, photo) = store.named("plate-00001.jpg")[0]
        store.update({row: photo})
    alter(folder, "UPDATE written SET name = 'pumpkin' WHERE rowid = 1")


@pytest.mark.parametrize("earlier", [without_index, changed_by_an_earlier_deepfood])
def test_a_gallery_of_an_earlier_deepfood_is_searched_too(
    gallery: Path,
    embedder: Embedder,
    earlier: Callable[[Path], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier(gallery)
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalGallery.open(gallery) as opened:
        assert not opened.store.words.are_indexed()
        assert [hit.photo.name for hit in opened.find_written(parse_words("lentil"), 9).hits] == [
            "Lentil soup"
        ]
        assert [one.text for one in opened.suggest("le")] == ["Lemon cake", "Lentil soup"]
        assert found(gallery, "umpki") == ["Pumpkin soup"]
        assert not opened.store.words.are_indexed()  # reading changes nothing
        # In memory only where that takes seconds.
        monkeypatch.setattr(local_words, "MOST_IN_MEMORY", len(NAMES) - 1)
        with pytest.raises(ArtifactError, match=r"5 photos has no index of words yet.*--repair"):
            found(gallery, "lentil")
        # Whoever opens it to write makes the index, and the reader sees it.
        with LocalWriter.open(gallery):
            pass
        assert opened.store.words.are_indexed()
        assert [hit.photo.name for hit in opened.find_written(parse_words("lentil"), 9).hits] == [
            "Lentil soup"
        ]
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_repair_makes_the_index_of_a_gallery_that_has_no_fault(
    gallery: Path, embedder: Embedder
) -> None:
    without_index(gallery)
    assert mend(gallery, embedder) == ["the words are indexed"]
    with LocalGallery.open(gallery) as opened:
        assert opened.store.words.are_indexed()
    assert mend(gallery, embedder) == []


@pytest.fixture
def new() -> EmbeddedPhoto:
    return made_photo(5, 1)


def test_a_change_that_fails_leaves_the_index_as_it_was(
    gallery: Path, new: EmbeddedPhoto, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("deepfood.local.growing_store._write_state", full)
    with pytest.raises(DiskFullError), LocalWriter.open(gallery) as writer:
        writer.add([new])
    monkeypatch.undo()
    assert found(gallery, new.photo.file.partition("-")[0]) == []
    assert list(gallery_problems(gallery, quiet=True)) == []
    with LocalWriter.open(gallery) as writer:
        writer.add([new])
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_very_common_words_show_what_was_added_last(
    gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_words, "_BEST", local_words._BEST.replace("LIMIT 5000", "LIMIT 2"))
    assert found(gallery, "dish") == ["Lemon cake", "Mint tea"]


def test_what_takes_too_long_is_said(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns, "FILTER_CPU_S", -1.0)
    monkeypatch.setattr(columns, "_STEPS", 1)
    with pytest.raises(QueryError, match="give fewer or longer words"):
        found(gallery, "soup")
