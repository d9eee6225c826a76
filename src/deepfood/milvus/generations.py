"""A gallery's generations: NAME_g000001 and so on, one of which the alias NAME names.

A Model has a generation of its own. The one before stays, so that one can go back to it.
"""

from deepfood.config import Settings
from deepfood.errors import ArtifactError, EngineError
from deepfood.index import IndexSpec
from deepfood.milvus.about import About, MilvusManifest
from deepfood.milvus.connection import Connection
from deepfood.milvus.model_copy import keep_model
from deepfood.milvus.schema import index_of, photo_schema
from deepfood.model import Model


def collection_for(
    connection: Connection, about: About, model: Model, photos_root: str, settings: Settings
) -> tuple[str, MilvusManifest]:
    """The collection for a Model: the living one, an unfinished one, or a new one."""
    name = connection.address.name
    newest = 0
    for generation in sorted(_generations(connection, name), reverse=True):
        newest = newest or generation
        collection = _collection(name, generation)
        try:
            manifest = about.manifest(collection)
        except ArtifactError:  # killed before its manifest was there
            connection.ask("drop_collection", collection_name=collection)
            continue
        if manifest.model_fingerprint == model.fingerprint:
            _load(connection, collection, settings)
            return collection, manifest.model_copy(update={"photos_root": photos_root})
    collection = _collection(name, newest + 1)
    manifest = MilvusManifest(
        generation=newest + 1,
        photos_root=photos_root,
        photos_store=settings.photos_store,
        dimension=model.manifest.dimension,
        model_name=model.manifest.name,
        model_fingerprint=model.fingerprint,
        index=IndexSpec.of(settings).model_copy(update={"kind": "hnsw"}),
    )
    connection.ask(
        "create_collection",
        collection_name=collection,
        schema=photo_schema(manifest.dimension),
        consistency_level=settings.milvus_consistency,
        num_shards=settings.milvus_shards,
    )
    connection.ask("create_index", collection_name=collection, index_params=index_of(settings))
    _load(connection, collection, settings)
    keep_model(about, model)
    about.write_manifest(collection, manifest)
    return collection, manifest


def _load(connection: Connection, collection: str, settings: Settings) -> None:
    connection.ask(
        "load_collection",
        collection_name=collection,
        replica_number=settings.milvus_replicas,
    )


def go_live(connection: Connection, collection: str) -> None:
    """Have the alias name this collection, in one step."""
    name = connection.address.name
    before = living(connection)
    if before is None:
        connection.ask("create_alias", collection_name=collection, alias=name)
    elif before != collection:
        connection.ask("alter_alias", collection_name=collection, alias=name)


def living(connection: Connection) -> str | None:
    """The collection that the alias names, or None. One call, for a server asks each second."""
    try:
        found = connection.ask("describe_alias", alias=connection.address.name)
    except EngineError as error:
        if _says_absent(error.__cause__):
            return None
        raise
    return str(found["collection_name"])


def _says_absent(error: BaseException | None) -> bool:
    # Milvus has a code for it; Milvus Lite has that of a collection that is not there.
    code = getattr(error, "code", None)
    return code == 1600 or (code == 100 and "alias" in str(error))


def _generations(connection: Connection, name: str) -> list[int]:
    start = f"{name}_g"
    return [
        int(one.removeprefix(start))
        for one in connection.ask("list_collections")
        if one.startswith(start) and one.removeprefix(start).isdecimal()
    ]


def _collection(name: str, generation: int) -> str:
    return f"{name}_g{generation:06d}"
