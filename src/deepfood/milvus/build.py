"""Build a gallery on Milvus from photos, or update it from them.

Embedded photos are written in batches, so that a build that was stopped or killed resumes after the
last batch. With the gallery's own Model, the living generation is changed in place, and its
previous rows are kept; with another Model, a new generation is filled beside it and replaces it
atomically. `rollback` undoes either. Manual edits are in the journal, by content, and no build
changes them.
"""

import contextlib
from collections.abc import Iterator, Sequence

from deepfood.config import Settings
from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder, Vector
from deepfood.gallery.embedding import Reading, embed_photos_of, read_photos
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.calibrate import calibration_fields
from deepfood.milvus.connection import Connection
from deepfood.milvus.find_parts import find_parts
from deepfood.milvus.follow import JournalFollower
from deepfood.milvus.following_build import FollowingBuild, check_source
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import finish_index, generation_for, go_live, living_collection
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.renew import begin_generation, renewal, take_over
from deepfood.milvus.revision import Revision
from deepfood.milvus.writer import MilvusWriter

Report = BuildReport[MilvusManifest]


def build_on_milvus(
    source: PhotoSource,
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    parts: bool | None = None,
    consent: Consent = NOTHING_ASKED,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> Report:
    """Make `address` a gallery of `source`; photos that it already contains are not embedded again.

    With `parts` the dishes of photos of several are kept as rows of their own; None keeps them if
    the gallery has them already. Raises DatasetError if no photo is usable, or if photos would be
    lost without `consent`; ArtifactCorruptError if the journal is damaged; ArtifactBusyError if
    another process builds it or changes its Model; NoHeatMapError for parts without OpenVINO; and
    EngineError.
    """
    build = FollowingBuild(source, embedder, consent, reading, parts=parts, quiet=quiet)
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        metadata = GalleryMetadata(connection)
        metadata.create(settings)
        collection = living_collection(connection)
        if collection is None:
            return _first(build, connection, settings)
        if metadata.manifest(collection).model_fingerprint == embedder.model.fingerprint:
            return _in_place(build, connection, settings)
    return _with_another_model(build, address, settings)


def _first(build: FollowingBuild, connection: Connection, settings: Settings) -> Report:
    """Fill the first generation, new or unfinished, and make it the gallery."""
    metadata, model, root = (
        GalleryMetadata(connection),
        build.embedder.model,
        str(build.source.root),
    )
    wanted = build.keeps_parts(None)
    collection, _ = generation_for(connection, metadata, model, root, settings, parts=wanted)
    writer = MilvusWriter(connection, settings, collection=collection)
    _begin_journal(writer)
    gallery = MilvusGallery(connection, settings, collection)
    work = _follower(gallery, writer, gallery, build.embedder)
    build.follow(work, None)
    work.catch_up_with_all()
    _find_parts(build, gallery, writer)
    gallery.note_left_out(build.choice.skipped)
    made = calibration_fields(gallery, model, quiet=build.quiet)
    changes = {"photos_root": root, "whole": True, "parts": "kept" if wanted else None, **made}
    manifest = writer.commit(changes)
    go_live(connection, collection)
    writer.journal.write_checkpoint_if_long(work.reading)
    gallery.follow()
    return build.report(manifest, gallery, up_to_date=False)


def _in_place(build: FollowingBuild, connection: Connection, settings: Settings) -> Report:
    """Update the living generation from the source, and keep what a rollback needs."""
    source, model = build.source, build.embedder.model
    with HeldLease.take(GalleryMetadata(connection)) as lease:
        gallery = MilvusGallery(connection, settings, living_collection(connection))
        connection.load(gallery.collection)
        check_source(gallery, source, build.consent)
        wanted = build.keeps_parts(gallery.manifest)
        if not gallery.manifest.parts:
            gallery.parts().drop()  # of a generation that kept them, and was searched till now
        revision = Revision(gallery, lease, settings, model)
        writer = revision.writer
        _begin_journal(writer)
        work = _follower(gallery, writer, gallery, build.embedder)
        build.follow(work, gallery)
        work.catch_up_with_all()
        before, left_out = gallery.follow(), build.choice.skipped
        now, seen = before, 0
        if wanted:
            seen = build.find_parts(lambda opened: revision.find_parts(opened, quiet=build.quiet))
        kept = "kept" if wanted else None
        is_other = before.parts != kept or before.photos_root != str(source.root)
        changed = build.changed or revision.was_begun or is_other
        if changed:
            revision.begin()
        if left_out != gallery.left_out():
            gallery.note_left_out(left_out)
        if changed:
            made = calibration_fields(gallery, model, quiet=build.quiet)
            now = revision.commit({"photos_root": str(source.root), "parts": kept, **made})
            revision.drop_parts()
        writer.journal.write_checkpoint_if_long(work.reading)
        return build.report(now, gallery, before=before, up_to_date=not changed and not seen)


def _begin_journal(writer: MilvusWriter) -> None:
    if not writer.journal.is_there:
        writer.journal.append("begin", {"format": 1})


def _with_another_model(
    build: FollowingBuild, address: MilvusAddress, settings: Settings
) -> Report:
    """Fill a generation beside the living one from the source, and switch to it."""
    embedder, root = build.embedder, str(build.source.root)
    with renewal(address, settings) as (lease, now):
        check_source(now, build.source, build.consent)
        before = now.manifest
        wanted = build.keeps_parts(before)
        collection, _ = begin_generation(now, embedder.model, root, settings, parts=wanted)
        writer = MilvusWriter(now.connection, settings, collection=collection)
        gallery = MilvusGallery(now.connection, settings, collection)
        work = _follower(gallery, writer, now, embedder)
        build.follow(work, now)
        _find_parts(build, gallery, writer)
        changes = {
            **calibration_fields(gallery, embedder.model, quiet=build.quiet),
            "photos_root": root,
        }
        finish_index(now.connection, collection, quiet=build.quiet)
        manifest, _ = take_over(
            lease, now, work, changes, drop_unreadable=True, left_out=build.choice.skipped
        )
        _find_parts(build, gallery, writer)  # of photos that were added at the end
        return build.report(manifest, gallery, before=before, up_to_date=False)


def _find_parts(build: FollowingBuild, gallery: MilvusGallery, writer: MilvusWriter) -> None:
    """Make the parts of a generation that was not living whole, if it keeps them."""
    if gallery.follow().parts:
        build.find_parts(
            lambda opened: find_parts(gallery, writer.commit, opened, quiet=build.quiet)
        )


def _follower(
    gallery: MilvusGallery, writer: MilvusWriter, living_one: MilvusGallery, embedder: Embedder
) -> JournalFollower:
    """A follower for `gallery`; `living_one` reads the bytes of added photos."""

    def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
        return embed_photos_of(living_one, photos, embedder)

    return JournalFollower(gallery, writer, writer.journal, vectors)
