"""Add photos from files to a gallery in a folder, and index them where they are many."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from deepfood.embed import Embedder
from deepfood.gallery.add import AddReport, add_batches
from deepfood.local.manifest import LocalManifest
from deepfood.local.reindex import reindex, wants_reindex
from deepfood.local.snapshot import Snapshot
from deepfood.local.writer import LocalWriter
from deepfood.storage import AWS, S3Options


def add_photos(
    gallery: Path,
    paths: Sequence[Path | str],
    embedder: Embedder,
    *,
    label: str | None = None,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    s3: S3Options = AWS,
    wait_s: float = 0,
    quiet: bool = False,
) -> AddReport:
    """Add the photos that files, folders and CSVs name. Committed batches stay if it is stopped.

    `label`, `name` and `attributes`, where given, apply to all photos and take precedence over a
    CSV. Further columns of a CSV are declared as attributes. Raises DatasetError (also for
    attributes that are undeclared or of another type), DiskFullError or ArtifactError
    (ArtifactBusyError after `wait_s` seconds for each batch).
    """
    started = time.monotonic()
    LocalManifest.read(gallery).check_model(gallery, embedder.model)
    report = add_batches(
        lambda: LocalWriter.open(gallery, embedder.model, wait_s=wait_s),
        paths,
        embedder,
        label=label,
        name=name,
        attributes=attributes,
        s3=s3,
        quiet=quiet,
    )
    now = Snapshot.open(gallery, contents=False)
    now.store.close()
    if wants_reindex(now):
        reindex(gallery, quiet=quiet)
    report.seconds = time.monotonic() - started
    return report
