"""The data for rolling back a gallery's last build or change of Model: check and remove them."""

from collections.abc import Iterator

from deepfood.config import Settings
from deepfood.errors import ArtifactError, ArtifactMissingError, EngineError
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.before_images import drop_images
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import collection_of, drop_others, generations_of
from deepfood.milvus.lease import Lease
from deepfood.milvus.model_copy import fetch_model
from deepfood.milvus.renew import renewal


def rollback_faults(gallery: MilvusGallery, settings: Settings) -> Iterator[str]:
    """One line for each fault of the rollback data; none if they are replaced meanwhile."""
    now = gallery.follow()
    found: list[str] = []
    try:
        found += _generation_faults(gallery, settings)
        for revision, checksum in ((now.revision, now.before_images), (now.revision + 1, None)):
            images = gallery.before_images(revision)
            found += images.faults(checksum)
            if not Lease.read(gallery.metadata).runs:  # otherwise a rollback may be using them
                images.release()
    except EngineError:
        if gallery.follow() == now:
            raise
    if gallery.follow() == now:
        for fault in found:
            yield f"{fault}: deepfood verify --repair removes these data; no rollback uses them"


def remove_damaged_rollback_data(address: MilvusAddress, settings: Settings) -> list[str]:
    """Remove damaged rollback data; one line for each step.

    Photos and manual edits are unchanged. Raises an ArtifactError or EngineError.
    """
    with renewal(address, settings) as (lease, gallery):
        now, connection, metadata = gallery.manifest, gallery.connection, gallery.metadata
        done: list[str] = []
        for fault in _generation_faults(gallery, settings):
            lease.check()
            metadata.write_manifest(gallery.collection, now.model_copy(update={"before": None}))
            drop_others(connection, metadata, {*generations_of(connection)} - {now.before or 0})
            done.append(
                f"the previous generation is removed, as a rollback to it is not possible: {fault}"
            )
        last, unfinished = (gallery.before_images(now.revision + more) for more in (0, 1))
        broken, broken_now = list(last.faults(now.before_images)), list(unfinished.faults(None))
        if broken or broken_now:
            lease.check()
            keep = 0 if broken_now else unfinished.revision
            last.drop()
            drop_images(connection, metadata, gallery.collection, keep)
            changed = gallery.follow().model_copy(update={"before_images": None})
            metadata.write_manifest(gallery.collection, changed)
            done.append(
                "the rollback data of the last build are removed, as they are damaged: "
                f"{(broken + broken_now)[0]}"
            )
        for images in (last, unfinished):
            images.release()
        return done


def _generation_faults(gallery: MilvusGallery, settings: Settings) -> Iterator[str]:
    """Why a rollback to the previous generation, if there is one, is not possible."""
    before, metadata = gallery.manifest.before, gallery.metadata
    if before is None:
        return
    collection = collection_of(gallery.address.name, before)
    try:
        if not gallery.connection.ask("has_collection", collection_name=collection):
            raise ArtifactMissingError(f"there is no collection {collection}")
        fetch_model(metadata, metadata.manifest(collection).model_fingerprint, settings)
    except ArtifactError as error:
        yield str(error)
