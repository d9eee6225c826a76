"""Build a gallery: list -> embed -> assemble -> index -> commit. Interrupted builds go on.

Embedding, the long part, is written to `building/`, a Store that only grows: a build that was
stopped, or killed, finds there what it had finished. Assembling copies the vectors in the source's
order into a new generation beside the living one; the manifest's rename makes it the gallery.

A gallery follows its source. What people said of its photos is in the journal, by content, and a
build never decides it: photos that were added stay, as do labels, names and attributes, and a
photo that was removed stays out. The generation before is kept, for `rollback`.
"""

import contextlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.embed import Embedder
from deepfood.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactMissingError,
    DatasetError,
    raising_disk_full,
)
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.choose import Choice, choose_photos, is_known
from deepfood.gallery.embedding import Reading, read_photos
from deepfood.gallery.fold import Fold
from deepfood.gallery.record import user
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent
from deepfood.gallery.source_table import Cells, import_of, news_of, table_of
from deepfood.index import IndexSpec, Storage
from deepfood.local.assemble import assemble
from deepfood.local.attribute_faults import attribute_faults
from deepfood.local.checkpoints import checkpoint_if_long, fold_of
from deepfood.local.embed_photos import embed_photos
from deepfood.local.growing_store import GrowingStore
from deepfood.local.journal import JOURNAL, Journal
from deepfood.local.known import EmbeddedFile, by_content, known_files, known_or_removed
from deepfood.local.leftovers import BUILDING, LOST_FOUND, remove_leftovers
from deepfood.local.lock import LOCK, only_writer
from deepfood.local.manifest import (
    MODELS,
    GalleryManifest,
    is_gallery,
    is_generation,
    manifest_copies,
    model_problems,
)
from deepfood.local.photo_files import PHOTOS, PhotoFiles
from deepfood.local.recover import check_head
from deepfood.local.store import Store
from deepfood.photo import Limits

#: How long a build waits for another writer.
WAIT_S = 30.0


def build_gallery(
    source: PhotoSource,
    out: Path,
    embedder: Embedder,
    spec: IndexSpec,
    storage: Storage = "f32",
    *,
    consent: Consent = NOTHING_ASKED,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> BuildReport[GalleryManifest]:
    """Make `out` a gallery of `source`; photos that were embedded before are not embedded again.

    `reading` says who embeds them. A file that is no usable photo is recorded with its reason and
    never stops the build. Raises DatasetError where no photo is usable, `out` holds something
    else, or photos would be lost without `consent`; ArtifactBusyError where another process is
    writing `out`, another ArtifactError where its journal is damaged, DiskFullError, and what
    `reading` does.
    """
    started = time.monotonic()
    _refuse_other_folders(out)
    with raising_disk_full(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out, WAIT_S), contextlib.ExitStack() as opened:
        living, files, journal = _living(out, consent), PhotoFiles(out), Journal(out)
        opened.callback(journal.close)
        if living and living.photos_root != str(source.root) and not consent.replace:
            raise DatasetError(
                f"{out} was built from {living.photos_root}, and {source.root} is another place: "
                "name a new gallery, or give --replace if the photos have moved or are to be "
                "replaced"
            )
        old, notes = _open_living(out, living, consent)
        if old:
            opened.enter_context(contextlib.closing(old))
            check_head(old, journal)
        elif living and not journal.is_there and not consent.discard:
            raise ArtifactCorruptError(
                f"{journal.folder} is missing: run deepfood verify --repair, {_WAY_OUT}"
            )
        if not journal.is_there:
            journal.append("begin", user(), {"format": 1})
        fold = fold_of(journal)
        table = table_of(source, fold)  # a fault in it is told before the work
        stores: list[Store] = []
        if living and old:
            with contextlib.suppress(ArtifactCorruptError):
                files.clean_up(old)
            if _is_reusable(living, embedder, storage):
                known = known_or_removed([old], fold)
                news = table and news_of(table, source, known, fold, journal)[0]
                if (
                    not notes
                    and not news
                    and _is_current(
                        out, living, old, fold, source, known, embedder.limits, spec, storage
                    )
                ):
                    remove_leftovers(out, living)
                    shutil.rmtree(out / BUILDING, ignore_errors=True)
                    skipped = tuple(old.skipped())
                    seconds = time.monotonic() - started
                    every = len(source.files)
                    return BuildReport(
                        living, old.count(), old.labels(), 0, every, skipped, seconds, True
                    )
                stores.append(old)
        building = opened.enter_context(contextlib.closing(_open_building(out, embedder)))
        stores.insert(0, building)

        known = known_or_removed(stores, fold)
        limits = embedder.limits
        todo = [file for file in source.files if not is_known(source, file, known, limits)]
        reused = len(source.files) - len(todo)
        if todo:
            embed_photos(
                source, todo, embedder, building, done=reused, quiet=quiet, reading=reading
            )
        lacking = {sha256 for sha256, _ in fold.added()} - by_content(stores).keys()
        if lacking:
            again = [PhotoFile(files.file(sha256)) for sha256 in sorted(lacking)]
            added = PhotoSource(files.root.resolve(), tuple(again))
            embed_photos(added, again, embedder, building, done=0, quiet=quiet)
        known = known_or_removed(stores, fold)
        choice = choose_photos(source, known, fold, by_content(stores))
        gone = _gone(old, choice, fold)
        if old and len(gone) * 2 > old.count() and not (consent.allow_loss or consent.replace):
            raise DatasetError(
                f"{len(gone)} of the {old.count()} photos of {out} are no longer in {source.root}, "
                f"the first is {gone[0]}; nothing was changed: bring them back, or let them go "
                "with --allow-loss (what was said of them is kept)"
            )
        said: tuple[str, ...] = ()
        if table:
            changed, whole = news_of(table, source, known, fold, journal)
            if changed:
                take_in(table, changed, whole, fold, journal, user())
                said = tuple(sorted({name for values in changed.values() for name in values}))
        manifest = assemble(
            out,
            _next_generation(out, living),
            source.root,
            embedder.model,
            choice,
            fold,
            spec,
            storage,
            before=_before(out, living, old, fold),
            quiet=quiet,
        )
        checkpoint_if_long(journal, fold)
        remove_leftovers(out, manifest)
        shutil.rmtree(out / BUILDING, ignore_errors=True)
        return BuildReport(
            manifest,
            len(choice.photos),
            len({photo.label for photo, _ in choice.photos if photo.label}),
            len(todo) + len(lacking),
            reused,
            tuple(choice.skipped),
            time.monotonic() - started,
            False,
            gone,
            notes,
            said,
        )


def _refuse_other_folders(out: Path) -> None:
    """Never write into a folder that holds something else."""
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out} is a file: give a folder for the gallery")
    with contextlib.suppress(ArtifactError):
        if is_gallery(out):  # also one of an earlier format, which had no journal
            return
    own = {BUILDING, LOCK, MODELS, PHOTOS, JOURNAL, LOST_FOUND}
    if out.is_dir() and not (out / JOURNAL).is_dir():
        strangers = sorted(
            path.name for path in out.iterdir() if path.name not in own and not is_generation(path)
        )
        if strangers:
            raise DatasetError(
                f"{out} is not empty and no gallery (it holds {strangers[0]}): give a new folder"
            )


def _living(out: Path, consent: Consent) -> GalleryManifest | None:
    """The manifest. Raises an ArtifactError where there was one, and it cannot be read."""
    try:
        return GalleryManifest.read(out)
    except ArtifactMissingError as error:
        if not manifest_copies(out) or consent.discard:
            return None
        raise ArtifactMissingError(f"{error}, {_WAY_OUT}") from error
    except ArtifactCorruptError as error:
        if consent.discard:
            return None
        raise ArtifactCorruptError(f"{error}, {_WAY_OUT}") from error


_WAY_OUT = "or build with --discard, which embeds all photos again and keeps what was said of them"


def _next_generation(out: Path, living: GalleryManifest | None) -> int:
    """Later than any that is there, also where the manifest is not."""
    there = [int(path.name[-6:]) for path in out.iterdir() if is_generation(path)]
    return max([*there, living.next_generation - 1 if living else 0]) + 1


def _open_living(
    out: Path, living: GalleryManifest | None, consent: Consent
) -> tuple[Store | None, tuple[str, ...]]:
    """The living gallery's Store, or None and why its photos are all embedded again.

    Nothing that people said is lost with it. Raises ArtifactError where it is there, and may not be
    read: it is perhaps whole.
    """
    if living is None:
        return None, ()
    try:
        store = Store.open(living.folder(out), living.dimension, living.storage)
        list(store.sound_rows())
    except (ArtifactCorruptError, ArtifactMissingError) as error:
        return None, (f"all photos are embedded again: {error}",)
    except ArtifactError:
        if consent.discard:
            return None, ()
        raise
    return store, ()


def _before(
    out: Path, living: GalleryManifest | None, old: Store | None, fold: Fold
) -> GalleryManifest | None:
    """The generation to go back to: the living one, or the one before it where that is damaged."""
    if living is None:
        return None
    if old and _is_whole(old, fold) and not any(living.problems(out, contents=True)):
        return living.alone
    return living.before


def _is_reusable(living: GalleryManifest, embedder: Embedder, storage: Storage) -> bool:
    """Whether the living gallery's vectors are what would be embedded now, to the last bit."""
    return living.model_fingerprint == embedder.model.fingerprint and living.storage in (
        storage,
        "f32",
    )


def _gone(old: Store | None, choice: Choice[EmbeddedFile], fold: Fold) -> tuple[str, ...]:
    """Files of photos that were there, are not any more, and were not removed by anybody."""
    if old is None:
        return ()
    there = {photo.sha256 for photo, _ in choice.photos}
    return tuple(
        photo.file
        for _, photo in old.sound_rows()
        if photo.sha256 not in there and fold[photo.sha256].removed is None
    )


def _open_building(out: Path, embedder: Embedder) -> GrowingStore:
    """The unfinished work of an earlier build, if it was made with the same Model."""
    folder = out / BUILDING
    mark = folder / "model"
    if not mark.is_file() or mark.read_text() != embedder.model.fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        with raising_disk_full(out):
            folder.mkdir()
            mark.write_text(embedder.model.fingerprint)
    try:
        return GrowingStore.open(folder, embedder.dimension, "f32")
    except ArtifactCorruptError:  # unfinished work can be done again
        shutil.rmtree(folder)
        return _open_building(out, embedder)


def _is_current(
    out: Path,
    living: GalleryManifest,
    store: Store,
    fold: Fold,
    source: PhotoSource,
    known: dict[str, EmbeddedFile],
    limits: Limits,
    spec: IndexSpec,
    storage: Storage,
) -> bool:
    """Whether building would give what is there already; `store` is the living gallery's."""
    if (
        living.photos_root != str(source.root)
        or living.storage != storage
        or living.index_by_size != (spec.kind == "auto")
        or living.index != spec.for_count(store.count())
        or any(living.problems(out, contents=True))
        or model_problems(living.model_folder(out), living.model_fingerprint)
        or (living.calibration is None and living.uncalibrated is None)  # of an earlier deepfood
        or not _is_whole(store, fold)
    ):
        return False
    files = {file.stored for file in source.files}
    left = known_files([store]).keys() - files
    return not left and all(
        is_known(source, file, known, limits) and known[file.stored].agrees(file)
        for file in source.files
    )


def _is_whole(store: Store, fold: Fold) -> bool:
    """Whether all of the catalogue is as it was written, and up to date with the journal."""
    try:
        state, _ = store.holes()
        store.check_ends()
        store.check_sum("absent")
        store.skipped()
        sound: Sequence[object] = list(store.sound_rows())
        whole = state.head == fold.head and len(sound) == store.count()
        return whole and not any(attribute_faults(store.attributes))
    except ArtifactCorruptError:
        return False


def take_in(
    table: Table[str], news: Cells, whole: Cells, fold: Fold, journal: Journal, by: str
) -> None:
    """Have the journal, and its fold, say what is new."""
    journal.append("import", by, import_of(table, news, whole, journal))
    for record in journal.records(fold.head):
        fold.apply(record, journal)
