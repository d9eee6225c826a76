"""What is left of a journal and a catalogue that are both damaged is put together again."""

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.declared import Definition
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter, build_gallery
from deepfood.local.add import add_photos
from deepfood.local.journal import JOURNAL, Journal
from deepfood.local.manifest import LOST_FOUND
from deepfood.local.photo_files import PhotoFiles
from deepfood.local.repair import repair
from deepfood.local.store import CATALOGUE
from deepfood.local.verify import gallery_problems
from plates import build, jpeg, sha256, write_photos

ADDED = sha256(jpeg(100))


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Photos 0 to 3, of which 2 has a price by hand. These are the records 1 to 3."""
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 4), out, embedder, IndexSpec(kind="exact"))
    with LocalWriter.open(out) as writer:
        writer.declare({"price": Definition("number")})
        writer.update("plate-00002.jpg", attributes={"price": 5})
    return out


def add(gallery: Path, tmp_path: Path, embedder: Embedder) -> None:
    new = write_photos(tmp_path / "new", 1, start=100)
    add_photos(gallery, [new], embedder, label="soup", quiet=True)


def damage(gallery: Path, *numbers: int) -> None:
    """Make records unreadable, but for their sums."""
    for first, path in Journal(gallery).segments():
        lines = path.read_bytes().splitlines(keepends=True)
        for number in numbers:
            if first <= number < first + len(lines):
                lines[number - first] = lines[number - first].replace(b"{", b"\0", 1)
        path.write_bytes(b"".join(lines))


def sql(gallery: Path, statement: str) -> None:
    with closing(sqlite3.connect(catalogue(gallery))) as db, db:
        assert db.execute(statement).rowcount


def catalogue(gallery: Path) -> Path:
    return LocalManifest.read(gallery).folder(gallery) / CATALOGUE


def mend(gallery: Path, embedder: Embedder) -> list[str]:
    assert list(gallery_problems(gallery, quiet=True))
    done, left = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
    assert left == [] == list(gallery_problems(gallery, quiet=True))
    return done


def facts(gallery: Path, seed: int) -> tuple[str | None, dict[str, object]]:
    with LocalGallery.open(gallery) as opened:
        photo, values = opened.facts(sha256(jpeg(seed))[:20])
        return photo.label, dict(values)


def test_an_attribute_whose_drop_is_unreadable_stays_dropped(
    gallery: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00002.jpg", attributes={"price": None})
        writer.drop_attribute("price")
    damage(gallery, 4, 5)
    mend(gallery, embedder)
    assert facts(gallery, 2) == (None, {})
    with LocalWriter.open(gallery) as writer:
        assert writer.declare({"price": Definition("text")}) == ["price"]


def test_a_table_that_a_build_imported_is_not_imported_again(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    table = tmp_path / "photos" / "table.csv"

    def build_with(price: int) -> None:
        lines = [f"plate-{seed:05d}.jpg,{price if seed == 1 else ''}\n" for seed in range(4)]
        table.write_text("file,price\n" + "".join(lines))
        build_gallery(list_photos(table), gallery, embedder, IndexSpec(), quiet=True)

    build_with(1)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00001.jpg", label="broth")
    build_with(2)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00001.jpg", attributes={"price": 3})
    damage(gallery, 5)
    mend(gallery, embedder)
    build_with(2)
    assert facts(gallery, 1) == ("broth", {"price": 3}), "by hand, since the table"


def test_what_is_not_in_a_damaged_catalogue_was_perhaps_not_removed(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    add(gallery, tmp_path, embedder)
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00001.jpg", label="broth")
    damage(gallery, 5)
    sql(gallery, "DELETE FROM photos WHERE row = 4")
    mend(gallery, embedder)
    assert facts(gallery, 100) == ("soup", {})
    assert facts(gallery, 1) == ("broth", {})


@pytest.mark.parametrize(
    "statement",
    ["UPDATE attributes SET type = 'text'", "UPDATE attribute_values SET value = '7'"],
    ids=["definition", "value"],
)
def test_altered_attributes_do_not_take_labels_with_them(
    statement: str, gallery: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00002.jpg", label="broth")
    damage(gallery, 4)
    sql(gallery, statement)
    mend(gallery, embedder)
    assert facts(gallery, 2) == ("broth", {"price": 5})


def test_without_a_catalogue_the_readable_records_stay(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00001.jpg", label="broth")
        writer.update("plate-00002.jpg", label="stew")
    damage(gallery, 4)
    catalogue(gallery).unlink()
    done = mend(gallery, embedder)
    assert any("build again to find its photos" in line for line in done)
    build(tmp_path / "photos", gallery, embedder)
    assert facts(gallery, 1) == (None, {})
    assert facts(gallery, 2) == ("stew", {"price": 5})


def test_without_both_nothing_is_made_up(gallery: Path, tmp_path: Path, embedder: Embedder) -> None:
    shutil.rmtree(gallery / JOURNAL)
    catalogue(gallery).unlink()
    done, left = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
    assert any("neither" in line and "restore one from a copy" in line for line in done)
    assert len(left) == 2
    with pytest.raises(ArtifactCorruptError, match=r"journal is missing.*--repair.*--discard"):
        build(tmp_path / "photos", gallery, embedder)


def test_records_of_earlier_segments_stay_as_they_are(
    gallery: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.local.journal._SEGMENT_BYTES", 0)
    with LocalWriter.open(gallery) as writer:
        for label in ("broth", "stew", "soup"):
            writer.update("plate-00001.jpg", label=label)
    (_, first), *_ = Journal(gallery).segments()
    before = first.read_bytes()
    damage(gallery, 5)
    mend(gallery, embedder)
    assert first.read_bytes() == before
    assert facts(gallery, 1)[0] == "soup"
    assert [record.number for record in Journal(gallery).records()] == [1, 2, 3, 4, 5]


def test_each_damaged_journal_is_kept(gallery: Path, embedder: Embedder) -> None:
    for number, kept in ((3, JOURNAL), (2, f"{JOURNAL}.1"), (3, f"{JOURNAL}.2")):
        damage(gallery, number)
        damaged = Journal(gallery).segments()[0][1].read_bytes()
        assert any(
            line.endswith(f"is kept in {LOST_FOUND}/{kept}") for line in mend(gallery, embedder)
        )
        assert next((gallery / LOST_FOUND / kept).glob("records*")).read_bytes() == damaged
    assert facts(gallery, 2) == (None, {"price": 5})


def test_a_removal_that_was_taken_back_before_a_kill_is_taken_back_by_repair(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00003.jpg"])
    journal = Journal(gallery)  # the writer was killed before the catalogue's commit
    photos = [{"sha256": sha256(jpeg(3)), "said": "{}"}]
    journal.append("restore", "a", {"photos": photos, "undoes": 4})
    journal.close()
    assert mend(gallery, embedder) == ["the journal is applied to the catalogue"]
    assert build(tmp_path / "photos", gallery, embedder).count == 4
    assert facts(gallery, 3) == (None, {})


def test_an_added_photo_without_its_vector_is_not_taken_in_before_repair(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    """As after a power cut: the catalogue and the vectors are of before, the journal is not."""
    inside, away = catalogue(gallery).parent, tmp_path / "before"
    shutil.copytree(inside, away)
    add(gallery, tmp_path, embedder)
    shutil.rmtree(inside)
    away.rename(inside)
    with pytest.raises(
        ArtifactCorruptError, match=r"lacks the 1 newest .* vectors of 1 .*--repair"
    ):
        LocalGallery.open(gallery)
    assert mend(gallery, embedder) == ["the journal is applied to the catalogue"]
    assert facts(gallery, 100) == ("soup", {})


def test_a_photo_of_a_killed_writer_is_kept_while_the_catalogue_lacks_rows(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    """Its own row may be among them."""
    add(gallery, tmp_path, embedder)
    files = PhotoFiles(gallery)
    files.begin([ADDED])
    sql(gallery, "DELETE FROM photos WHERE row = 4")
    with (
        pytest.raises(ArtifactCorruptError, match="list of its rows"),
        LocalWriter.open(gallery),
    ):
        pass
    assert files.path(ADDED).read_bytes() == jpeg(100)
    mend(gallery, embedder)
    assert facts(gallery, 100) == ("soup", {})


def test_rows_on_other_pages_than_the_damaged_one_are_used_again(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 60), tmp_path / "large"
    build(photos, out, embedder)
    with closing(sqlite3.connect(catalogue(out))) as db:
        ((root,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'photos'")
        ((size,),) = db.execute("PRAGMA page_size")
    data = bytearray(catalogue(out).read_bytes())
    inner = (root - 1) * size
    assert data[inner] == 5, "it has pages below it"
    first = inner + int.from_bytes(data[inner + 12 : inner + 14])
    leaf = (int.from_bytes(data[first : first + 4]) - 1) * size
    data[leaf : leaf + 12] = b"\xff" * 12
    catalogue(out).write_bytes(data)
    report = build(photos, out, embedder)
    assert report.count == 60
    assert 0 < report.embedded < 60
    assert list(gallery_problems(out, quiet=True)) == []
