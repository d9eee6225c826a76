"""Build a gallery: list -> embed -> assemble -> index -> commit. An interrupted build is resumed.

The embeddings are written to `building/`, a Store that only grows, where the next build finds what
a stopped one had finished. Then their vectors are copied, in the order of the source, into a new
generation beside the living one; the rename of the manifest makes it the gallery.

A gallery follows its source. Manual edits are in the journal, by content, and a build applies them:
added photos, labels, names and attributes stay, and removed photos stay out. The generation before
is kept for `rollback`.
"""

import contextlib
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from deepfood.artifacts import BUILDING
from deepfood.counted import counted
from deepfood.data.locate import IN_PLACE, PhotoAccess
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
from deepfood.gallery.feedback_file import FEEDBACK
from deepfood.gallery.fold import Fold
from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.record import user
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent
from deepfood.gallery.source_table import changed_cells, import_of, table_of
from deepfood.gallery.tuned import is_untuned
from deepfood.index import IndexSpec, Storage
from deepfood.local.assemble import KeptParts, assemble
from deepfood.local.checkpoints import checkpoint_if_long, fold_of
from deepfood.local.embed_photos import embed_photos
from deepfood.local.growing_store import GrowingStore
from deepfood.local.journal import JOURNAL, Journal
from deepfood.local.known import (
    EmbeddedFile,
    SoundRows,
    by_content,
    known_files,
    known_or_removed,
)
from deepfood.local.lock import LOCK, only_writer
from deepfood.local.lost_photos import bring_back
from deepfood.local.manifest import (
    LOST_FOUND,
    MODELS,
    LocalManifest,
    PartsStorage,
    is_gallery,
    is_generation,
    manifest_copies,
    model_problems,
    remove_leftovers,
)
from deepfood.local.parts import StoredParts
from deepfood.local.photo_files import PHOTOS, PhotoFiles, PhotoPlaces
from deepfood.local.recover import check_head
from deepfood.local.store import Store

#: How long a build waits for another writer.
WAIT_S = 30.0


def build_gallery(
    source: PhotoSource,
    out: Path,
    embedder: Embedder,
    spec: IndexSpec,
    storage: Storage = "f32",
    *,
    parts: bool | None = None,
    parts_storage: PartsStorage = "i8",
    photos: PhotoAccess = IN_PLACE,
    consent: Consent = NOTHING_ASKED,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> BuildReport[LocalManifest]:
    """Make `out` a gallery of `source`. Photos that were embedded before are not embedded again.

    With `parts` the dishes of photos of several are kept as vectors of their own, in
    `parts_storage`; None keeps them if the gallery has them already. `photos` is how photos are
    reached, and `reading` embeds them. A file that is no usable photo is recorded with the reason,
    and does not stop the build. Raises DatasetError where no photo is usable, `out` holds something
    else, or photos would be lost without `consent`; ArtifactBusyError where another process is
    writing `out`; another ArtifactError where its journal is damaged; DiskFullError;
    NoHeatMapError for parts without OpenVINO; and what `reading` raises.
    """
    started = time.monotonic()
    target = _Target(source, out, embedder, spec, storage, parts, parts_storage, photos)
    _refuse_other_folders(out)
    with raising_disk_full(out):
        out.mkdir(parents=True, exist_ok=True)
    with only_writer(out, WAIT_S), contextlib.ExitStack() as opened:
        journal = opened.enter_context(contextlib.closing(Journal(out)))
        living = opened.enter_context(_open_living(target, journal, consent))
        if not journal.is_there:
            journal.append("begin", user(), {"format": 1})
        fold = fold_of(journal)
        table = table_of(source, fold)  # refused before the work, where it has an error
        reusable = [living.sound] if living.sound and target.can_reuse(living.manifest) else []
        if reusable and _is_current(target, living, reusable[0], fold, table, journal):
            return _unchanged(target, living, started)
        building = opened.enter_context(contextlib.closing(_open_building(out, embedder)))
        work = _embed_missing(target, building, reusable, fold, reading=reading, quiet=quiet)
        choice = choose_photos(source, work.known, fold, work.by_content, consent)
        gone = _gone(living.sound, choice, fold)
        _refuse_loss(target, living, gone, consent)
        kept, parts_s = _make_parts(target, living, building, choice, quiet=quiet)
        changed = _import_changed(table, source, work.known, fold, journal)
        manifest = assemble(
            out,
            _next_generation(out, living.manifest),
            source.root,
            embedder.model,
            choice,
            fold,
            spec,
            storage,
            parts=kept,
            before=_before(out, living),
            quiet=quiet,
        )
        checkpoint_if_long(journal, fold)
        remove_leftovers(out, manifest)
        shutil.rmtree(out / BUILDING, ignore_errors=True)
        return BuildReport(
            manifest,
            count=len(choice.photos),
            labels=len({photo.label for photo, _ in choice.photos if photo.label}),
            embedded=work.embedded,
            reused=work.reused,
            skipped=tuple(choice.skipped),
            seconds=time.monotonic() - started,
            up_to_date=False,
            gone=gone,
            notes=living.notes,
            attributes=changed,
            parts=manifest.parts_report(),
            parts_seconds=parts_s,
            untuned=is_untuned(manifest.before, manifest),
        )


@dataclass(frozen=True)
class _Target:
    """What is to be built, and with which Model."""

    source: PhotoSource
    out: Path
    embedder: Embedder
    spec: IndexSpec
    storage: Storage
    parts: bool | None
    parts_storage: PartsStorage
    photos: PhotoAccess

    def keeps_parts(self, living: LocalManifest | None) -> PartsStorage | None:
        """How the parts of photos are to be stored; None for none."""
        if self.parts is None:  # as it is
            return living.parts.storage if living and living.parts else None
        return self.parts_storage if self.parts else None

    def can_reuse(self, living: LocalManifest | None) -> bool:
        """Whether the living gallery's vectors equal those embedded now, to the last bit."""
        return (
            living is not None
            and living.model_fingerprint == self.embedder.model.fingerprint
            and living.storage in (self.storage, "f32")
        )


@dataclass(frozen=True)
class _Living:
    """The gallery that a build finds.

    `sound` is None where it has no usable catalogue; `notes` then mention that
    everything is embedded again.
    """

    manifest: LocalManifest | None
    sound: SoundRows | None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Work:
    """The files known once all are embedded, where each content's vector is, and the counts."""

    known: dict[str, EmbeddedFile]
    by_content: dict[str, EmbeddedFile]
    embedded: int
    reused: int


def _refuse_other_folders(out: Path) -> None:
    """Raise DatasetError where the folder holds something else than a gallery."""
    if out.exists() and not out.is_dir():
        raise DatasetError(f"{out} is a file: give a folder for the gallery")
    with contextlib.suppress(ArtifactError):
        if is_gallery(out):  # also of format 1, which had no journal
            return
    own = {BUILDING, LOCK, MODELS, PHOTOS, JOURNAL, LOST_FOUND}
    own |= {f"{FEEDBACK}{log}" for log in ("", "-wal", "-shm")}
    if out.is_dir() and not (out / JOURNAL).is_dir():
        strangers = sorted(
            path.name for path in out.iterdir() if path.name not in own and not is_generation(path)
        )
        if strangers:
            raise DatasetError(
                f"{out} is not empty and no gallery (it holds {strangers[0]}): give a new folder"
            )


def _living_manifest(out: Path, consent: Consent) -> LocalManifest | None:
    """The manifest, None where there was none. Raises an ArtifactError where it is unreadable."""
    try:
        return LocalManifest.read(out)
    except ArtifactMissingError as error:
        if not manifest_copies(out) or consent.discard:
            return None
        raise ArtifactMissingError(f"{error}, {_WAY_OUT}") from error
    except ArtifactCorruptError as error:
        if consent.discard:
            return None
        raise ArtifactCorruptError(f"{error}, {_WAY_OUT}") from error


_WAY_OUT = "or build with --discard, which embeds all photos again and keeps all manual edits"


def _next_generation(out: Path, living: LocalManifest | None) -> int:
    """A number above all existing generations, with or without a manifest."""
    there = [int(path.name[-6:]) for path in out.iterdir() if is_generation(path)]
    return max([*there, living.next_generation - 1 if living else 0]) + 1


@contextlib.contextmanager
def _open_living(target: _Target, journal: Journal, consent: Consent) -> Iterator[_Living]:
    """Open the existing gallery, if any.

    Raises DatasetError for one of another source, ArtifactCorruptError for a damaged journal, and
    ArtifactError where the catalogue may not be read: it may be intact.
    """
    out, root = target.out, target.source.root
    manifest = _living_manifest(out, consent)
    if manifest and manifest.photos_root != str(root) and not consent.replace:
        raise DatasetError(
            f"{out} was built from {manifest.photos_root}, and {root} is another place: "
            "name a new gallery, or give --replace if the photos have moved or are to be replaced"
        )
    with contextlib.ExitStack() as opened:
        living = _Living(manifest, None)
        if manifest:
            try:
                store = Store.open(manifest.folder(out), manifest.dimension, manifest.storage)
                opened.callback(store.close)
                living = _Living(manifest, SoundRows.of(store))
            except (ArtifactCorruptError, ArtifactMissingError) as error:
                living = _Living(manifest, None, (f"all photos are embedded again: {error}",))
            except ArtifactError:
                if not consent.discard:
                    raise
        if living.sound:
            check_head(living.sound.store, journal)
            with contextlib.suppress(ArtifactCorruptError):
                PhotoFiles(out).clean_up(living.sound.store)
        elif manifest and not journal.is_there and not consent.discard:
            raise ArtifactCorruptError(
                f"{journal.folder} is missing: run deepfood verify --repair, {_WAY_OUT}"
            )
        yield living


def _embed_missing(
    target: _Target,
    building: GrowingStore,
    reusable: list[SoundRows],
    fold: Fold,
    *,
    reading: Reading,
    quiet: bool,
) -> _Work:
    """Embed into `building` every file, and every added photo, that has no vector yet."""
    source, embedder = target.source, target.embedder
    stores = [SoundRows.of(building), *reusable]
    known = known_or_removed(stores, fold)
    todo = [file for file in source.files if not is_known(source, file, known, embedder.limits)]
    reused = len(source.files) - len(todo)
    if todo:
        embed_photos(source, todo, embedder, building, done=reused, quiet=quiet, reading=reading)
        stores[0] = SoundRows.of(building)
    there = by_content(stores)
    lacking = {sha256: photo for sha256, photo in fold.added() if sha256 not in there}
    if lacking:
        bring_back(target.out, lacking.values())
        files = PhotoFiles(target.out)
        copies = [PhotoFile(files.file(sha256)) for sha256 in sorted(lacking)]
        added = PhotoSource(files.root.resolve(), tuple(copies))
        embed_photos(added, copies, embedder, building, done=0, quiet=quiet)
        stores[0] = SoundRows.of(building)
    if todo or lacking:
        known = known_or_removed(stores, fold)
    return _Work(known, by_content(stores), len(todo) + len(lacking), reused)


def _make_parts(
    target: _Target,
    living: _Living,
    building: GrowingStore,
    choice: Choice[EmbeddedFile],
    *,
    quiet: bool,
) -> tuple[KeptParts | None, float]:
    """Make the parts that nothing has yet, into `building`; how many seconds that took."""
    started, storage = time.monotonic(), target.keeps_parts(living.manifest)
    if storage is None:
        return None, 0.0
    made = StoredParts(building, "f32")
    sources, about = [made], living.manifest
    if (
        living.sound
        and about
        and about.parts
        and about.parts.storage == storage
        and about.model_fingerprint == target.embedder.model.fingerprint
    ):
        sources.append(StoredParts(living.sound.store, storage))
    known = set().union(*(one.known() for one in sources))
    places = PhotoPlaces(target.out, str(target.source.root), target.photos)
    lacking = [(photo, one) for photo, one in choice.photos if photo.sha256 not in known]
    vectors = {photo.sha256: one for photo, one in lacking}
    make_parts(
        [photo for photo, _ in lacking],
        places.read,
        lambda photo: vectors[photo.sha256].vector,
        PartEmbedder(target.embedder),
        made.append,
        reads_ahead=places.reads_ahead,
        quiet=quiet,
    )
    return KeptParts(storage, sources), time.monotonic() - started


def _import_changed(
    table: Table[str] | None,
    source: PhotoSource,
    known: dict[str, EmbeddedFile],
    fold: Fold,
    journal: Journal,
) -> tuple[str, ...]:
    """Import the cells of the source's table that changed; the names of their columns."""
    if table is None:
        return ()
    changed, whole = changed_cells(table, source, known, fold, journal)
    if changed:
        journal.append("import", user(), import_of(table, changed, whole, journal))
        for record in journal.records(fold.head):
            fold.apply(record, journal)
    return tuple(sorted({name for values in changed.values() for name in values}))


def _refuse_loss(target: _Target, living: _Living, gone: tuple[str, ...], consent: Consent) -> None:
    """Raise DatasetError where more than half of the photos would go without consent."""
    count = living.sound.store.count() if living.sound else 0
    if len(gone) * 2 > count and not (consent.allow_loss or consent.replace):
        raise DatasetError(
            f"{len(gone)} of the {counted(count, 'photo')} of {target.out} are no longer in "
            f"{target.source.root}, the first is {gone[0]}; nothing was changed: bring them back, "
            "or let them go with --allow-loss (their manual edits are kept)"
        )


def _unchanged(target: _Target, living: _Living, started: float) -> BuildReport[LocalManifest]:
    """The report of a build that has nothing to do; what earlier ones left is deleted."""
    assert living.manifest
    assert living.sound
    remove_leftovers(target.out, living.manifest)
    shutil.rmtree(target.out / BUILDING, ignore_errors=True)
    store = living.sound.store
    return BuildReport(
        living.manifest,
        count=store.count(),
        labels=store.labels(),
        embedded=0,
        reused=len(target.source.files),
        skipped=tuple(store.skipped()),
        seconds=time.monotonic() - started,
        up_to_date=True,
        parts=living.manifest.parts_report(),
    )


def _before(out: Path, living: _Living) -> LocalManifest | None:
    """The generation to go back to: the living one, or the one before it where that is damaged."""
    manifest = living.manifest
    if manifest is None:
        return None
    if (
        living.sound
        and living.sound.is_everything
        and not any(manifest.problems(out, contents=True))
    ):
        return manifest.alone
    return manifest.before


def _gone(sound: SoundRows | None, choice: Choice[EmbeddedFile], fold: Fold) -> tuple[str, ...]:
    """Files of photos that were there, are not any more, and were not removed by anybody."""
    if sound is None:
        return ()
    there = {photo.sha256 for photo, _ in choice.photos}
    return tuple(
        photo.file
        for _, photo in sound.photos
        if photo.sha256 not in there and fold[photo.sha256].removed is None
    )


def _open_building(out: Path, embedder: Embedder) -> GrowingStore:
    """Open the work of an unfinished build with the same Model, else begin anew."""
    folder = out / BUILDING
    mark = folder / "model"
    if not mark.is_file() or mark.read_text() != embedder.model.fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        with raising_disk_full(out):
            folder.mkdir()
            mark.write_text(embedder.model.fingerprint)
    try:
        return GrowingStore.open(folder, embedder.dimension, "f32", words=False)
    except ArtifactCorruptError:  # unfinished work can be done again
        shutil.rmtree(folder)
        return _open_building(out, embedder)


def _is_current(
    target: _Target,
    living: _Living,
    sound: SoundRows,
    fold: Fold,
    table: Table[str] | None,
    journal: Journal,
) -> bool:
    """Whether a build would change nothing."""
    source, out, manifest, store = target.source, target.out, living.manifest, sound.store
    assert manifest is not None
    known = known_or_removed([sound], fold)
    if (
        manifest.photos_root != str(source.root)
        or manifest.storage != target.storage
        or (manifest.parts and manifest.parts.storage) != target.keeps_parts(manifest)
        or manifest.index_by_size != (target.spec.kind == "auto")
        or manifest.index != target.spec.for_count(store.count())
        or (manifest.calibration is None and manifest.uncalibrated is None)  # of an earlier version
        or store.state().head != fold.head
        or (table and changed_cells(table, source, known, fold, journal)[0])
        or known_files([sound]).keys() - {file.stored for file in source.files}
        or not all(
            is_known(source, file, known, target.embedder.limits)
            and known[file.stored].agrees(file)
            for file in source.files
        )
    ):
        return False
    return not (
        any(manifest.problems(out, contents=True))
        or model_problems(manifest.model_folder(out), manifest.model_fingerprint)
        or not sound.is_everything
        or (manifest.parts and StoredParts(store, manifest.parts.storage).has_to_be_made())
    )
