"""The gallery's copy of its Model, stored in Milvus: a server needs only the address."""

import base64
from pathlib import Path

from deepfood.artifacts import MANIFEST, write_atomically
from deepfood.config import Settings
from deepfood.errors import ArtifactError, ArtifactMissingError, raising_disk_full
from deepfood.milvus.metadata import GalleryMetadata
from deepfood.model import Model, ModelManifest, open_model


def keep_model(metadata: GalleryMetadata, model: Model) -> None:
    """Copy a Model into Milvus, its manifest last, unless it is there."""
    if metadata.read(_key(model.fingerprint, MANIFEST)) is not None:
        return
    for name in [*model.manifest.files, MANIFEST]:
        data = (model.folder / name).read_bytes()
        metadata.write(_key(model.fingerprint, name), base64.b85encode(data).decode())


def forget_model(metadata: GalleryMetadata, fingerprint: str) -> None:
    """Delete a copy, its manifest first: without it, the rest is ignored."""
    try:
        manifest = _read(metadata, fingerprint, MANIFEST)
    except ArtifactMissingError:
        return
    metadata.forget(_key(fingerprint, MANIFEST))
    for name in ModelManifest.parse(manifest, metadata.collection).files:
        metadata.forget(_key(fingerprint, name))


def fetch_model(metadata: GalleryMetadata, fingerprint: str, settings: Settings) -> Model:
    """The copy, fetched into a folder of the cache. Raises an ArtifactError."""
    folder = settings.cache.expanduser() / "models" / fingerprint[:16]
    try:
        model = open_model(folder)
        if model.fingerprint == fingerprint:
            return model
    except ArtifactError:
        pass
    with raising_disk_full(folder):
        folder.mkdir(parents=True, exist_ok=True)
        manifest = _read(metadata, fingerprint, MANIFEST)
        for name in ModelManifest.parse(manifest, metadata.collection).files:
            if Path(name).name != name:
                raise ArtifactMissingError(
                    f"the Model in {metadata.collection} names a file {name!r}"
                )
            write_atomically(folder / name, _read(metadata, fingerprint, name))
        write_atomically(folder / MANIFEST, manifest)
    model = open_model(folder)
    if model.fingerprint != fingerprint:
        raise ArtifactMissingError(
            f"{metadata.collection} does not hold the Model that its manifest names"
        )
    return model


def _read(metadata: GalleryMetadata, fingerprint: str, name: str) -> bytes:
    text = metadata.read(_key(fingerprint, name))
    if text is None:
        raise ArtifactMissingError(
            f"{metadata.collection} has no copy of its Model: name it with --model"
        )
    return base64.b85decode(text)


def _key(fingerprint: str, name: str) -> str:
    return f"model/{fingerprint[:16]}/{name}"
