"""Whatever is damaged, every command answers rightly or refuses; benchmarks/damage.py is longer."""

import random
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from damages import (
    FILE_KINDS,
    TABLES,
    Damage,
    Whole,
    damages,
    make_whole,
    state_of,
    state_or_none,
    trial,
)
from deepfood.data.photos import list_photos
from deepfood.local import LocalManifest, build_gallery
from deepfood.local.journal import Journal
from deepfood.local.repair import repair
from deepfood.local.verify import gallery_problems

pytestmark = pytest.mark.slow

#: Of the files' kinds and of the tables' rows and columns, so many are drawn.
DRAWN = 6
RECORDS = "journal/records-000000000001.jsonl"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return make_whole(tmp_path_factory.mktemp("whole"), "hnsw")


def test_the_commands_are_right_about_a_gallery_that_is_whole(whole: Whole, tmp_path: Path) -> None:
    class Nothing(Damage):
        def do(self, folder: Path) -> None:
            pass

    found = trial(whole, Nothing("nothing", "", 0), tmp_path / "room")
    assert found.wrong == []
    assert set(found.outcomes.values()) == {"right"}
    assert found.whole


@pytest.mark.parametrize("seed", range(DRAWN))
def test_a_damaged_file(seed: int, whole: Whole, tmp_path: Path) -> None:
    some = [one for one in damages(whole.folder) if one.kind in FILE_KINDS]
    damage = random.Random(seed).choice(some)
    found = trial(whole, damage, tmp_path / "room")
    assert found.wrong == [], (str(damage), found.notes)


@pytest.mark.parametrize("seed", range(DRAWN))
def test_a_damaged_table(seed: int, whole: Whole, tmp_path: Path) -> None:
    table = TABLES[seed % len(TABLES)]
    some = [one for one in damages(whole.folder) if one.target.partition(".")[0] == table]
    damage = random.Random(seed).choice(some)
    found = trial(whole, damage, tmp_path / "room")
    assert found.wrong == [], (str(damage), found.notes)


@dataclass(frozen=True)
class InTheSchema(Damage):
    """One byte of the SQL by which the catalogue knows its table of attributes."""

    @property
    def byte(self) -> tuple[bytes, bytes]:
        return {"utf-8": (b"safety INTEGER", b"\xf3"), "quote": (b" name TEXT NOT NULL U", b'"')}[
            self.kind
        ]

    def do(self, folder: Path) -> None:
        path = folder / self.target
        text, byte = self.byte
        at = path.read_bytes().index(text)
        with path.open("r+b") as file:
            file.seek(at)
            file.write(byte)


@pytest.mark.parametrize("kind", ["utf-8", "quote"])
def test_a_damaged_schema_is_told_in_a_line(kind: str, whole: Whole, tmp_path: Path) -> None:
    catalogue = LocalManifest.read(whole.folder).folder(whole.folder) / "catalogue.sqlite"
    damage = InTheSchema(str(catalogue.relative_to(whole.folder)), kind, 0)
    found = trial(whole, damage, tmp_path / "room")
    assert found.wrong == [], found.notes
    assert found.outcomes["facts"] == "refused"


def mended(whole: Whole, folder: Path) -> list[str]:
    models = [whole.embedder.model]
    done, left = repair(folder, models, lambda model: whole.embedder, quiet=True)
    assert left == []
    assert list(gallery_problems(folder, quiet=True)) == []
    assert state_of(folder) == whole.state
    return done


def segment(folder: Path) -> Path:
    return Journal(folder).segments()[0][1]


@pytest.mark.parametrize("number", [2, 5, 8, 13])
def test_a_damaged_record_is_found_and_written_anew_from_the_catalogue(
    number: int, whole: Whole, tmp_path: Path
) -> None:
    copy = whole.copy(tmp_path / "copy")
    lines = segment(copy).read_bytes().splitlines(keepends=True)
    at = len(lines[number - 1]) // 2
    lines[number - 1] = lines[number - 1][:at] + b"\x00" + lines[number - 1][at + 1 :]
    segment(copy).write_bytes(b"".join(lines))
    assert any(line.startswith("the journal: ") for line in gallery_problems(copy, quiet=True))
    assert any("the journal is whole again" in line for line in mended(whole, copy))
    assert (copy / "lost+found/journal").is_dir()


def test_a_record_whose_sum_is_damaged_is_still_read(whole: Whole, tmp_path: Path) -> None:
    copy = whole.copy(tmp_path / "copy")
    every = [record.number for record in Journal(copy).records()]
    lines = segment(copy).read_bytes().splitlines(keepends=True)
    lines[4] = (b"0" if lines[4][:1] != b"0" else b"1") + lines[4][1:]
    segment(copy).write_bytes(b"".join(lines))
    found = list(Journal(copy).readable())
    assert [one if isinstance(one, str) else one.number for one in found] == every


@pytest.mark.parametrize(
    "lost", ["journal", "journal/tables", "journal/records-000000000001.jsonl"]
)
def test_a_lost_part_of_the_journal_is_written_anew(
    lost: str, whole: Whole, tmp_path: Path
) -> None:
    copy = whole.copy(tmp_path / "copy")
    (copy / lost).rename(tmp_path / "lost")
    assert list(gallery_problems(copy, quiet=True))
    mended(whole, copy)


def test_a_journal_that_lacks_its_last_record_is_not_believed(whole: Whole, tmp_path: Path) -> None:
    copy = whole.copy(tmp_path / "copy")
    lines = segment(copy).read_bytes().splitlines(keepends=True)
    segment(copy).write_bytes(b"".join(lines[:-1]))
    assert any("was acknowledged" in line for line in gallery_problems(copy, quiet=True))
    mended(whole, copy)


def test_records_that_only_the_journal_has_count(whole: Whole, tmp_path: Path) -> None:
    """The catalogue is older, as after its log was lost; and an earlier record is damaged, too."""
    copy = whole.copy(tmp_path / "copy")
    by = "somebody"
    journal = Journal(copy)
    edit = {"sha256": next(one.sha256 for one in _photos(copy) if one.file == "soup/5.jpg")}
    journal.append("update", by, {"photos": [{**edit, "label": "newest"}]})
    journal.close()
    lines = segment(copy).read_bytes().splitlines(keepends=True)
    lines[5] = lines[5].replace(b"e", b"E", 5)
    segment(copy).write_bytes(b"".join(lines))
    models = [whole.embedder.model]
    _, left = repair(copy, models, lambda model: whole.embedder, quiet=True)
    assert left == []
    labels = {one.file: one.label for one in _photos(copy)}
    assert labels == {**{one[0]: one[1] for one in whole.state.values()}, "soup/5.jpg": "newest"}


def _photos(folder: Path) -> list:  # type: ignore[type-arg]
    from deepfood.local import LocalGallery

    with LocalGallery.open(folder) as gallery:
        return list(gallery.store.photos())


def test_a_catalogue_of_another_gallery_is_refused(
    whole: Whole, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = make_whole(tmp_path_factory.mktemp("other"))
    copy = whole.copy(tmp_path / "copy")
    theirs = LocalManifest.read(other.folder).folder(other.folder) / "catalogue.sqlite"
    mine = LocalManifest.read(copy).folder(copy) / "catalogue.sqlite"
    mine.write_bytes(theirs.read_bytes())
    found = trial(whole, _As(theirs), tmp_path / "room")
    assert found.wrong == [], found.notes


class _As(Damage):
    """The catalogue is another one's."""

    def __init__(self, theirs: Path) -> None:
        super().__init__("catalogue", "of another gallery", 0)
        object.__setattr__(self, "theirs", theirs)

    def do(self, folder: Path) -> None:
        mine = LocalManifest.read(folder).folder(folder) / "catalogue.sqlite"
        mine.write_bytes(self.theirs.read_bytes())  # type: ignore[attr-defined]


def test_a_row_without_its_label_is_found_again_by_its_checksum(
    whole: Whole, tmp_path: Path
) -> None:
    copy = whole.copy(tmp_path / "copy")
    catalogue = LocalManifest.read(copy).folder(copy) / "catalogue.sqlite"
    with closing(sqlite3.connect(catalogue)) as db, db:
        db.execute("UPDATE photos SET label = 'sweet' WHERE file = 'pie/10.jpg'")
    mended(whole, copy)


@pytest.mark.parametrize("where", ["catalogue.sqlite", "vectors.f32", "manifest.json", "a photo"])
def test_a_photo_in_the_place_of_another_file_is_brought_back(
    where: str, whole: Whole, tmp_path: Path
) -> None:
    copy = whole.copy(tmp_path / "copy")
    ours, theirs = sorted(path for path in (copy / "photos").rglob("*") if len(path.name) == 64)[:2]
    living = copy if where == "manifest.json" else LocalManifest.read(copy).folder(copy)
    other = theirs if where == "a photo" else living / where
    photo, contents = ours.read_bytes(), other.read_bytes()
    ours.write_bytes(contents)
    other.write_bytes(photo)
    done, left = repair(copy, [whole.embedder.model], lambda model: whole.embedder, quiet=True)
    if left or state_or_none(copy) != whole.state:
        source = list_photos(whole.root / "photos")
        build_gallery(source, copy, whole.embedder, whole.spec, whole.storage, quiet=True)
    else:
        assert any("is back in its place" in line for line in done)
    assert list(gallery_problems(copy, quiet=True)) == []
    assert state_of(copy) == whole.state
    assert ours.read_bytes() == photo
    assert contents in [path.read_bytes() for path in copy.rglob("*") if path.is_file()] or (
        where == "vectors.f32"  # written again from the photos
    )
