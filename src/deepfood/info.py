"""What `deepfood info` and `deepfood verify` say of an artifact, whichever kind it is."""

import contextlib
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfood.artifacts import kind_of
from deepfood.config import Settings
from deepfood.embed import open_embedder
from deepfood.errors import ArtifactError, ArtifactFormatError, SettingError
from deepfood.galleries import expect_pymilvus, open_on_milvus
from deepfood.gallery.photo import REMOVED
from deepfood.local import Gallery, GalleryManifest
from deepfood.local.manifest import MODELS, AnyGalleryManifest, manifest_copies
from deepfood.local.repair import repair
from deepfood.local.snapshot import open_store
from deepfood.local.store import Store
from deepfood.local.verify import gallery_problems
from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.model import ModelManifest, open_model
from deepfood.model.artifact import DEFAULT_MODEL


def describe(folder: Path, settings: Settings) -> dict[str, Any]:
    """The facts of a Model or gallery, ready for JSON. Raises an ArtifactError."""
    if is_milvus(folder):
        return _describe_on_milvus(folder, settings)
    if kind_of(folder) == "model":
        model = ModelManifest.read(folder)
        return {
            **model.model_dump(mode="json", exclude={"files", "labels"}),
            "fingerprint": model.fingerprint,
            "bytes": sum(record.bytes for record in model.files.values()),
        }
    with Gallery.open(folder) as gallery:
        now = gallery.refresh()
        labels = {photo.label for photo in now.store.photos() if photo.label}
        left_out = [asdict(one) for one in now.store.skipped()]
        about = now.manifest
        return {
            **about.model_dump(
                mode="json", exclude={"files", "index", "index_by_size", "model_name"}
            ),
            "model": about.model_name,
            "photos": now.count,
            "labels": len(labels),
            "holes": len(now.alive) - now.count,
            "index": about.index.kind,
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "changes": now.store.state().head.number,
            "left_out": left_out,
            "gone": _gone(folder, about, now.store),
        }


def _gone(folder: Path, now: GalleryManifest, store: Store) -> list[str]:
    """Files of photos of the generation before that are not here, though nobody removed them."""
    if now.before is None:
        return []
    removed = {one.same_as for one in store.skipped() if one.reason == REMOVED}
    there = store.hashes() | removed
    try:
        before = open_store(folder, now.before)
    except ArtifactError:
        return []
    with contextlib.closing(before):
        return [photo.file for _, photo in before.sound_rows() if photo.sha256 not in there]


def _describe_on_milvus(place: Path, settings: Settings) -> dict[str, Any]:
    with open_on_milvus(place, settings) as gallery:
        about = gallery.manifest.model_dump(mode="json", exclude={"index", "model_name"})
        left_out = [asdict(one) for one in gallery.left_out()]
        return {
            **about,
            "model": gallery.manifest.model_name,
            "photos": gallery.count,
            "index": gallery.manifest.index.kind,
            "left_out": left_out,
        }


def problems_of(folder: Path, settings: Settings, *, quiet: bool = False) -> Iterator[str]:
    """Every fault in a Model or gallery, a line each. Raises an ArtifactError."""
    if is_milvus(folder):
        from deepfood.milvus.verify import problems_on_milvus

        return problems_on_milvus(MilvusAddress.parse(folder), settings, quiet=quiet)
    if kind_of(folder) == "model":
        return ModelManifest.read(folder).problems(folder, contents=True)
    return gallery_problems(folder, settings.photos_root, quiet=quiet)


def repair_gallery(
    folder: Path, settings: Settings, *, quiet: bool = False
) -> tuple[list[str], list[str]]:
    """Mend a gallery: what was done, and what is still wrong. Raises an ArtifactError."""
    if is_milvus(folder):
        return _repair_on_milvus(MilvusAddress.parse(folder), settings, quiet=quiet)
    copies = manifest_copies(folder)  # the manifest itself may be what is damaged
    if not copies and kind_of(folder) == "model":
        raise ArtifactFormatError(
            f"{folder} is a model, and only galleries are mended: make it anew"
        )
    if not copies:
        AnyGalleryManifest.read(folder)
    models = []
    for where in (settings.model, *sorted((folder / MODELS).glob("*")), DEFAULT_MODEL):
        with contextlib.suppress(ArtifactError):
            models.append(open_model(where))
    return repair(
        folder,
        models,
        lambda model: open_embedder(settings, model),
        settings.photos_root,
        quiet=quiet,
    )


def _repair_on_milvus(
    address: MilvusAddress, settings: Settings, *, quiet: bool
) -> tuple[list[str], list[str]]:
    """Bring one of an earlier format to that of today."""
    expect_pymilvus()
    from deepfood.milvus.upgrade import upgrade_on_milvus
    from deepfood.milvus.verify import problems_on_milvus

    done = upgrade_on_milvus(address, settings, quiet=quiet)
    if not done:
        raise SettingError(f"{address}: a gallery on Milvus is mended by building it again")
    return done, list(problems_on_milvus(address, settings, quiet=quiet))
