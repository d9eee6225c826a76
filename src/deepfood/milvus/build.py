"""Make a gallery on Milvus from photos, or make it follow them.

Photos go to the engine in batches as they are embedded, so that a build that was stopped, or
killed, goes on after the last batch. With the Model that the gallery has, the living generation is
changed in its place, and what it held before is kept; with another one a generation is filled
beside it, and takes its place in one step. `rollback` goes back from either. What people said of
photos is in the journal, by content, and a build never decides it.
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
from deepfood.milvus.calibrated import calibrated
from deepfood.milvus.connection import Connection
from deepfood.milvus.follow import Follower
from deepfood.milvus.following_build import FollowingBuild, check_source
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import finish_index, generation_for, go_live, living
from deepfood.milvus.lease import HeldLease
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.renew import begun, renewal, take_over
from deepfood.milvus.revision import Revision
from deepfood.milvus.writer import MilvusWriter

Report = BuildReport[MilvusManifest]


def build_on_milvus(
    source: PhotoSource,
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    consent: Consent = NOTHING_ASKED,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> Report:
    """Make `address` a gallery of `source`; photos that are in it already are not embedded again.

    Raises DatasetError where no photo is usable, or photos would be lost without `consent`;
    ArtifactCorruptError where the journal is damaged, ArtifactBusyError where another process
    builds it or changes its Model, and EngineError.
    """
    build = FollowingBuild(source, embedder, consent, reading, quiet=quiet)
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        metadata = GalleryMetadata(connection)
        metadata.create(settings)
        collection = living(connection)
        if collection is None:
            return _first(build, connection, settings)
        if metadata.manifest(collection).model_fingerprint == embedder.model.fingerprint:
            return _in_place(build, connection, settings)
    return _with_another_model(build, address, settings)


def _first(build: FollowingBuild, connection: Connection, settings: Settings) -> Report:
    """Fill the first generation, which may have been begun, and make it the gallery."""
    metadata, model, root = (
        GalleryMetadata(connection),
        build.embedder.model,
        str(build.source.root),
    )
    collection, _ = generation_for(connection, metadata, model, root, settings)
    writer = MilvusWriter(connection, settings, collection=collection)
    _begin_journal(writer)
    gallery = MilvusGallery(connection, settings, collection)
    work = _follower(gallery, writer, gallery, build.embedder)
    build.follow(work, None)
    work.catch_up_with_all()
    gallery.note_left_out(build.choice.skipped)
    made = calibrated(gallery, model, quiet=build.quiet)
    manifest = writer.commit({"photos_root": root, "whole": True, **made})
    go_live(connection, collection)
    writer.journal.write_checkpoint_if_long(work.reading)
    return build.report(manifest, gallery.count, up_to_date=False)


def _in_place(build: FollowingBuild, connection: Connection, settings: Settings) -> Report:
    """Have the living generation hold what the source has, with a way back."""
    source, model = build.source, build.embedder.model
    with HeldLease.take(GalleryMetadata(connection)) as lease:
        gallery = MilvusGallery(connection, settings, living(connection))
        connection.load(gallery.collection)
        check_source(gallery, source, build.consent)
        revision = Revision(gallery, lease, settings, model)
        writer = revision.writer
        _begin_journal(writer)
        work = _follower(gallery, writer, gallery, build.embedder)
        build.follow(work, gallery)
        work.catch_up_with_all()
        now, left_out = gallery.follow(), build.choice.skipped
        changed = build.changed or revision.was_begun or now.photos_root != str(source.root)
        if changed:
            revision.begin()
        if left_out != gallery.left_out():
            gallery.note_left_out(left_out)
        if changed:
            made = calibrated(gallery, model, quiet=build.quiet)
            now = revision.commit({"photos_root": str(source.root), **made})
        writer.journal.write_checkpoint_if_long(work.reading)
        return build.report(now, gallery.count, up_to_date=not changed)


def _begin_journal(writer: MilvusWriter) -> None:
    if not writer.journal.is_there:
        writer.journal.append("begin", {"format": 1})


def _with_another_model(
    build: FollowingBuild, address: MilvusAddress, settings: Settings
) -> Report:
    """Fill a generation beside the living one with what the source has, and make it live."""
    embedder, root = build.embedder, str(build.source.root)
    with renewal(address, settings) as (lease, now):
        check_source(now, build.source, build.consent)
        collection, _ = begun(now, embedder.model, root, settings)
        writer = MilvusWriter(now.connection, settings, collection=collection)
        gallery = MilvusGallery(now.connection, settings, collection)
        work = _follower(gallery, writer, now, embedder)
        build.follow(work, now)
        said = {**calibrated(gallery, embedder.model, quiet=build.quiet), "photos_root": root}
        finish_index(now.connection, collection, quiet=build.quiet)
        manifest, _ = take_over(
            lease, now, work, said, drop_unreadable=True, left_out=build.choice.skipped
        )
        return build.report(manifest, gallery.count, up_to_date=False)


def _follower(
    gallery: MilvusGallery, writer: MilvusWriter, living_one: MilvusGallery, embedder: Embedder
) -> Follower:
    """Of `gallery`; the bytes of photos that were added are read as the living one reads them."""

    def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
        return embed_photos_of(living_one, photos, embedder)

    return Follower(gallery, writer, writer.journal, vectors)
