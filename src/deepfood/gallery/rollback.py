"""Back to the generation before, which a change of Model has kept: in seconds, and losing nothing.

The old generation takes over what was changed since: photos that were added are embedded with its
Model, removed ones become holes, labels and names are updated. The newer one is then the one
before, so that a second rollback goes forward again.
"""

import contextlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from deepfood.embed import Embedder
from deepfood.errors import ArtifactError, ArtifactMissingError
from deepfood.gallery.catch_up import (
    PASSES,
    Lost,
    Vector,
    catch_up,
    catch_up_attributes,
    embed_photos_of,
    refuse_lost,
)
from deepfood.gallery.entry import Photo
from deepfood.gallery.gallery import Gallery
from deepfood.gallery.leftovers import remove_leftovers
from deepfood.gallery.lock import only_writer
from deepfood.gallery.manifest import GalleryManifest
from deepfood.gallery.reindex import reindex, wants_reindex
from deepfood.gallery.renew import WAIT_S, RenewReport, only_renewal
from deepfood.gallery.snapshot import Snapshot, open_store, stamp_of
from deepfood.gallery.successor import Successor
from deepfood.model import Model, open_model


def rollback(
    folder: Path,
    open_embedder: Callable[[Model], Embedder],
    *,
    photos_root: Path | str | None = None,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> RenewReport[GalleryManifest]:
    """Make the generation before the gallery again.

    `open_embedder` is called only where photos were added since. Raises ArtifactMissingError where
    there is none before, another ArtifactError where it is damaged, DatasetError where an added
    photo cannot be read, or DiskFullError; the gallery then stays as it was.
    """
    started = time.monotonic()
    with only_renewal(folder), _replaced_told(folder):
        before = _before(folder)
        model = open_model(before.model_folder(folder))
        Snapshot.of(folder, stamp_of(folder), before, contents=True).store.close()  # is it whole?

        def vectors(gallery: Gallery, photos: Sequence[Photo]) -> Iterator[Vector | str]:
            return embed_photos_of(gallery, photos, open_embedder(model))

        def fill(passes: int) -> tuple[int, Lost]:
            return catch_up(
                successor,
                folder,
                vectors,
                what="embedding",
                passes=passes,
                announce=True,
                photos_root=photos_root,
                quiet=quiet,
            )

        inside = before.folder(folder)
        with contextlib.closing(
            Successor.open(inside, before.dimension, before.storage)
        ) as successor:
            made, lost = fill(PASSES)
            refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
            catch_up_attributes(successor, folder)
            with only_writer(folder, WAIT_S):
                before = _before(folder)
                more, lost = fill(2)
                refuse_lost(folder, lost, drop_unreadable=drop_unreadable)
                living = GalleryManifest.read(folder)
                with contextlib.closing(open_store(folder, living)) as store:
                    successor.follow(store, [photo for photo, _ in lost])
                took_over = living.generation, successor.seq()
                update = {"before": living.alone, "took_over": took_over}
                manifest = before.model_copy(update=update)
                manifest.write(folder)
                remove_leftovers(folder, manifest)
                count = successor.count()
    with Gallery.open(folder) as now:
        late = wants_reindex(now.refresh())
    if late:  # what was added since the change of Model is a tail
        reindex(folder, quiet=quiet)
    return RenewReport(manifest, count, made + more, lost, time.monotonic() - started, True)


@contextlib.contextmanager
def _replaced_told(folder: Path) -> Iterator[None]:
    """A build may delete the generation before while it is being worked on."""
    begun = _before(folder)
    try:
        yield
    except (ArtifactError, OSError, sqlite3.Error) as error:
        now = GalleryManifest.read(folder).before
        if now is not None and now.generation == begun.generation:
            raise
        raise ArtifactMissingError(
            f"{folder} has been built or embedded again meanwhile, and has no generation "
            f"{begun.generation} to go back to any more"
        ) from error


def forget(folder: Path) -> None:
    """Delete the generation before. Raises ArtifactMissingError where there is none."""
    with only_renewal(folder), only_writer(folder, WAIT_S):
        _before(folder)
        manifest = GalleryManifest.read(folder).alone
        manifest.write(folder)
        remove_leftovers(folder, manifest)


def _before(folder: Path) -> GalleryManifest:
    before = GalleryManifest.read(folder).before
    if before is None:
        raise ArtifactMissingError(
            f"{folder} has no generation before: deepfood reembed keeps one, and the next build or "
            "reembed replaces it"
        )
    return before
