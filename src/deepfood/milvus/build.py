"""Make a gallery on Milvus from photos, or make it follow them.

Photos go to the engine in batches as they are embedded, so that a build that was stopped, or
killed, goes on after the last batch. With the Model that the gallery has, the living generation is
changed in its place; with another one a generation is filled beside it, and takes its place in one
step. What people said of photos is in the journal, by content, and a build never decides it.
"""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

from deepfood.config import Settings
from deepfood.data.photos import PhotoSource
from deepfood.embed import Embedder, Vector
from deepfood.gallery.embedding import Reading, embed_photos_of, read_photos
from deepfood.gallery.photo import Photo
from deepfood.gallery.reports import NOTHING_ASKED, BuildReport, Consent
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.calibrated import calibrated
from deepfood.milvus.connection import Connection
from deepfood.milvus.follow import Follower
from deepfood.milvus.following_build import FollowingBuild, check_source
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import finish_index, generation_for, go_live, living
from deepfood.milvus.renew import begun, renewal, take_over
from deepfood.milvus.writer import MilvusWriter


def build_on_milvus(
    source: PhotoSource,
    address: MilvusAddress,
    embedder: Embedder,
    settings: Settings,
    *,
    consent: Consent = NOTHING_ASKED,
    reading: Reading = read_photos,
    quiet: bool = False,
) -> BuildReport[MilvusManifest]:
    """Make `address` a gallery of `source`; photos that are in it already are not embedded again.

    Raises DatasetError where no photo is usable, or photos would be lost without `consent`;
    ArtifactCorruptError where the journal is damaged, ArtifactBusyError where another process
    changes its Model, and EngineError.
    """
    with contextlib.closing(Connection.strong(address, settings)) as connection:
        about = About(connection)
        about.create(settings)
        living_one = living(connection)
        if living_one is None:
            root = str(source.root)
            collection, _ = generation_for(connection, about, embedder.model, root, settings)
            writer = MilvusWriter(connection, settings, collection=collection)
        elif about.manifest(living_one).model_fingerprint != embedder.model.fingerprint:
            build = FollowingBuild(source, embedder, consent, reading, quiet=quiet)
            return _with_another_model(build, address, settings)
        else:
            collection = living_one
            connection.load(collection)
            writer = MilvusWriter(connection, settings, embedder.model)
        if not writer.journal.is_there:
            writer.journal.append("begin", {"format": 1})
        gallery = MilvusGallery(connection, settings, collection)
        if living_one:
            check_source(gallery, source, consent)
        build = FollowingBuild(source, embedder, consent, reading, quiet=quiet)
        work = _follower(gallery, writer, gallery, embedder)
        build.follow(work, gallery if living_one else None)
        work.catch_up_with_all()
        now = gallery.follow()
        left_out = build.choice.skipped
        changed = build.changed or not now.whole or now.photos_root != str(source.root)
        if left_out != gallery.left_out():
            gallery.note_left_out(left_out)
        if changed:
            said: dict[str, Any] = {"photos_root": str(source.root), "whole": True}
            said |= calibrated(gallery, embedder.model, quiet=quiet)
            now = writer.steadily(lambda: writer.commit(said))
            if living_one is None:
                go_live(connection, collection)
        writer.journal.write_checkpoint_if_long(work.reading)
        return build.report(now, gallery.count, up_to_date=not changed)


def _with_another_model(
    build: FollowingBuild, address: MilvusAddress, settings: Settings
) -> BuildReport[MilvusManifest]:
    """Fill a generation beside the living one with what the source has, and make it live."""
    embedder, root = build.embedder, str(build.source.root)
    with renewal(address, settings) as (turn, now):
        check_source(now, build.source, build.consent)
        collection, _ = begun(now, embedder.model, root, settings)
        writer = MilvusWriter(now.connection, settings, collection=collection)
        gallery = MilvusGallery(now.connection, settings, collection)
        work = _follower(gallery, writer, now, embedder)
        build.follow(work, now)
        said = {**calibrated(gallery, embedder.model, quiet=build.quiet), "photos_root": root}
        finish_index(now.connection, collection, quiet=build.quiet)
        manifest, _ = take_over(
            turn, now, work, said, drop_unreadable=True, left_out=build.choice.skipped
        )
        return build.report(manifest, gallery.count, up_to_date=False)


def _follower(
    gallery: MilvusGallery, writer: MilvusWriter, living_one: MilvusGallery, embedder: Embedder
) -> Follower:
    """Of `gallery`; the bytes of photos that were added are read as the living one reads them."""

    def vectors(photos: Sequence[Photo]) -> Iterator[Vector | str]:
        return embed_photos_of(living_one, photos, embedder)

    return Follower(gallery, writer, writer.journal, vectors)
