"""The write lock of a gallery. Readers never take it."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from deepfood.errors import ArtifactBusyError, ArtifactError, raising_disk_full
from deepfood.locks import held

LOCK = ".lock"


@contextlib.contextmanager
def only_writer(gallery: Path, wait_s: float = 0) -> Iterator[None]:
    """Hold the gallery's write lock; the system releases it even when the process is killed.

    Raises ArtifactBusyError where another writer still holds it after `wait_s` seconds, and
    ArtifactError where the gallery cannot be written at all.
    """
    busy = ArtifactBusyError(
        f"another process is writing {gallery}: wait for it, and run the same command again"
    )
    with contextlib.ExitStack() as stack:
        try:
            with raising_disk_full(gallery):
                stack.enter_context(held(gallery / LOCK, busy, wait_s))
        except OSError as error:
            raise ArtifactError(f"{gallery} cannot be written: {error.strerror}") from error
        yield
