"""The facts of `deepfood info` about a gallery in a folder."""

import contextlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from deepfood.errors import ArtifactError
from deepfood.gallery.photo import REMOVED
from deepfood.local.gallery import LocalGallery
from deepfood.local.manifest import LocalManifest
from deepfood.local.parts import StoredParts
from deepfood.local.snapshot import open_store
from deepfood.local.store import Store


def describe(folder: Path) -> dict[str, Any]:
    """The facts of a gallery, ready for JSON. Raises an ArtifactError."""
    with LocalGallery.open(folder) as gallery:
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
            "parts": _parts(about, now.store),
            "bytes": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            "changes": now.store.state().head.number,
            "left_out": left_out,
            "gone": _gone(folder, about, now.store),
        }


def _parts(about: LocalManifest, store: Store) -> dict[str, Any] | None:
    """Of the parts of photos: of how many photos, how many, and the bytes of their vectors."""
    if about.parts is None:
        return None
    stored = StoredParts(store, about.parts.storage)
    photos, count = stored.counts()
    return {
        "storage": about.parts.storage,
        "index": about.parts.index.kind,
        "photos": photos,
        "count": count,
        "bytes": stored.rows() * stored.row_bytes,
    }


def _gone(folder: Path, now: LocalManifest, store: Store) -> list[str]:
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
