"""A build's work on one generation: embed new photos, choose which to hold, delete the others."""

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.read_ahead import reading_ahead
from deepfood.embed import Embedder
from deepfood.errors import DatasetError, PhotoError
from deepfood.gallery.attribute_table import Table
from deepfood.gallery.choose import Choice, choose_photos, is_known
from deepfood.gallery.embedding import Reading, batched_in_time
from deepfood.gallery.fold import Fold
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.photo import REMOVED, EmbeddedPhoto, Photo, Skipped
from deepfood.gallery.reports import BuildReport, Consent
from deepfood.gallery.source_table import changed_cells, import_of, table_of
from deepfood.gallery.tuned import is_untuned
from deepfood.milvus.absent_edits import AbsentEdits
from deepfood.milvus.facts import Facts
from deepfood.milvus.follow import JournalFollower, photos_in
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.metadata import MilvusManifest
from deepfood.progress import bar

#: A batch is written at this size, or when its first photo has waited this long.
_BATCH_PHOTOS, _BATCH_S = 500, 5.0


@dataclass(frozen=True)
class KnownFile:
    """What is known of a file of the source: its photo, or why it is skipped."""

    entry: Photo | Skipped


def check_source(gallery: MilvusGallery, source: PhotoSource, consent: Consent) -> None:
    """Raise DatasetError if the gallery was built from another place, unless allowed."""
    root = gallery.manifest.photos_root
    if root != str(source.root) and not consent.replace:
        raise DatasetError(
            f"{gallery.place} was built from {root}, and {source.root} is another place: name a "
            "new gallery, or give --replace if the photos have moved or are to be replaced"
        )


class FollowingBuild:
    """Brings a generation up to date with the source, and counts the work."""

    choice: Choice[KnownFile]

    def __init__(
        self,
        source: PhotoSource,
        embedder: Embedder,
        consent: Consent,
        reading: Reading,
        *,
        parts: bool | None = None,
        quiet: bool,
    ) -> None:
        self.source, self.embedder, self.consent, self.quiet = source, embedder, consent, quiet
        self.embedded = self.reused = 0
        self.changed = False
        self.gone: tuple[str, ...] = ()
        self.attributes: tuple[str, ...] = ()
        self._reading = reading
        self._parts, self._parts_s = parts, 0.0
        self._started = time.monotonic()

    def follow(self, work: JournalFollower, living: MilvusGallery | None) -> None:
        """Bring the generation of `work` up to date with the source.

        `living` is the living generation, or None. Raises DatasetError if no photo is usable, or if
        more than half would be lost.
        """
        source, fold = self.source, work.fold
        table = table_of(source, fold)  # its faults are raised before the work
        there = photos_in(work.gallery)
        before: Mapping[str, Facts] = {}
        if living:
            before = there if living is work.gallery else photos_in(living)
        known = _known_files(there, work.gallery.left_out(), fold)
        todo = [
            file for file in source.files if not is_known(source, file, known, self.embedder.limits)
        ]
        self._refuse_loss(work, before, known, todo)
        self.embedded, self.reused = len(todo), len(source.files) - len(todo)
        files = {sha256: photo.file for sha256, (photo, _) in there.items()}
        with (
            bar(
                "embedding", " photos", len(source.files), done=self.reused, quiet=self.quiet
            ) as progress,
            self._reading(source, todo, self.embedder) as results,
        ):
            for batch in batched_in_time(results, _BATCH_PHOTOS, _BATCH_S, progress.update):
                # Photos with the content of another file are handled below.
                new = [
                    one
                    for one in _noted(batch, known)
                    if files.setdefault(one.photo.sha256, one.photo.file) == one.photo.file
                ]
                work.write_new(new)
        if table:
            self.attributes = self._import_table(table, known, work)
        lacking = work.catch_up() + work.embed_added(files)
        if todo or lacking:
            there = photos_in(work.gallery)
        fold = work.fold
        known = {file: _as_removed(one, fold) for file, one in known.items()}
        vectors = {sha256: KnownFile(photo) for sha256, (photo, _) in there.items()}
        self.choice = choose_photos(source, known, fold, vectors, self.consent)
        wanted = {
            photo.sha256: (photo, fold[photo.sha256].attributes) for photo, _ in self.choice.photos
        }
        changed = {
            photo_id(sha256): one for sha256, one in wanted.items() if there.get(sha256) != one
        }
        dropped = [photo_id(sha256) for sha256 in there.keys() - wanted.keys()]
        self.gone = _gone(before, wanted, fold)
        self.changed = bool(todo or lacking or changed or dropped)
        work.write(changed)
        if self.changed:
            AbsentEdits(work.gallery.metadata).replace(fold, wanted)
        work.delete(dropped)

    def keeps_parts(self, before: MilvusManifest | None) -> bool:
        """Whether the gallery is to keep the parts of its photos.

        Raises NoHeatMapError where it begins to, or gets another Model, without OpenVINO.
        """
        is_kept = before is not None and before.parts is not None
        wanted = is_kept if self._parts is None else self._parts
        same = before and before.model_fingerprint == self.embedder.model.fingerprint
        if wanted and not (is_kept and same):
            PartEmbedder(self.embedder).check()
        return wanted

    def find_parts(self, find: Callable[[Callable[[], PartEmbedder]], int]) -> int:
        """Of how many photos `find` has found the parts, which it gets the embedder for."""
        begun = time.monotonic()
        made = find(lambda: PartEmbedder(self.embedder))
        self._parts_s += time.monotonic() - begun
        return made

    def report(
        self,
        manifest: MilvusManifest,
        gallery: MilvusGallery,
        *,
        before: MilvusManifest | None = None,
        up_to_date: bool,
    ) -> BuildReport[MilvusManifest]:
        """`before` is the manifest that the build began with, if there was one."""
        return BuildReport(
            manifest,
            gallery.count,
            manifest.labels,
            self.embedded,
            self.reused,
            tuple(self.choice.skipped),
            time.monotonic() - self._started,
            up_to_date,
            self.gone,
            attributes=self.attributes,
            untuned=is_untuned(before, manifest),
            parts=gallery.parts_report(),
            parts_seconds=self._parts_s,
        )

    def _import_table(
        self, table: Table[str], known: Mapping[str, KnownFile], work: JournalFollower
    ) -> tuple[str, ...]:
        """Record the changed cells of the source's table in the journal; their attributes."""
        journal = work.journal
        news, whole = changed_cells(table, self.source, known, work.fold, journal)
        if news:
            journal.append("import", import_of(table, news, whole, journal))
        return tuple(sorted({name for values in news.values() for name in values}))

    def _refuse_loss(
        self,
        work: JournalFollower,
        before: Mapping[str, Facts],
        known: Mapping[str, KnownFile],
        todo: Sequence[PhotoFile],
    ) -> None:
        """Raise DatasetError if more than half of the photos are gone, unless `consent` allows it.

        Runs before any row is changed. If needed, unread files are read and compared by content.
        """
        if self.consent.replace or self.consent.allow_loss:
            return
        unread = {file.stored for file in todo}
        entries = [known[one.stored].entry for one in self.source.files if one.stored not in unread]
        still = {one.sha256 for one in entries if isinstance(one, Photo)}
        still |= {sha256 for sha256, _ in work.fold.added()}
        gone = _gone(before, still, work.fold)
        if len(gone) * 2 > len(before):
            still |= self._contents(todo)
            gone = _gone(before, still, work.fold)
        if len(gone) * 2 > len(before):
            raise DatasetError(
                f"{len(gone)} of the {counted(before, 'photo')} of {work.gallery.place} are no "
                f"longer in {self.source.root}, the first is {gone[0]}; nothing was changed: bring "
                "them back, or let them go with --allow-loss (their manual edits are kept)"
            )

    def _contents(self, files: Sequence[PhotoFile]) -> set[str]:
        """The SHA-256 of all files that can be read."""
        root, limits = self.source.root, self.embedder.limits

        def content(file: PhotoFile) -> str:
            try:
                return hashlib.sha256(root.read(file.file, limits.check_bytes)).hexdigest()
            except PhotoError:
                return ""

        with reading_ahead(content, files, workers=2, reading=root.reads_ahead) as found:
            return set(found)


def _known_files(
    there: Mapping[str, Facts], left_out: Sequence[Skipped], fold: Fold
) -> dict[str, KnownFile]:
    """What is known of files, by stored name."""
    known: dict[str, KnownFile] = {}
    for sha256 in fold:
        if removed := fold[sha256].removed:
            file, size, modified_ns = (removed[key] for key in ("file", "bytes", "modified_ns"))
            known[file] = KnownFile(Skipped(file, REMOVED, size, modified_ns, sha256))
    for skipped in left_out:
        one = there.get(skipped.same_as or "")
        if one:  # the same content as a photo of the gallery
            known[skipped.file] = KnownFile(replace(one[0], modified_ns=skipped.modified_ns))
        elif skipped.same_as is None or fold[skipped.same_as].removed is not None:
            known[skipped.file] = KnownFile(skipped)
    for photo, _ in there.values():
        if not photo.added:
            known[photo.file] = KnownFile(photo)
    return known


def _as_removed(one: KnownFile, fold: Fold) -> KnownFile:
    """A copy of a removed photo is left out for the same reason."""
    entry = one.entry
    if isinstance(entry, Skipped) and entry.same_as and fold[entry.same_as].removed is not None:
        return KnownFile(replace(entry, reason=REMOVED))
    return one


def _gone(before: Mapping[str, Facts], still: Iterable[str], fold: Fold) -> tuple[str, ...]:
    """Files of photos that are gone, without having been removed by anybody."""
    still = set(still)
    return tuple(
        sorted(
            photo.file
            for sha256, (photo, _) in before.items()
            if sha256 not in still and fold[sha256].removed is None
        )
    )


def _noted(
    results: Iterable[EmbeddedPhoto | Skipped], known: dict[str, KnownFile]
) -> Iterator[EmbeddedPhoto]:
    """The photos among the results; all results are entered in `known`."""
    for result in results:
        if isinstance(result, Skipped):
            known[result.file] = KnownFile(result)
        else:
            known[result.photo.file] = KnownFile(result.photo)
            yield result
