"""The way back from a gallery's last build or Model: whether it is whole, and removing it."""

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


def faults_of_way_back(gallery: MilvusGallery, settings: Settings) -> Iterator[str]:
    """What is wrong with it, a line each; nothing where it is replaced meanwhile."""
    now = gallery.follow()
    found: list[str] = []
    try:
        found += _generation_faults(gallery, settings)
        for revision, checksum in ((now.revision, now.before_images), (now.revision + 1, None)):
            images = gallery.before_images(revision)
            found += images.faults(checksum)
            if not Lease.read(gallery.metadata).runs:  # else somebody may go back by them
                images.release()
    except EngineError:
        if gallery.follow() == now:
            raise
    if gallery.follow() == now:
        for fault in found:
            yield f"{fault}: deepfood verify --repair removes the way back, which cannot be trusted"


def repair_way_back(address: MilvusAddress, settings: Settings) -> list[str]:
    """Remove a way back that is damaged; what was done, a line each.

    Photos and what people said of them stay as they are. Raises an ArtifactError or EngineError.
    """
    with renewal(address, settings) as (lease, gallery):
        now, connection, metadata = gallery.manifest, gallery.connection, gallery.metadata
        done: list[str] = []
        for fault in _generation_faults(gallery, settings):
            lease.check()
            metadata.write_manifest(gallery.collection, now.model_copy(update={"before": None}))
            drop_others(connection, metadata, {*generations_of(connection)} - {now.before or 0})
            done.append(f"the generation before is removed, as one cannot go back to it: {fault}")
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
                "the way back from the last build is removed, as it cannot be trusted: "
                f"{(broken + broken_now)[0]}"
            )
        for images in (last, unfinished):
            images.release()
        return done


def _generation_faults(gallery: MilvusGallery, settings: Settings) -> Iterator[str]:
    """Why one cannot go back to the generation before, where there is one."""
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
