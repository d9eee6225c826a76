"""A gallery's generations: collections NAME_g000001 and so on; the alias NAME names the living one.

Each generation has one Model. The previous one is kept for a rollback.
"""

import time
from collections.abc import Collection

from deepfood.config import Settings
from deepfood.errors import ArtifactError, EngineError
from deepfood.index import IndexSpec
from deepfood.milvus.before_images import drop_images
from deepfood.milvus.changed_ids import changed_ids
from deepfood.milvus.connection import Connection
from deepfood.milvus.metadata import GalleryMetadata, MilvusManifest
from deepfood.milvus.model_copy import forget_model, keep_model
from deepfood.milvus.parts import StoredParts, parts_of
from deepfood.milvus.schema import index_of, photo_schema
from deepfood.model import Model
from deepfood.progress import bar

_ASKED_EACH_S = 0.5


def generation_for(
    connection: Connection,
    metadata: GalleryMetadata,
    model: Model,
    photos_root: str,
    settings: Settings,
    *,
    parts: bool = False,
) -> tuple[str, MilvusManifest]:
    """The collection for a Model: an existing one, which may be unfinished, or a new one.

    `parts`: whether it is to keep the parts of photos.
    """
    name = connection.address.name
    if begun := find_generation(connection, metadata, model):
        connection.load(begun)
        return begun, _with_parts(
            connection, metadata, begun, metadata.manifest(begun), settings, parts=parts
        )
    generation = max(generations_of(connection), default=0) + 1
    collection = collection_of(name, generation)
    manifest = MilvusManifest(
        generation=generation,
        photos_root=photos_root,
        photos_store=settings.photos_store,
        dimension=model.manifest.dimension,
        model_name=model.manifest.name,
        model_fingerprint=model.fingerprint,
        index=IndexSpec.of(settings).model_copy(update={"kind": "hnsw"}),
    )
    connection.create(
        collection, photo_schema(manifest.dimension), index_of(settings), settings.milvus_shards
    )
    keep_model(metadata, model)
    metadata.write_manifest(collection, manifest)
    return collection, _with_parts(
        connection, metadata, collection, manifest, settings, parts=parts
    )


def _with_parts(
    connection: Connection,
    metadata: GalleryMetadata,
    collection: str,
    manifest: MilvusManifest,
    settings: Settings,
    *,
    parts: bool,
) -> MilvusManifest:
    """The manifest of a generation that is not living yet, which keeps parts or does not."""
    stored = StoredParts(connection, metadata, collection)
    if parts:
        stored.create(manifest.dimension, settings)
    if parts != (manifest.parts is not None):
        update = {"parts": "begun" if parts else None}
        manifest = manifest.model_copy(update=update)
        metadata.write_manifest(collection, manifest)
        if not parts:
            stored.drop()
    return manifest


def find_generation(connection: Connection, metadata: GalleryMetadata, model: Model) -> str | None:
    """The collection of the newest generation with this Model, or None."""
    name = connection.address.name
    for generation in sorted(generations_of(connection), reverse=True):
        collection = collection_of(name, generation)
        try:
            manifest = metadata.manifest(collection)
        except ArtifactError:  # its build was killed before the manifest was written
            continue
        if manifest.model_fingerprint == model.fingerprint:
            return collection
    return None


def finish_index(connection: Connection, collection: str, *, quiet: bool) -> None:
    """Wait until the engine has indexed all rows, and all parts; until then it scans the others.

    Raises EngineError if it cannot index them.
    """
    for one, what in ((collection, "photos"), (parts_of(collection), "parts")):
        if connection.ask("has_collection", collection_name=one):
            _finish(connection, one, what, quiet=quiet)


def _finish(connection: Connection, collection: str, what: str, *, quiet: bool) -> None:
    connection.ask("flush", collection_name=collection)
    with bar("indexing", f" {what}", 0, quiet=quiet) as progress:
        while True:
            found = connection.ask(
                "describe_index", collection_name=collection, index_name="vector"
            )
            progress.total = found["total_rows"]
            progress.update(found["indexed_rows"] - progress.n)
            if not found["pending_index_rows"]:
                return
            # Milvus Lite indexes at once; tests_cluster/ waits.
            if found["state"] == "Failed":  # pragma: no cover - a cluster that cannot index
                raise EngineError(f"{connection.address} cannot index {collection}: see its log")
            time.sleep(_ASKED_EACH_S)  # pragma: no cover - as above


def go_live(connection: Connection, collection: str) -> None:
    """Point the alias to this collection, atomically."""
    name = connection.address.name
    before = living_collection(connection)
    if before is None:
        connection.ask("create_alias", collection_name=collection, alias=name)
    elif before != collection:
        connection.ask("alter_alias", collection_name=collection, alias=name)


def living_collection(connection: Connection) -> str | None:
    """The collection that the alias names, or None. One call, as servers read it every second."""
    try:
        found = connection.ask("describe_alias", alias=connection.address.name)
    except EngineError as error:
        if _is_missing_alias(error.__cause__):
            return None
        raise
    return str(found["collection_name"])


def drop_others(connection: Connection, metadata: GalleryMetadata, keep: Collection[int]) -> None:
    """Drop all generations, and their Models, except those with the numbers in `keep`."""
    name = connection.address.name
    models, kept = set[str](), set[str]()
    for generation in generations_of(connection):
        collection = collection_of(name, generation)
        try:
            fingerprint = metadata.manifest(collection, oldest=1).model_fingerprint
        except ArtifactError:
            fingerprint = ""
        (kept if generation in keep else models).add(fingerprint)
        if generation not in keep:
            connection.ask("drop_collection", collection_name=collection)
            drop_images(connection, metadata, collection)
            StoredParts(connection, metadata, collection).drop()
            changed_ids(metadata, collection).forget()
            for key in ("left_out", "gone", "manifest"):
                metadata.forget(f"{collection}/{key}")
    for fingerprint in models - kept - {""}:
        forget_model(metadata, fingerprint)


def generations_of(connection: Connection) -> list[int]:
    """The numbers of all existing generations."""
    start = f"{connection.address.name}_g"
    return [
        int(one.removeprefix(start))
        for one in connection.ask("list_collections")
        if one.startswith(start) and one.removeprefix(start).isdecimal()
    ]


def collection_of(name: str, generation: int) -> str:
    return f"{name}_g{generation:06d}"


def _is_missing_alias(error: BaseException | None) -> bool:
    # Milvus has a code for it; Milvus Lite uses the code of a missing collection.
    code = getattr(error, "code", None)
    return code == 1600 or (code == 100 and "alias" in str(error))
