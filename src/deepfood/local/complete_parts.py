"""Find the parts of photos that nobody has looked at yet: of those that were added since."""

import contextlib
from collections.abc import Callable, Sequence

from deepfood.errors import ArtifactBusyError, ArtifactError
from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder, PhotoParts
from deepfood.local.gallery import LocalGallery
from deepfood.local.lock import only_writer
from deepfood.local.manifest import LocalManifest
from deepfood.local.parts import StoredParts
from deepfood.local.recover import open_to_change
from deepfood.locks import held

_LOCK = ".parts.lock"
#: How long it waits for a writer, which commits a batch at a time.
_WAIT_S = 5.0


def complete_parts(
    gallery: LocalGallery,
    open_embedder: Callable[[], PartEmbedder],
    *,
    since: int = 0,
    quiet: bool,
) -> bool:
    """Look at the photos that lack it, where the gallery keeps parts.

    Returns False where another process is at it, and nothing was done. `since` limits this to
    photos that were changed after this number. `open_embedder` is called only where there are any.
    A photo that cannot be read is passed over. Raises ArtifactError (ArtifactBusyError where
    somebody else writes for long), DiskFullError.
    """
    now, folder = gallery.refresh(), gallery.folder
    if now.parts is None:
        return True
    storage = now.parts.stored.storage
    lacking = now.parts.stored.lacking(since)
    if not lacking:
        return True
    with contextlib.ExitStack() as held_here:
        try:
            held_here.enter_context(held(folder / _LOCK, ArtifactBusyError("")))
        except ArtifactBusyError:
            return False
        except PermissionError as error:
            raise ArtifactError(f"{folder} cannot be written: {error.strerror}") from error

        def keep(found: Sequence[tuple[str, PhotoParts]]) -> None:
            with only_writer(folder, _WAIT_S):
                if LocalManifest.read(folder).generation == now.manifest.generation:
                    with open_to_change(folder, now.manifest) as store:
                        StoredParts(store, storage).append(found, announce=True)

        make_parts(
            lacking,
            gallery.read,
            now.parts.stored.whole_of,
            open_embedder(),
            keep,
            reads_ahead=gallery.reads_ahead,
            quiet=quiet,
        )
    return True
