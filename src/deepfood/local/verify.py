"""Check every byte of a gallery: journal, catalogue, vectors, index, Model, photos, leftovers.

The catalogue must match its own checksums, and agree with the journal.
"""

import contextlib
import hashlib
import sqlite3
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from deepfood.batches import batches
from deepfood.counted import counted
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.data.photo_file import ID_DIGITS
from deepfood.data.read_ahead import reading_ahead
from deepfood.data.root import Root
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    PhotoError,
    PhotoMissingError,
    raising_disk_full,
)
from deepfood.gallery.declared import Definition
from deepfood.gallery.fold import Fold, ManualEdits
from deepfood.gallery.photo import Photo
from deepfood.index import INDEXES, VectorFile
from deepfood.local.attribute_faults import attribute_faults
from deepfood.local.checkpoints import checkpoints, read_checkpoint
from deepfood.local.journal import Journal
from deepfood.local.manifest import (
    LocalManifest,
    leftovers,
    model_problems,
)
from deepfood.local.mend_feedback import feedback_faults
from deepfood.local.parts import StoredParts
from deepfood.local.photo_files import PhotoFiles, PhotoPlaces
from deepfood.local.recover import check_head
from deepfood.local.reindex import while_nobody_writes
from deepfood.local.snapshot import manifest_stamp
from deepfood.local.store import CATALOGUE, Store
from deepfood.local.written_index import written_faults
from deepfood.progress import bar

#: What `repair` does about a fault: write the index, the Model or the indexes of the catalogue
#: again (`index`, `model`, `catalogue`); salvage the journal; recount rows and changes (`state`);
#: embed the photo of a row again (`row`, `vector`); make a row a hole; forget a skipped file;
#: recompute `sums`; index the `words` again; find the `parts` of photos again; apply the journal to
#: the catalogue (`edits`); delete a path (`drop`); move a file to lost+found (`aside`); look for an
#: added `photo` in other files; keep `feedback` aside, and what is sound of it in a new file.
Mend = Literal[
    "index",
    "model",
    "catalogue",
    "journal",
    "state",
    "row",
    "vector",
    "hole",
    "skipped",
    "sums",
    "words",
    "parts",
    "edits",
    "drop",
    "aside",
    "photo",
    "feedback",
]


_BATCH = 500
#: How often a gallery is checked whose generation or index is replaced meanwhile.
_ATTEMPTS = 4


@dataclass(frozen=True)
class Fault:
    """A fault, in a line, and its repair; None where there is none."""

    what: str
    mend: Mend | None = None
    row: int = -1
    path: Path = Path()
    file: str = ""
    photo: Photo | None = None


def gallery_problems(
    folder: Path, photos: PhotoAccess = IN_PLACE, *, quiet: bool = False
) -> Iterator[str]:
    """One line for each fault; no line means that the gallery is intact.

    Raises an ArtifactError where the manifest cannot be read.
    """
    return (fault.what for fault in find_faults(folder, photos, quiet=quiet))


def find_faults(
    folder: Path, photos: PhotoAccess = IN_PLACE, *, alone: bool = False, quiet: bool = False
) -> list[Fault]:
    """Every fault. Work in progress, and what the next writer cleans up, is none.

    `alone` is for the holder of the write lock; otherwise others may write meanwhile.
    """
    for left in reversed(range(_ATTEMPTS)):
        stamp = manifest_stamp(folder)
        try:
            faults = list(_faults(folder, photos, alone=alone, quiet=quiet))
        except FileNotFoundError:
            if not left or manifest_stamp(folder) == stamp:
                raise
            continue
        if not faults or manifest_stamp(folder) == stamp:
            break  # else a build or an index may have replaced files that were looked for
    return faults


def _faults(folder: Path, photos: PhotoAccess, *, alone: bool, quiet: bool) -> Iterator[Fault]:
    manifest = LocalManifest.read(folder)
    for problem in model_problems(manifest.model_folder(folder), manifest.model_fingerprint):
        yield Fault(f"the copy of the Model: {problem}", "model")
    for problem in manifest.problems(folder, contents=True):
        yield Fault(problem, "index")
    if INDEXES[manifest.index.kind].suffix and not manifest.files:
        yield Fault(f"the manifest names no file of the index {manifest.index.kind}", "index")
    if manifest.before:
        yield from _faults_before(folder, manifest.before)
    try:
        for problem in feedback_faults(folder):
            yield Fault(problem, "feedback")
    except ArtifactError as error:
        yield Fault(short_error_text(error), _if_damaged(error, "feedback"))
    journal = Journal(folder)
    try:
        store = Store.open_to_check(manifest.folder(folder), manifest.dimension, manifest.storage)
    except ArtifactError as error:
        yield from _read_journal(journal, None)[1]
        yield from _checkpoint_faults(journal)
        yield Fault(f"the catalogue: {short_error_text(error)}", _if_damaged(error, "catalogue"))
        return
    try:
        with store.one_moment():
            newest = _newest_in(store)  # before the journal, which then has all of the catalogue
            fold, faults = _read_journal(journal, newest)
            yield from faults
            yield from _checkpoint_faults(journal)
            yield from catalogue_faults(store)
            if fold is not None:
                yield from _faults_beside_journal(store, journal, fold, folder, alone=alone)
            yield from _vector_faults(store, manifest)
            yield from _part_faults(folder, store, manifest)
        yield from _photo_faults(
            store, PhotoPlaces(folder, manifest.photos_root, photos), quiet=quiet
        )
        yield from _orphans(folder, manifest, store, alone=alone)
    except ArtifactError as error:  # nothing more can be checked
        yield Fault(f"the catalogue: {short_error_text(error)}", _if_damaged(error, "catalogue"))
    finally:
        store.close()


def _faults_before(folder: Path, before: LocalManifest) -> Iterator[Fault]:
    """Faults that prevent a rollback. They do not harm the living generation."""
    problems = [
        *model_problems(before.model_folder(folder), before.model_fingerprint),
        *before.problems(folder, contents=True),
    ]
    try:
        store = Store.open(before.folder(folder), before.dimension, before.storage)
        with contextlib.closing(store):
            problems += [fault.what for fault in catalogue_faults(store)]
            if altered := store.altered_vectors(store.vectors()):
                problems.append(
                    f"{counted(altered, 'vector is', 'vectors are')} altered, row {altered[0]} "
                    "first"
                )
            if before.parts:
                parts = StoredParts(store, before.parts.storage).altered()
                if parts:
                    problems.append(f"the parts of {counted(parts, 'photo')} are altered")
    except ArtifactError as error:
        problems.append(str(error))
    for problem in problems:
        yield Fault(f"the generation before: {problem}: deepfood rollback --forget deletes it")


def catalogue_faults(store: Store) -> Iterator[Fault]:
    """Faults of a catalogue by its own checksums."""
    yield from _row_faults(store)
    for altered in attribute_faults(store.attributes):
        yield Fault(altered, "edits")
    yield from _word_faults(store)


def _word_faults(store: Store) -> Iterator[Fault]:
    """Faults of the index of words: FTS5 checks only what it may write to, so of a copy."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="deepfood-verify-"))
            place: str | Path = Path(folder, CATALOGUE)
        except OSError:  # no folder for temporary files that this user may write to
            place = ":memory:"
        db = stack.enter_context(contextlib.closing(sqlite3.connect(place)))
        with raising_disk_full(store.folder):
            store.copy_into(db)
        for what in written_faults(db):
            yield Fault(what, "words")


def _row_faults(store: Store) -> Iterator[Fault]:
    for problem in store.integrity_problems():
        yield Fault(f"the catalogue: {problem}", "catalogue")
    rows = set()
    for row, photo, whole in store.all_rows():
        rows.add(row)
        if not whole:
            yield Fault(f"row {row} of the catalogue ({photo.file}) is altered", "row", row)
    for one, whole in store.all_skipped():
        if not whole:
            what = f"the entry of the skipped file {one.file} is altered"
            yield Fault(what, "skipped", file=one.file)
    for table in ("skipped", "absent"):
        try:
            store.check_sum(table)
        except ArtifactError as error:
            yield Fault(short_error_text(error), _if_damaged(error, "sums"))
    try:
        store.check_ends()
        _, removed = store.changed_since(0)
    except ArtifactError as error:
        yield Fault(short_error_text(error), _if_damaged(error, "state"))
        return
    holes, next_row = set(removed), store.next_row()
    for row in sorted(set(range(next_row)) - rows - holes):
        yield Fault(f"row {row} of the catalogue is missing, and was not removed", "hole", row)
    for row in sorted(rows & holes):
        yield Fault(f"row {row} of the catalogue was removed, and is there", "hole", row)


def _newest_in(store: Store) -> int | None:
    """The number of the newest record in a catalogue; None where that cannot be read."""
    try:
        return store.state().head.number
    except ArtifactError:
        return None


def _read_journal(journal: Journal, until: int | None) -> tuple[Fold | None, list[Fault]]:
    """The fold of the records up to a number, and faults. All are read, without checkpoints."""
    fold = Fold()
    try:
        for record in journal.records():
            if until is None or record.number <= until:
                fold.apply(record, journal)
        if not journal.is_there:
            return fold, [Fault(f"the journal: {journal.folder} is missing", "journal")]
    except ArtifactError as error:
        what = f"the journal: {short_error_text(error)}"
        return None, [Fault(what, _if_damaged(error, "journal"))]
    return fold, []


def _checkpoint_faults(journal: Journal) -> Iterator[Fault]:
    """Faults of checkpoints, which must belong to an existing record, and of tables."""
    for sha256 in journal.tables():
        try:
            for _ in journal.read_table(sha256):
                pass
        except ArtifactError as error:
            mend = _if_damaged(error, "aside")
            yield Fault(short_error_text(error), mend, path=journal.table(sha256))
    for path in checkpoints(journal):
        try:
            next(journal.records(read_checkpoint(path).head), None)
        except ArtifactError as error:
            if not path.exists():  # pragma: no cover - replaced by a newer one meanwhile
                continue
            what = f"the checkpoint {path.name}: {short_error_text(error)}"
            yield Fault(what, _if_damaged(error, "drop"), path=path)


def _faults_beside_journal(
    store: Store, journal: Journal, fold: Fold, folder: Path, *, alone: bool
) -> Iterator[Fault]:
    """Where catalogue and journal disagree."""
    try:
        behind = check_head(store, journal) != store.state().head
        if behind and (lacking := _lacking(store, journal, folder, alone=alone)):
            yield Fault(f"the catalogue lacks the {counted(lacking, 'newest change')}", "edits")
            return
    except ArtifactError as error:
        if store_is_sound(store):
            yield Fault(short_error_text(error), _if_damaged(error, "journal"))
        return
    try:
        declared = store.attributes.declared()
    except ArtifactError:
        return  # altered, which is reported above
    definitions = {name: Definition(one.type, one.safety) for name, one in declared.items()}
    if definitions != fold.definitions:
        yield Fault("the catalogue has other attributes than the journal", "edits")
    seen = set()
    for batch in batches(store.sound_rows(), _BATCH):
        known, altered = store.attributes.read_sound([row for row, _ in batch])
        for row in altered:
            yield Fault(f"an attribute of row {row} is altered or missing", "edits")
        for row, photo in batch:
            edits = fold[photo.sha256]
            seen.add(photo.sha256)
            same = {*ManualEdits.from_photo(photo).by_hand} == {*edits.by_hand}
            same &= edits.apply_to(photo) == photo
            if not same or (row not in altered and known[row] != edits.attributes):
                what = f"catalogue and journal disagree on row {row} ({photo.file})"
                yield Fault(what, "edits")
            if edits.removed is not None or photo.added != (edits.added is not None):
                what = (
                    f"catalogue and journal disagree on whether row {row} ({photo.file}) was added"
                )
                yield Fault(what, "edits")
    noted = {one.same_as for one in store.sound_skipped()}
    for sha256 in fold:
        edits, photo_id = fold[sha256], sha256[:ID_DIGITS]
        if sha256 in seen or store.has(sha256):
            continue
        if edits.added is not None and sha256 not in noted:
            yield Fault(f"the added photo {edits.added['file']} ({photo_id}) is missing", "edits")
        if edits.outlasts_photo:
            try:
                kept = store.absent(sha256)
            except ArtifactError:
                kept = None
            if kept is None:
                what = f"the manual edits of the absent photo {photo_id} are missing"
                yield Fault(what, "edits")


def _lacking(store: Store, journal: Journal, folder: Path, *, alone: bool) -> int:
    """How many records no writer has brought from the journal to the catalogue."""
    with (
        while_nobody_writes(folder, alone=alone) as idle,
        contextlib.closing(Store.open(store.folder, store.dimension, store.storage)) as now,
    ):
        return journal.head().number - now.state().head.number if idle else 0


def _if_damaged(error: ArtifactError, mend: Mend) -> Mend | None:
    """The repair; None where the system refused to read, as the file may be intact."""
    return mend if isinstance(error, ArtifactCorruptError | ArtifactMissingError) else None


def short_error_text(error: ArtifactError) -> str:
    """The message without the advice to run `verify`."""
    return str(error).partition(": run deepfood verify")[0]


def store_is_sound(store: Store) -> bool:
    """Whether the state of the catalogue matches its checksum."""
    try:
        store.state()
    except ArtifactError:
        return False
    return True


def _vector_faults(store: Store, manifest: LocalManifest) -> Iterator[Fault]:
    path, count = store.vectors_path, _rows_of(store)
    row_bytes = (
        VectorFile.open(path, store.dimension, store.storage, 0).row_bytes if path.exists() else 0
    )
    there = path.stat().st_size // row_bytes if row_bytes else 0
    lacking = [row for row, _, _ in store.all_rows() if there <= row < count]
    for row in lacking:
        yield Fault(f"the vector of row {row} is missing from {path.name}", "vector", row)
    if there:
        rows = min(there, count)
        vectors = VectorFile.open(path, store.dimension, store.storage, rows)
        for row in store.altered_vectors(vectors):
            yield Fault(f"the vector of row {row} is altered", "vector", row)
    if manifest.covered > count:
        what = f"the index covers {counted(manifest.covered, 'row')}, and there are {count}"
        yield Fault(what, "index")


def _part_faults(folder: Path, store: Store, manifest: LocalManifest) -> Iterator[Fault]:
    """Faults of the parts of photos, where the gallery keeps them."""
    if manifest.parts is None:
        return
    parts, path = StoredParts(store, manifest.parts.storage), manifest.parts_index_path(folder)
    for sha256 in parts.altered():
        what = f"the parts of the photo {sha256[:ID_DIGITS]} are altered or missing"
        yield Fault(what, "parts", file=sha256)
    if lacking := parts.lacking():
        some = counted(lacking, "photo was", "photos were")
        yield Fault(f"{some} not looked at for parts", "parts")
    if manifest.parts.covered > parts.rows():
        yield Fault("the index of parts covers more than there are", "index")
    listed = path.relative_to(folder).as_posix() in manifest.files
    if INDEXES[manifest.parts.index.kind].suffix and not listed:
        yield Fault("the manifest names no file of the index of parts", "index")


def _rows_of(store: Store) -> int:
    """The number of rows, or the best guess."""
    try:
        return store.next_row()
    except ArtifactError:
        rows, _ = store.crcs()
        return int(rows.max(initial=-1)) + 1


def _photo_faults(store: Store, photos: PhotoPlaces, *, quiet: bool) -> Iterator[Fault]:
    """Faults of photos, in the order of rows. Threads read ahead, each with one photo."""
    places = [
        _Place(row, photo, *photos.place_of(photo))
        for row, photo, whole in store.all_rows()
        if whole
    ]
    with (
        bar("checking", " photos", len(places), quiet=quiet) as progress,
        reading_ahead(_photo_fault, places, workers=1, reading=photos.reads_ahead) as found,
    ):
        for place, fault in zip(places, found, strict=True):
            if fault and any(store.all_rows(place.row)):
                added = place.photo.added
                yield replace(fault, mend="photo", photo=place.photo) if added else fault
            progress.update()


class _Place(NamedTuple):
    """The photo of a row, and where its bytes are."""

    row: int
    photo: Photo
    root: Root
    file: str


def _photo_fault(place: _Place) -> Fault | None:
    photo = place.photo
    where, since = (
        ("the gallery", "it was added")
        if photo.added
        else (str(place.root), "the gallery was built")
    )
    changed = Fault(f"photo {photo.file} ({photo.id}) has changed since {since}")

    def check_bytes(count: int) -> None:
        if count != photo.bytes:
            raise _OtherSizeError

    try:
        data = place.root.read(place.file, check_bytes)
    except _OtherSizeError:
        return changed
    except PhotoMissingError:
        return Fault(f"photo {photo.file} ({photo.id}) is missing from {where}")
    except PhotoError as error:
        return Fault(f"photo {photo.file} ({photo.id}): {error}")
    return None if hashlib.sha256(data).hexdigest() == photo.sha256 else changed


class _OtherSizeError(PhotoError):
    pass


def _orphans(
    folder: Path, manifest: LocalManifest, store: Store, *, alone: bool
) -> Iterator[Fault]:
    if leftovers(folder, manifest):  # or what a build or an index is about to commit
        with while_nobody_writes(folder, alone=alone) as idle:
            found = leftovers(folder, manifest) if idle else []
        for path in found:
            what = f"{path.relative_to(folder)} belongs to nothing that lives"
            yield Fault(what, "drop", path=path)
    files = PhotoFiles(folder)
    if files.is_pulled:  # it may keep photos of other releases
        return
    there = list(files.all())
    passing = files.unfinished()  # read before the rows: see PhotoFiles
    for path in there:
        if path.name not in passing and path.is_file() and not store.has(path.name):
            what = f"{path.relative_to(folder)} is not a photo of the gallery"
            yield Fault(what, "aside", path=path)
