"""A gallery of made-up photos and vectors, for benchmarks that need no Model."""

from pathlib import Path

from deepfood.index import IndexSpec
from deepfood.local import LocalManifest
from deepfood.local.growing_store import GrowingStore


def made_up_gallery(folder: Path, dimension: int) -> GrowingStore:
    """An empty gallery in `folder`, whose store takes photos and vectors of `dimension` numbers."""
    manifest = LocalManifest(
        generation=1,
        photos_root=str(folder / "nowhere"),
        dimension=dimension,
        storage="f32",
        model_name="made up",
        model_fingerprint="0" * 64,
        index=IndexSpec(kind="exact"),
        covered=0,
        index_by_size=False,
        uncalibrated="made up",
        files={},
    )
    manifest.folder(folder).mkdir(parents=True)
    manifest.write(folder)
    return GrowingStore.open(manifest.folder(folder), dimension, "f32")
