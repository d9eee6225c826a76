"""verify finds every missing, orphan or altered row and file; --repair mends what can be mended."""

import re
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import Settings
from deepfood.data.photos import list_photos
from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError, ArtifactFormatError, ArtifactMissingError
from deepfood.gallery.choose import BYTES_GONE
from deepfood.gallery.photo import PHOTO_FIELDS, crc_of
from deepfood.gallery.reports import Consent
from deepfood.index import IndexSpec
from deepfood.info import repair_gallery
from deepfood.local import LocalGallery, LocalWriter, build_gallery, gallery_model
from deepfood.local.add import add_photos
from deepfood.local.describe import describe
from deepfood.local.engine import LocalEngine
from deepfood.local.verify import gallery_problems
from deepfood.place import Place
from plates import build, edit_manifest, jpeg, sha256, write_photos, write_tiny_model

ADDED = sha256(jpeg(100))


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Rows 0 to 11 are built, 12 was added; a copy is skipped."""
    (write_photos(tmp_path / "photos", 12) / "z-copy.jpg").write_bytes(jpeg(1))
    build(tmp_path / "photos", tmp_path / "gallery", embedder, IndexSpec(kind="hnsw"))
    new = write_photos(tmp_path / "new", 1, start=100)
    add_photos(tmp_path / "gallery", [new], embedder, label="soup", quiet=True)
    return tmp_path / "gallery"


def problems(gallery: Path) -> list[str]:
    return list(gallery_problems(gallery, quiet=True))


def mend(gallery: Path, model: Path | None = None) -> tuple[list[str], list[str]]:
    return repair_gallery(Place.parse(gallery), Settings(model=model), quiet=True)


def sql(gallery: Path, statement: str) -> None:
    with sqlite3.connect(next(gallery.glob("*/catalogue.sqlite"))) as db:
        db.create_function("crc_of", -1, crc_of)
        assert db.execute(statement).rowcount
    db.close()


def edit_row(gallery: Path, row: int, **fields: object) -> None:
    """Change a row as a program would that writes such rows: its checksum fits."""
    columns = ", ".join(PHOTO_FIELDS)
    sql(
        gallery,
        "UPDATE photos SET "
        + ", ".join(f"{n} = {v!r}" for n, v in fields.items())
        + f" WHERE row = {row}",
    )
    sql(
        gallery,
        f"UPDATE photos SET checksum = crc_of(row, vector_crc, {columns}) WHERE row = {row}",
    )


def note_removal(gallery: Path, row: int) -> None:
    """Note a removal of a row that is there, with checksums that fit."""
    sql(
        gallery,
        f"INSERT INTO changes SELECT seq + 1, {row}, 'remove', crc_of(seq + 1, {row}, 'remove') "
        "FROM state",
    )
    sql(
        gallery,
        "UPDATE state SET seq = seq + 1, checksum = crc_of(next_row, seq + 1, record, record_sum)",
    )


def remove_and_flip(gallery: Path, row: int) -> None:
    note_removal(gallery, row)
    flip(vectors(gallery), row * ROW)


def write_table(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"[]\n")


def no_number(gallery: Path, row: int) -> None:
    """Make the CRC-32 of a vector a text, as a damaged page can."""
    schema = "UPDATE sqlite_master SET sql = replace(sql, {0!r}, {1!r}) WHERE name = 'photos'"
    strict = (") STRICT", ")         ")
    for change in (schema.format(*strict), f"UPDATE photos SET vector_crc = 'x' WHERE row = {row}"):
        with sqlite3.connect(next(gallery.glob("*/catalogue.sqlite"))) as db:
            db.execute("PRAGMA writable_schema = ON")
            db.execute(change)
        db.close()
    with sqlite3.connect(next(gallery.glob("*/catalogue.sqlite"))) as db:
        db.execute("PRAGMA writable_schema = ON")
        db.execute(schema.format(*reversed(strict)))
    db.close()


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x10
    path.write_bytes(data)


def vectors(gallery: Path) -> Path:
    return next(gallery.glob("*/vectors.f32"))


def cut(path: Path, size: int) -> None:
    path.write_bytes(path.read_bytes()[:size])


def wreck(gallery: Path, name: str) -> None:
    """Make the first page of a table or index of the catalogue none that SQLite could read."""
    catalogue = next(gallery.glob("*/catalogue.sqlite"))
    with sqlite3.connect(catalogue) as db:
        ((page,),) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (name,))
        ((size,),) = db.execute("PRAGMA page_size")
    db.close()
    data = bytearray(catalogue.read_bytes())
    data[(page - 1) * size : (page - 1) * size + 12] = b"\xff" * 12
    catalogue.write_bytes(data)


ROW = 192 * 4

#: What is done to a gallery, what verify says of it, and what repair says that it did.
DAMAGE: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "vector": (lambda g: flip(vectors(g), 3 * ROW + 5), "vector of row 3 is altered", "row 3"),
    "added vector": (lambda g: flip(vectors(g), 12 * ROW), "vector of row 12 is", "row 12"),
    "vectors cut": (lambda g: cut(vectors(g), 11 * ROW + 7), "vector of row 11 is", "row 11"),
    "vectors gone": (lambda g: vectors(g).unlink(), "vector of row 0 is missing", "row 0"),
    "row": (
        lambda g: sql(g, "UPDATE photos SET label = 'x' WHERE row = 4"),
        "row 4 of the catalogue .* altered",
        "row 4",
    ),
    "row's hash": (
        lambda g: sql(g, "UPDATE photos SET sha256 = replace(sha256, 'a', 'b') WHERE row = 4"),
        "row 4 of the catalogue .* altered",
        "row 4",
    ),
    "row gone": (
        lambda g: sql(g, "DELETE FROM photos WHERE row = 5"),
        "row 5 of the catalogue is missing",
        "row 5 is taken out",
    ),
    "skipped": (
        lambda g: sql(g, "UPDATE skipped SET reason = 'x'"),
        "skipped file z-copy.jpg is altered",
        "z-copy.jpg is forgotten",
    ),
    "page of an index": (
        lambda g: wreck(g, "photos_label"),
        "the catalogue: ",
        "tables are written again|indexes are built again",
    ),
    "page of a primary key": (
        lambda g: wreck(g, "sqlite_autoindex_skipped_1"),
        "the catalogue: ",
        "tables are written again|indexes are built again",
    ),
    "page of the words": (
        lambda g: wreck(g, "written_idx"),
        "the catalogue: |index of words is damaged",
        "tables are written again|indexes are built again",
    ),
    "page of the words' settings": (
        lambda g: wreck(g, "word_parts_config"),
        "the catalogue: |index of words is damaged",
        "tables are written again|indexes are built again",
    ),
    "no state": (lambda g: sql(g, "DELETE FROM state"), "its table `state`", "counted again"),
    "change": (
        lambda g: sql(g, "UPDATE changes SET kind = 'update'"),
        "its list of changes",
        "counted again",
    ),
    "a removed row and its vector": (
        lambda g: remove_and_flip(g, 5),
        "row 5 of the catalogue was removed, and is there",
        "row 5 is taken out",
    ),
    "an added row's checksum": (
        lambda g: sql(g, "UPDATE photos SET checksum = 1 WHERE row = 12"),
        "row 12 of the catalogue .* altered",
        r"row 12 \(plate-00100.jpg\) is embedded again",
    ),
    "an added row gone": (
        lambda g: sql(g, "DELETE FROM photos WHERE row = 12"),
        "row 12 of the catalogue is missing",
        "the journal is applied",
    ),
    "an added row is none": (
        lambda g: edit_row(g, 12, added=0),
        r"disagree on whether row 12 \(plate-00100.jpg\) was added",
        "the journal is applied",
    ),
    "an edit that nobody made": (
        lambda g: edit_row(g, 4, label="x", label_edited=1),
        r"disagree on row 4 \(plate-00004.jpg\)",
        "the journal is applied",
    ),
    "an attribute that nobody declared": (
        lambda g: sql(
            g,
            "INSERT INTO attributes VALUES (1, 'hot', 'text', 0, crc_of(1, 'hot', 'text', 0))",
        ),
        "other attributes than the journal",
        "the journal is applied",
    ),
    "a CRC that is no number": (
        lambda g: no_number(g, 3),
        "row 3 of the catalogue .* altered",
        "row 3",
    ),
    "a table of no record": (
        lambda g: write_table(g / f"journal/tables/{'0' * 64}.jsonl"),
        "not the table that was imported",
        r"kept in lost\+found",
    ),
    "index covers too much": (
        lambda g: edit_manifest(g, covered=99),
        "the index covers 99 rows, and there are 13",
        "index is built",
    ),
    "index not named": (
        lambda g: edit_manifest(g, files={}),
        "names no file of the index hnsw",
        "index is built",
    ),
    "index": (lambda g: flip(next(g.glob("*/index*")), 99), "differs from its", "index is built"),
    "index gone": (lambda g: next(g.glob("*/index*")).unlink(), "missing", "index is built"),
    "model": (lambda g: flip(next(g.glob("models/*/*.onnx")), 9), "copy of the Model", "Model is"),
    "model gone": (lambda g: shutil.rmtree(g / "models"), "copy of the Model", "Model is made"),
    "orphan photo": (
        lambda g: (g / "photos" / ADDED[:2] / ("0" * 64)).write_bytes(b"x"),
        "not a photo of the gallery",
        r"kept in lost\+found",
    ),
    "photo elsewhere": (
        lambda g: (g / "photos" / ADDED[:2] / ADDED).rename(g / "photos" / "elsewhere"),
        f"{ADDED[:20]}. is missing from the gallery",
        "is back in its place",
    ),
    "another model": (
        lambda g: write_tiny_model(next(g.glob("models/*")), pool=16),
        "is a copy of another Model",
        "Model is made",
    ),
    "checkpoint": (
        lambda g: (g / "journal/checkpoint-000000000001.jsonl").write_bytes(b"{}\n"),
        "the checkpoint checkpoint-000000000001.jsonl: ",
        "checkpoint",
    ),
    "old generation": (lambda g: (g / "generation-000000").mkdir(), "nothing that lives", "delet"),
    "old index": (
        lambda g: next(g.glob("generation*")).joinpath("index-000000001.faiss").touch(),
        "nothing that lives",
        "is deleted",
    ),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_damage_is_found_and_mended(
    what: str, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    assert problems(gallery) == []
    damage, said, did = DAMAGE[what]
    damage(gallery)
    found = problems(gallery)
    assert found
    assert any(re.search(said, line) for line in found), found
    done, left = mend(gallery, tmp_path / "model")
    assert any(re.search(did, line) for line in done), done
    assert left == [] == problems(gallery)
    with LocalGallery.open(gallery, embedder.model) as opened:
        for seed in (0, 1, 2, 3, 4, 6, 7, 8, 9, 10, 11, 100):
            hit = opened.search(embedder.embed(jpeg(seed)), 1)[0]
            assert hit.photo.id == sha256(jpeg(seed))[:20]
            assert opened.read(hit.photo) == jpeg(seed)
        assert opened.photo(ADDED[:20]).label == "soup"
        assert opened.photo(ADDED[:20]).added
    assert build(tmp_path / "photos", gallery, embedder).count == 13, "and a build finds the rest"


@pytest.mark.parametrize("what", ["changed", "gone"])
def test_what_cannot_be_mended_is_said_and_left(
    what: str, gallery: Path, embedder: Embedder
) -> None:
    path = gallery / "photos" / ADDED[:2] / ADDED
    if what == "changed":
        flip(path, 50)
    else:
        path.unlink()
    flip(vectors(gallery), 12 * ROW)
    expected = {"the vector of row 12 is altered"}
    assert expected < set(problems(gallery))
    assert any(ADDED[:20] in line for line in problems(gallery))
    done, left = mend(gallery)
    assert not any("row 12" in line for line in done)
    assert expected < set(left)


def test_an_altered_row_is_never_answered_with(gallery: Path, embedder: Embedder) -> None:
    with LocalGallery.open(gallery, embedder.model) as opened:
        sql(gallery, "UPDATE photos SET file = '../secret.jpg' WHERE row = 4")
        with pytest.raises(ArtifactCorruptError, match=r"row 4 .* altered.*--repair"):
            opened.search(embedder.embed(jpeg(4)), 1)


def test_altered_vectors_are_found_on_opening(gallery: Path, embedder: Embedder) -> None:
    flip(vectors(gallery), 5)
    with pytest.raises(ArtifactCorruptError, match="1 vector is altered, row 0 first"):
        LocalGallery.open(gallery, embedder.model)


def test_vectors_of_another_kind_of_storage_are_mended_too(
    tmp_path: Path, embedder: Embedder
) -> None:
    photos, out = write_photos(tmp_path / "photos", 5), tmp_path / "g"
    for storage in ("f16", "i8"):
        build_gallery(list_photos(photos), out, embedder, IndexSpec(), storage, quiet=True)
        path = next(out.glob(f"*/vectors.{storage}"))
        whole = path.read_bytes()
        flip(path, len(whole) // 2)
        assert problems(out) == ["the vector of row 2 is altered"]
        assert mend(out)[1] == []
        np.testing.assert_array_equal(
            np.frombuffer(path.read_bytes(), "u1"), np.frombuffer(whole, "u1")
        )


def test_a_gallery_without_its_model_wants_one_named(gallery: Path, tmp_path: Path) -> None:
    flip(next(gallery.glob("models/*/*.onnx")), 9)
    with pytest.raises(ArtifactCorruptError, match=r"cannot be used .* name the Model .* --model"):
        gallery_model(gallery)
    assert gallery_model(gallery, tmp_path / "model").manifest.name == "tiny"


def test_a_model_is_no_gallery_to_repair(tmp_path: Path, embedder: Embedder) -> None:
    with pytest.raises(ArtifactFormatError, match="is a model, and only galleries are mended"):
        mend(embedder.model.folder)


def test_an_empty_folder_is_no_gallery_to_repair(tmp_path: Path) -> None:
    with pytest.raises(ArtifactMissingError, match=str(tmp_path)):
        LocalEngine(tmp_path, Settings()).repair(quiet=True)
    assert not list(tmp_path.iterdir())


def test_a_gallery_whose_generation_lost_its_manifest_is_checked_by_its_own(gallery: Path) -> None:
    for copy in gallery.glob("generation-*/manifest.json"):
        copy.unlink()
    assert LocalEngine(gallery, Settings()).repair(quiet=True)[1] == []
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_what_is_kept_aside_keeps_what_was_kept_before(gallery: Path) -> None:
    orphan = gallery / "photos" / ("0" * 64)
    for contents in (b"one", b"two", b"three"):
        orphan.write_bytes(contents)
        assert mend(gallery)[1] == []
    kept = [path.read_bytes() for path in sorted((gallery / "lost+found").iterdir())]
    assert kept == [b"one", b"two", b"three"]


def test_without_the_generation_before_nothing_is_known_to_be_gone(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    (tmp_path / "photos" / "plate-00003.jpg").unlink()
    build(tmp_path / "photos", gallery, embedder)
    assert describe(gallery)["gone"] == ["plate-00003.jpg"]
    (gallery / "generation-000001/catalogue.sqlite").unlink()
    assert describe(gallery)["gone"] == []


def test_a_pulled_gallery_that_knows_no_place_reads_where_it_was_built(gallery: Path) -> None:
    (gallery / "photos-at").touch()
    with LocalGallery.open(gallery) as opened:
        for seed in (0, 100):  # of the source, and in its own folder
            assert opened.read(opened.photo(sha256(jpeg(seed))[:20])) == jpeg(seed)


def test_without_the_model_no_vector_is_made_again(gallery: Path) -> None:
    flip(vectors(gallery), 3 * ROW)
    shutil.rmtree(gallery / "models")
    before = problems(gallery)
    assert mend(gallery) == ([], before)


def test_a_photo_whose_name_this_system_refuses_is_said(gallery: Path) -> None:
    """Other systems have longer names."""
    edit_row(gallery, 3, file="é" * 200 + ".jpg")
    said = re.compile(r"photo é+\.jpg \(\w+\): the file cannot be read: ")
    assert any(map(said.match, problems(gallery)))
    (left,) = mend(gallery)[1]
    assert said.match(left)


def test_an_index_without_a_file_covers_no_more_than_there_is(
    tmp_path: Path, embedder: Embedder
) -> None:
    out = tmp_path / "gallery"
    build(write_photos(tmp_path / "photos", 3), out, embedder, IndexSpec(kind="exact"))
    edit_manifest(out, covered=4)
    with pytest.raises(ArtifactCorruptError, match="covers 4 vectors, and the catalogue has 3"):
        LocalGallery.open(out)
    assert problems(out) == ["the index covers 4 rows, and there are 3"]
    assert mend(out) == (["the index is built again"], [])
    with LocalGallery.open(out) as opened:
        assert len(opened.search(embedder.embed(jpeg(0)), 5)) == 3


def test_an_added_photo_that_is_lost_in_both_places_is_said(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    sql(gallery, "DELETE FROM photos WHERE row = 12")
    (gallery / "photos" / ADDED[:2] / ADDED).unlink()
    said = f"the added photo plate-00100.jpg ({ADDED[:20]}) is missing"
    assert said in problems(gallery)
    assert mend(gallery)[1] == [said]
    report = build(tmp_path / "photos", gallery, embedder)
    assert report.count == 12
    assert [one.reason for one in report.skipped if one.same_as == ADDED] == [BYTES_GONE]
    assert problems(gallery) == [], "a build notes it"


@pytest.mark.parametrize("what", ["altered", "missing"])
def test_edits_of_an_absent_photo_are_restored(
    what: str, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    with LocalWriter.open(gallery) as writer:
        writer.update("plate-00003.jpg", label="broth")
    photo = tmp_path / "photos" / "plate-00003.jpg"
    photo.rename(tmp_path / photo.name)
    build(tmp_path / "photos", gallery, embedder)
    assert problems(gallery) == []
    statements = {"altered": "UPDATE absent SET said = '{}'", "missing": "DELETE FROM absent"}
    for catalogue in gallery.glob("*/catalogue.sqlite"):
        with sqlite3.connect(catalogue) as db:
            db.execute(statements[what])
        db.close()
    said = f"the manual edits of the absent photo {sha256(jpeg(3))[:20]} are missing"
    assert said in problems(gallery)
    assert mend(gallery)[1] == []
    (tmp_path / photo.name).rename(photo)
    build(tmp_path / "photos", gallery, embedder)
    with LocalGallery.open(gallery) as opened:
        assert opened.photo(sha256(jpeg(3))[:20]).label == "broth"


def test_a_photo_whose_copy_is_altered_is_not_removed(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    """Its copies are noted as removed, too."""
    sql(gallery, "UPDATE skipped SET reason = 'x'")
    with LocalWriter.open(gallery) as writer:
        with pytest.raises(ArtifactCorruptError, match=r"skipped file z-copy\.jpg .*--repair"):
            writer.remove(["plate-00001.jpg"])
        assert writer.remove(["plate-00002.jpg"])
    mend(gallery)
    build(tmp_path / "photos", gallery, embedder)
    with LocalWriter.open(gallery) as writer:
        writer.remove(["plate-00001.jpg"])
    assert build(tmp_path / "photos", gallery, embedder).count == 11


def test_changes_that_cannot_be_read_are_left_to_a_build(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    wreck(gallery, "changes")
    done, left = mend(gallery)
    assert any(line.startswith("the catalogue is left as it is: ") for line in done), done
    assert left
    build(tmp_path / "photos", gallery, embedder)
    assert problems(gallery) == []
    with LocalGallery.open(gallery) as opened:
        assert opened.photo(ADDED[:20]).label == "soup"


@pytest.mark.parametrize("copies", ["gone", "damaged"])
def test_a_manifest_without_a_copy_is_not_made_up(
    copies: str, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    for copy in gallery.glob("generation*/manifest.json"):
        copy.unlink() if copies == "gone" else flip(copy, 99)
    flip(gallery / "manifest.json", 99)
    before = (gallery / "manifest.json").read_bytes()
    with pytest.raises(ArtifactCorruptError, match=r"manifest\.json"):
        mend(gallery)
    assert (gallery / "manifest.json").read_bytes() == before
    source, consent = list_photos(tmp_path / "photos"), Consent(discard=True)
    report = build_gallery(source, gallery, embedder, IndexSpec(), consent=consent, quiet=True)
    assert report.count == 13, "with the added one"


def test_a_manifest_of_a_newer_deepfood_is_not_replaced_by_its_copy(gallery: Path) -> None:
    edit_manifest(gallery, format_version=99)
    with pytest.raises(ArtifactFormatError, match="99"):
        mend(gallery)
