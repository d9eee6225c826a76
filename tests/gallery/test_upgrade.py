"""Galleries made before there was a journal (manifest format 1) are brought to today's format."""

import contextlib
import errno
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any, NoReturn

import pytest

from deepfood.artifacts import MANIFEST
from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, ArtifactFormatError
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.photo import REMOVED
from deepfood.index import IndexSpec
from deepfood.local import LocalGallery, LocalManifest, LocalWriter
from deepfood.local.add import add_photos
from deepfood.local.checkpoints import fold_of
from deepfood.local.import_attributes import import_attributes
from deepfood.local.journal import JOURNAL, Journal
from deepfood.local.manifest import LOST_FOUND
from deepfood.local.repair import repair
from deepfood.local.store import CATALOGUE
from deepfood.local.upgrade import UPGRADING
from deepfood.local.verify import gallery_problems
from deepfood.model import Model
from plates import build, jpeg, sha256, write_photos

PHOTOS = 12
#: As galleries of format 1 have it.
SCHEMA = """
CREATE TABLE photos (
    row INTEGER PRIMARY KEY, sha256 TEXT NOT NULL, file TEXT NOT NULL, label TEXT, name TEXT,
    media_type TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    bytes INTEGER NOT NULL, modified_ns INTEGER NOT NULL, added INTEGER NOT NULL,
    edited INTEGER NOT NULL, vector_crc INTEGER NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX photos_sha256 ON photos (sha256);
CREATE INDEX photos_file ON photos (file);
CREATE INDEX photos_label ON photos (label);
CREATE TABLE skipped (
    file TEXT PRIMARY KEY, reason TEXT NOT NULL, bytes INTEGER NOT NULL,
    modified_ns INTEGER NOT NULL, same_as TEXT, checksum INTEGER NOT NULL
) STRICT;
CREATE INDEX skipped_same_as ON skipped (same_as);
CREATE TABLE changes (
    seq INTEGER PRIMARY KEY AUTOINCREMENT, row INTEGER NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('add', 'remove', 'update'))
) STRICT;
CREATE INDEX removals ON changes (seq, row) WHERE kind = 'remove';
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
CREATE TABLE attributes (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    safety INTEGER NOT NULL, checksum INTEGER NOT NULL
) STRICT;
CREATE TABLE attribute_values (
    row INTEGER NOT NULL, attribute INTEGER NOT NULL, value TEXT NOT NULL,
    checksum INTEGER NOT NULL, PRIMARY KEY (row, attribute)
) STRICT, WITHOUT ROWID;
CREATE INDEX attribute_known ON attribute_values (attribute, row);
CREATE TABLE attribute_keys (
    attribute INTEGER NOT NULL, key ANY NOT NULL, row INTEGER NOT NULL,
    PRIMARY KEY (attribute, key, row)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX one_photo ON photos (sha256);
"""


def crc(*said: object) -> int:
    return zlib.crc32(json.dumps(said).encode())


def as_earlier(gallery: Path) -> None:
    """Write a gallery as deepfood did before there was a journal."""
    manifest = LocalManifest.read(gallery)
    path = manifest.folder(gallery) / CATALOGUE
    with contextlib.closing(sqlite3.connect(path)) as now:
        (next_row,) = now.execute("SELECT next_row FROM state").fetchone()
        photos = now.execute(
            "SELECT row, vector_crc, sha256, file, label, name, media_type, width, height, bytes, "
            "modified_ns, added, label_edited AND name_edited FROM photos"
        ).fetchall()
        skipped = now.execute(
            "SELECT file, reason, bytes, modified_ns, iif(reason = ?, NULL, same_as) FROM skipped",
            (REMOVED,),
        ).fetchall()
        changes = now.execute("SELECT seq, row, kind FROM changes").fetchall()
        definitions = now.execute("SELECT id, name, type, safety FROM attributes").fetchall()
        values = now.execute("SELECT row, attribute, value FROM attribute_values").fetchall()
        keys = now.execute("SELECT * FROM attribute_keys").fetchall()
    for old in path.parent.glob(f"{CATALOGUE}*"):
        old.unlink()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute("PRAGMA journal_mode = WAL")
        db.executescript(SCHEMA)
        for row, vector_crc, *said in photos:
            one = (row, *said, vector_crc, crc(row, vector_crc, *said))
            db.execute(f"INSERT INTO photos VALUES ({', '.join('?' * 14)})", one)
        db.execute("INSERT INTO state VALUES ('next_row', ?)", (next_row,))
        db.executemany("INSERT INTO changes VALUES (?, ?, ?)", changes)
        for table, marks, rows in (
            ("skipped", 5, skipped),
            ("attributes", 4, definitions),
            ("attribute_values", 3, values),
        ):
            sql = f"INSERT INTO {table} VALUES ({'?, ' * marks}?)"
            db.executemany(sql, ((*one, crc(*one)) for one in rows))
        db.executemany("INSERT INTO attribute_keys VALUES (?, ?, ?)", keys)
    said = json.loads((gallery / MANIFEST).read_bytes())
    del said["checksum"]
    said.update(format_version=1, before=None)
    (gallery / MANIFEST).write_text(json.dumps(said, indent=2) + "\n")
    (path.parent / MANIFEST).unlink()
    shutil.rmtree(gallery / JOURNAL)


@pytest.fixture
def gallery(tmp_path: Path, embedder: Embedder) -> Path:
    """Twelve photos and a copy; one added, one edited, two removed, attributes of three."""
    photos = write_photos(tmp_path / "photos", PHOTOS)
    shutil.copy(photos / "plate-00001.jpg", photos / "plate-copy.jpg")
    out = tmp_path / "gallery"
    build(photos, out, embedder, IndexSpec(kind="hnsw"))
    extra = write_photos(tmp_path / "extra", 1, start=50)
    add_photos(out, [extra / "plate-00050.jpg"], embedder, label="added", quiet=True)
    table = tmp_path / "table.csv"
    hashes = [sha256(jpeg(seed)) for seed in (2, 3, 50)]
    table.write_text(
        "sha256,allergens,halal,price\n"
        f"{hashes[0]},peanut,yes,4.5\n{hashes[1]},[],no,\n{hashes[2]},milk;egg,,7\n"
    )
    import_attributes(out, table, {}, frozenset({"halal"}))
    with LocalWriter.open(out) as writer:
        writer.update("plate-00003.jpg", label="soup", photo_name="Grandma's")
        writer.remove(["plate-00005.jpg", "plate-00006.jpg"])
    return out


def all_said(gallery: Path) -> dict[str, Any]:
    """All that is said of the photos, and what searches find."""
    with LocalGallery.open(gallery) as opened:
        query = opened.vector(sha256(jpeg(2))[:20])
        safe = parse_filter('NOT allergens HAS "peanut" AND halal = false')
        return {
            "facts": {photo.id: opened.facts(photo.id) for photo in opened.store.photos()},
            "declared": {
                name: (one.type, one.safety)
                for name, one in opened.store.attributes.declared().items()
            },
            "hits": [(hit.photo.id, hit.score) for hit in opened.search(query, 20)],
            "safe": [hit.photo.id for hit in opened.find(query, 20, where=safe).hits],
        }


def never(model: Model) -> NoReturn:
    raise AssertionError("nothing need be embedded again")


def upgraded(gallery: Path) -> list[str]:
    done, problems = repair(gallery, [], never, quiet=True)
    assert problems == []
    assert list(gallery_problems(gallery, quiet=True)) == []
    return done


def test_an_earlier_gallery_is_refused_in_a_line_that_names_the_way_out(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    as_earlier(gallery)
    for what in (
        lambda: LocalGallery.open(gallery),
        lambda: list(gallery_problems(gallery, quiet=True)),
        lambda: build(tmp_path / "photos", gallery, embedder),
        lambda: add_photos(gallery, [tmp_path / "extra"], embedder, quiet=True),
    ):
        with pytest.raises(
            ArtifactFormatError, match=r"verify --repair \S+gallery upgrades"
        ) as why:
            what()
        assert "\n" not in str(why.value)


def test_all_that_was_said_is_there_and_a_build_keeps_it(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    before = all_said(gallery)
    assert len(before["hits"]) == PHOTOS - 2 + 1
    assert before["safe"] == [sha256(jpeg(3))[:20]]
    as_earlier(gallery)
    assert upgraded(gallery) == [
        f"the gallery has the current format: {PHOTOS - 1} photos as before"
    ]
    assert all_said(gallery) == before
    fold = fold_of(Journal(gallery))
    removed = {sha256(jpeg(5)), sha256(jpeg(6))}
    assert {one for one in fold if fold[one].removed} == removed
    assert not (gallery / UPGRADING).exists()
    assert not (gallery / LOST_FOUND).exists()

    for path in (tmp_path / "photos").iterdir():
        path.rename(path.with_name(f"renamed-{path.name}"))
    report = build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="hnsw"))
    assert report.count == PHOTOS - 1
    after = all_said(gallery)
    assert after["declared"] == before["declared"]
    assert after["safe"] == before["safe"]
    values = {photo: values for photo, (_, values) in before["facts"].items()}
    assert {photo: values for photo, (_, values) in after["facts"].items()} == values
    edited, _ = after["facts"][sha256(jpeg(3))[:20]]
    assert (edited.label, edited.name) == ("soup", "Grandma's")
    assert list(gallery_problems(gallery, quiet=True)) == []


def test_a_build_embeds_nothing_again(gallery: Path, tmp_path: Path, embedder: Embedder) -> None:
    before = all_said(gallery)
    as_earlier(gallery)
    upgraded(gallery)
    report = build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="exact"))
    assert (report.embedded, report.gone) == (0, ())
    after = all_said(gallery)
    assert {**after, "hits": sorted(after["hits"])} == {**before, "hits": sorted(before["hits"])}


@pytest.mark.parametrize("linked", [False, True])
def test_a_removed_file_that_is_away_stays_out_by_its_name(
    linked: bool, gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    as_earlier(gallery)
    away = tmp_path / "photos" / "plate-00006.jpg"
    away.rename(tmp_path / away.name)
    if linked:  # out of the folder
        away.symlink_to(tmp_path / away.name)
    first, _ = upgraded(gallery)
    assert first.startswith("plate-00006.jpg was removed, and is not below")
    (tmp_path / away.name).rename(away)
    report = build(tmp_path / "photos", gallery, embedder, IndexSpec(kind="exact"))
    assert (report.embedded, report.count) == (0, PHOTOS - 1)
    out = [one.file for one in report.skipped if one.reason == REMOVED]
    assert out == ["plate-00005.jpg", "plate-00006.jpg"]


def test_a_removed_content_that_was_added_since_is_not_removed_again(
    gallery: Path, tmp_path: Path, embedder: Embedder
) -> None:
    as_earlier(gallery)
    photo = sha256(jpeg(5))
    catalogue = gallery / "generation-000001" / CATALOGUE
    with contextlib.closing(sqlite3.connect(catalogue)) as db, db:
        # The added photo of the fixture, once more as another that has the content of plate 5.
        size = len(jpeg(5))
        said = (photo, "again.jpg", None, None, "image/jpeg", 96, 72, size, 1, 1, 0)
        (row,) = db.execute("SELECT value FROM state").fetchone()
        vectors = gallery / "generation-000001" / "vectors.f32"
        row_bytes = vectors.stat().st_size // row
        with vectors.open("r+b") as file:
            file.seek(5 * row_bytes)
            vector = file.read(row_bytes)
            file.seek(0, os.SEEK_END)
            file.write(vector)
        one = (row, *said, zlib.crc32(vector), crc(row, zlib.crc32(vector), *said))
        db.execute(f"INSERT INTO photos VALUES ({', '.join('?' * 14)})", one)
        db.execute("UPDATE state SET value = ?", (row + 1,))
        db.execute("INSERT INTO changes (row, kind) VALUES (?, 'add')", (row,))
    kept = gallery / "photos" / photo[:2] / photo
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(jpeg(5))
    upgraded(gallery)
    assert photo[:20] in all_said(gallery)["facts"]
    build(tmp_path / "photos", gallery, embedder)
    assert photo[:20] in all_said(gallery)["facts"]


def test_the_generation_before_is_forgotten_in_a_line(gallery: Path) -> None:
    as_earlier(gallery)
    path = gallery / MANIFEST
    said = json.loads(path.read_bytes())
    before = {**said, "generation": 7, "model_name": "older"}
    path.write_text(json.dumps({**said, "before": before}))
    assert any("of the Model older, is forgotten" in line for line in upgraded(gallery))
    manifest = LocalManifest.read(gallery)
    assert (manifest.before, manifest.generation) == (None, 8)


def change_earlier(gallery: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(gallery / "generation-000001" / CATALOGUE)) as db, db:
        db.create_function("crc", -1, crc)
        for statement in statements:
            assert db.execute(statement).rowcount > 0


@pytest.mark.parametrize(
    ("sql", "line"),
    [
        ("UPDATE photos SET label = 'tea' WHERE row = 1", "row 1 (plate-00001.jpg) is altered"),
        ("DELETE FROM photos WHERE row = 1", "row 1 is missing, and was not removed"),
        ("UPDATE state SET value = 99", "how many rows there are is altered: 13 are found"),
        ("UPDATE attributes SET safety = 0 WHERE name = 'halal'", "attribute halal is altered"),
        ("UPDATE attributes SET type = 'tea' WHERE name = 'price'", "it is one of safety now"),
        ("UPDATE attribute_values SET value = '[]'", "the attribute allergens of row 2 is altered"),
        ("UPDATE skipped SET same_as = 'tea' WHERE file = 'plate-copy.jpg'", "plate-copy.jpg is"),
    ],
)
def test_what_was_altered_is_told_and_kept_aside(
    sql: str, line: str, gallery: Path, embedder: Embedder
) -> None:
    before = all_said(gallery)
    as_earlier(gallery)
    change_earlier(gallery, sql)
    done, problems = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
    assert problems == []
    assert any(line in one for one in done), done
    assert (gallery / LOST_FOUND / CATALOGUE).is_file()
    after = all_said(gallery)
    assert after["declared"]["halal"] == ("boolean", True)
    assert after["declared"]["price"][0] == "number"
    for photo in after["facts"].keys() - {sha256(jpeg(1))[:20]}:
        if "attribute_values" not in sql:
            assert after["facts"][photo] == before["facts"][photo]


#: What is altered, what is told of it, and the attributes of which nothing is believed.
LOST: dict[str, tuple[tuple[str, ...], tuple[str, ...], set[str]]] = {
    "a removed row": (
        ("INSERT INTO changes (row, kind) VALUES (3, 'remove')",),
        ("row 3 was removed, and is there: it is taken out", "halal of row 3 is of no photo"),
        set(),
    ),
    "a row that can be none": (
        ("UPDATE photos SET sha256 = 'tea' WHERE row = 3",),
        ("row 3 (plate-00003.jpg) is altered", "halal of row 3 is of no photo"),
        set(),
    ),
    "a name that can be none": (
        ("UPDATE attributes SET name = 'no\nname' WHERE name = 'price'",),
        ("no\nname is altered: and cannot be read", "of row 2 has no definition, and is unknown"),
        {"price"},
    ),
    "a definition and all its values": (
        (
            "UPDATE attributes SET safety = 1 WHERE name = 'price'",
            "UPDATE attribute_values SET checksum = 1",
        ),
        ("attribute price is altered: it is one of safety now", "price of row 2 is altered"),
        {"price", "halal", "allergens"},
    ),
    "a definition without values": (
        (
            "INSERT INTO attributes VALUES (9, 'hot', 'boolean', 0, 1)",
            "INSERT INTO attributes VALUES (10, 'allergen', 'tea', 0, 1)",
        ),
        ("attribute hot is altered: it is one of safety now", "allergen is altered: and cannot"),
        set(),
    ),
}


@pytest.mark.parametrize("what", LOST)
def test_what_cannot_be_believed_is_told_and_all_else_kept(
    what: str, gallery: Path, embedder: Embedder
) -> None:
    before = all_said(gallery)
    as_earlier(gallery)
    statements, lines, disbelieved = LOST[what]
    change_earlier(gallery, *statements)
    done, problems = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
    assert problems == [] == list(gallery_problems(gallery, quiet=True))
    for line in lines:
        assert any(line in one for one in done), done
    after = all_said(gallery)
    taken_out = {sha256(jpeg(3))[:20]} if "row" in what else set()
    assert after["facts"].keys() == before["facts"].keys() - taken_out
    for photo, (about, values) in after["facts"].items():
        known = {n: v for n, v in before["facts"][photo][1].items() if n not in disbelieved}
        assert (about, values) == (before["facts"][photo][0], known)


def test_a_gallery_of_which_nothing_was_said(tmp_path: Path, embedder: Embedder) -> None:
    out = tmp_path / "bare"
    build(write_photos(tmp_path / "photos", 2), out, embedder)
    as_earlier(out)
    assert upgraded(out) == ["the gallery has the current format: 2 photos as before"]
    assert [record.do for record in Journal(out).records()] == ["begin"]


@pytest.mark.parametrize("links", [True, False])
def test_vectors_and_index_are_shared_or_copied_or_made_again(
    links: bool, gallery: Path, embedder: Embedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = all_said(gallery)
    as_earlier(gallery)
    if not links:  # as exFAT, which has none

        def refuse(path: Path, target: Path) -> NoReturn:
            raise OSError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(Path, "hardlink_to", refuse)
        assert upgraded(gallery)
    else:
        (gallery / "generation-000001" / "vectors.f32").unlink()
        done, problems = repair(gallery, [embedder.model], lambda model: embedder, quiet=True)
        assert problems == []
        assert any("is embedded again" in line for line in done)
    assert all_said(gallery) == before


@pytest.mark.parametrize("contents", [b"damaged\n", b""], ids=["damaged", "another"])
def test_a_journal_that_is_in_the_way_is_kept(contents: bytes, gallery: Path) -> None:
    as_earlier(gallery)
    there = Journal(gallery)
    there.append("begin", "a", {"format": 1})
    there.append("drop", "a", {"attribute": "price"})
    there.close()
    ((_, path),) = there.segments()
    path.write_bytes(contents or path.read_bytes())
    kept = path.read_bytes()
    first, _ = upgraded(gallery)
    assert first == f"a journal that was there already is kept in {LOST_FOUND}/{JOURNAL}"
    assert (gallery / LOST_FOUND / JOURNAL / path.name).read_bytes() == kept


@pytest.mark.parametrize("contents", [None, b"", b"no database" * 400])
def test_without_a_catalogue_nothing_is_upgraded(contents: bytes | None, gallery: Path) -> None:
    as_earlier(gallery)
    manifest = (gallery / MANIFEST).read_bytes()
    for path in gallery.glob(f"generation-000001/{CATALOGUE}*"):
        path.unlink()
    if contents is not None:
        (gallery / "generation-000001" / CATALOGUE).write_bytes(contents)
    with pytest.raises(ArtifactError, match="build the gallery into another folder") as why:
        repair(gallery, [], never, quiet=True)
    assert "\n" not in str(why.value)
    assert (gallery / MANIFEST).read_bytes() == manifest


#: Upgrades copies of a gallery, each killed at a later call that changes files, until one is not.
KILLED = """
import os, shutil, signal, sys
from pathlib import Path
from deepfood.local.repair import repair
from deepfood.local.verify import gallery_problems

gallery, step = Path(sys.argv[1]), int(sys.argv[2])
WATCHED = {"os.rename", "os.link", "os.mkdir", "os.remove", "os.truncate", "shutil.rmtree",
           "sqlite3.connect"}

def run(folder):
    return repair(folder, [], None, quiet=True)

def killed(folder, at):
    left = at
    def count(event, arguments):
        nonlocal left
        writes = event == "open" and set(str(arguments[1])) & set("wa+")
        if event in WATCHED or writes:
            left -= 1
            if left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    run(folder)
    os._exit(0)

at, was_killed = 1, True
while was_killed:
    copy = gallery.with_name(f"killed-{at}")
    shutil.copytree(gallery, copy)
    if not (child := os.fork()):
        killed(copy, at)
    was_killed = os.WIFSIGNALED(os.waitpid(child, 0)[1])
    done, problems = run(copy)
    assert problems == [], problems
    print(copy, flush=True)
    at += step
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_killed_at_any_moment_the_same_command_ends_it(gallery: Path) -> None:
    before = all_said(gallery)
    as_earlier(gallery)
    said = subprocess.run(
        [sys.executable, "-c", KILLED, str(gallery), "5"],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert said.returncode == 0, said.stderr
    copies = [Path(line) for line in said.stdout.splitlines()]
    assert len(copies) > 5
    for copy in copies:
        assert all_said(copy) == before
        assert not (copy / UPGRADING).exists()
