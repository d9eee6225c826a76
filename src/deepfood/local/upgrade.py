"""Upgrade a gallery of format 1, which had no journal, to the current format.

Manual edits are read from the catalogue and written as a journal. A new generation gets the same
rows; vectors and index are hard links to the same files. The manifest is written last: if the
process is killed before, the gallery is unchanged, and the same command starts again.
"""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path, PurePosixPath

from deepfood import __version__
from deepfood.artifacts import sha256_of_file, sync_folder
from deepfood.counted import counted
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.errors import ArtifactError, raising_disk_full
from deepfood.gallery.fold import Fold, addition_of
from deepfood.gallery.format1 import BATCH, contents_of_removed, records_of_format1
from deepfood.gallery.photo import Skipped
from deepfood.gallery.record import user
from deepfood.local.checkpoints import fold_of
from deepfood.local.earlier import Earlier, EarlierRow, copy_earlier, read_earlier
from deepfood.local.following_store import FollowingStore
from deepfood.local.journal import Journal
from deepfood.local.manifest import (
    AnyLocalManifest,
    LocalManifest,
    generation_folder,
    keep_aside,
    remove_leftovers,
)
from deepfood.local.photo_files import PhotoFiles
from deepfood.local.store import CATALOGUE

#: The folder that the journal is written to.
UPGRADING = "upgrading"


def upgrade(folder: Path, photos: PhotoAccess = IN_PLACE) -> list[str]:
    """Upgrade, for the holder of the write lock. Returns what was done, a line each.

    A gallery of the current format is left alone. Raises an ArtifactError where manifest or
    catalogue cannot be read, or DiskFullError; the gallery is then unchanged.
    """
    work = folder / UPGRADING
    shutil.rmtree(work, ignore_errors=True)
    old = AnyLocalManifest.read(folder)
    if old.format_version >= LocalManifest.format_oldest:
        return []
    with raising_disk_full(folder):
        earlier = read_earlier(old.folder(folder))
        _look_for_added(earlier, PhotoFiles(folder))
        there = {one.photo.sha256 for one in earlier.rows.values()}
        root = photos.root(old.photos_root)
        contents, gone = contents_of_removed(earlier.skipped, there, root)
        skipped = [
            replace(one, same_as=contents.get(one.file, one.same_as)) for one in earlier.skipped
        ]
        with contextlib.closing(Journal(work)) as journal:
            _write_journal(journal, earlier, [one for one in skipped if one.file in contents])
        manifest = _write_generation(folder, old, earlier, skipped, fold_of(journal))
        lines = [*earlier.faults, *gone, *_put_in_place(folder, journal)]
        if earlier.faults:
            copy_earlier(old.folder(folder), work / CATALOGUE)
            kept = keep_aside(folder, work / CATALOGUE)
            lines.append(f"the earlier catalogue is kept in {kept}")
        manifest.write(folder)
    remove_leftovers(folder, manifest)
    shutil.rmtree(work, ignore_errors=True)
    if old.before:
        lines.append(
            f"the generation before, of the Model {old.before.model_name}, is forgotten: one "
            "cannot go back to an earlier format"
        )
    return [
        *lines,
        f"the gallery has the current format: {counted(earlier.rows, 'photo')} as before",
    ]


def _look_for_added(earlier: Earlier, files: PhotoFiles) -> None:
    """Find out of altered rows, by the bytes in the gallery, whether their photo was added."""
    for row, one in earlier.rows.items():
        if not one.whole:
            path, sha256 = files.path(one.photo.sha256), one.photo.sha256
            added = path.is_file() and sha256_of_file(path) == sha256
            earlier.rows[row] = replace(one, photo=replace(one.photo, added=added))


def _write_journal(journal: Journal, earlier: Earlier, removed: Sequence[Skipped]) -> None:
    """Write the manual edits in the earlier catalogue as a journal."""
    by = user()
    journal.append("begin", by, {"format": 1})
    definitions = {name: vars(one) for name, one in earlier.definitions.items()}
    if definitions:
        journal.append("declare", by, {"attributes": definitions})
    rows = earlier.rows
    for run in _runs(row for row, one in rows.items() if one.photo.added):
        facts = [addition_of(rows[row].photo, {}) for row in run]
        crcs = [rows[row].crc for row in run]
        journal.append("add", by, {"photos": facts, "row": run[0], "crcs": crcs})
    values = {rows[row].photo.sha256: some for row, some in earlier.values.items()}
    photos = [one.photo for one in rows.values()]
    for do, what in records_of_format1(photos, definitions, values, removed, journal.write_table):
        journal.append(do, by, what)


def _write_generation(
    folder: Path, old: LocalManifest, earlier: Earlier, skipped: Sequence[Skipped], fold: Fold
) -> LocalManifest:
    """Write the next generation with the same rows. Returns its manifest, not written yet."""
    generation = old.next_generation
    new = generation_folder(folder, generation)
    shutil.rmtree(new, ignore_errors=True)  # left by an upgrade that was killed
    with contextlib.closing(_UpgradedStore.open(new, old.dimension, old.storage)) as store:
        store.one_photo_for_each_content()
        store.take_over(earlier.rows, earlier.next_row, earlier.holes)
        store.note_skipped(skipped)
        store.apply_fold(fold)
        vectors = store.vectors_path
    _share(old.folder(folder) / vectors.name, vectors)
    files = {}
    for name, record in old.files.items():
        path = new / PurePosixPath(name).name
        _share(folder / name, path)
        files[path.relative_to(folder).as_posix()] = record
    sync_folder(new)
    now = {
        "format_version": LocalManifest.format_supported,
        "deepfood_version": __version__,
        "generation": generation,
        "files": files,
        "took_over": None,
        "before": None,
    }
    return LocalManifest.model_validate({**old.model_dump(), **now})


def _share(path: Path, to: Path) -> None:
    """Hard-link a file, or copy it. Does nothing where it is missing."""
    if not path.is_file():
        return
    to.unlink(missing_ok=True)
    try:
        to.hardlink_to(path)
    except OSError:  # a file system without hard links
        shutil.copyfile(path, to)
        with to.open("r+b") as file:
            os.fsync(file.fileno())


def _put_in_place(folder: Path, journal: Journal) -> list[str]:
    """Move the journal into place. One already there is from an upgrade that was killed."""
    there, lines = Journal(folder), []
    if there.folder.exists():
        if _are_equal(there, journal):
            there.folder.rename(journal.folder.with_name("earlier"))
        else:
            kept = keep_aside(folder, there.folder)
            lines.append(f"a journal that was there already is kept in {kept}")
    journal.folder.rename(there.folder)
    sync_folder(folder)
    return lines


def _are_equal(one: Journal, other: Journal) -> bool:
    pairs = zip_longest(one.records(), other.records())
    try:
        return all(a and b and (a.do, a.what) == (b.do, b.what) for a, b in pairs)
    except ArtifactError:
        return False


class _UpgradedStore(FollowingStore):
    def take_over(
        self, rows: Mapping[int, EarlierRow], next_row: int, holes: Iterable[int]
    ) -> None:
        """Keep rows in place. Altered ones stay recognisable, for `repair`."""
        with self.transaction() as work:
            for run in _runs(rows):
                some = [rows[row] for row in run]
                work.state = work.state._replace(next_row=run[0])
                crcs = [one.crc for one in some]
                self.insert(
                    work, [one.photo for one in some], crcs, [{}] * len(some), announce=False
                )
            altered = ((row,) for row, one in rows.items() if not one.whole)
            work.db.executemany("UPDATE photos SET checksum = -1 WHERE row = ?", altered)
            work.state = work.state._replace(next_row=next_row)
            work.note("remove", holes)


def _runs(rows: Iterable[int]) -> Iterator[list[int]]:
    """Runs of consecutive rows, of at most BATCH each."""
    run: list[int] = []
    for row in rows:
        if run and (row != run[-1] + 1 or len(run) == BATCH):
            yield run
            run = []
        run.append(row)
    if run:
        yield run
