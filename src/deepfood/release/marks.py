"""Marks in a bucket of running pushes, promotes and prunes, so that prune does not interfere.

Each writes its own mark first and then looks for others, so that at least one of two sees the
other. A mark is renewed every minute; an old one belongs to a process that was killed. Ages are
measured by the server's clock only.
"""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from time import monotonic
from typing import Literal

from deepfood.errors import StorageError
from deepfood.release.objects import MARKS
from deepfood.storage import Bucket

Work = Literal["push", "promote", "prune"]

#: Conflicting work: prune deletes blobs that the others may begin to need.
_REFUSED: dict[Work, tuple[Work, ...]] = {
    "push": ("prune",),
    "promote": ("prune",),
    "prune": ("push", "promote"),
}

BEAT_S = 60.0
#: A mark that was not renewed for this long is ignored.
STALE_S = 600.0


class Mark:
    """The mark of this process."""

    def __init__(self, bucket: Bucket, work: Work) -> None:
        self._bucket = bucket
        self._key = f"{MARKS}/{work}-{uuid.uuid4().hex}"
        self._refused = tuple(f"{MARKS}/{one}-" for one in _REFUSED[work])
        self._ended = threading.Event()
        self._written = monotonic()
        self._gap_s = 0.0
        self._bucket.write(self._key, b"")

    def check(self) -> None:
        """Raise StorageError if others may have considered the mark stale."""
        if max(self._gap_s, monotonic() - self._written) > STALE_S / 2:
            raise StorageError(
                f"{self._bucket.url} was out of reach for minutes: run the same command again; "
                "finished transfers are kept"
            )

    def conflicting(self) -> list[str]:
        """Valid marks of others whose work conflicts with this one's."""
        found = list(self._bucket.list(MARKS))
        now = next((one.modified for one in found if one.key == self._key), None)
        if now is None:
            raise StorageError(f"{self._bucket.place(self._key)} is gone: run it again")
        return [
            self._bucket.place(one.key)
            for one in found
            if one.key.startswith(self._refused) and now - one.modified < timedelta(seconds=STALE_S)
        ]

    def keep_renewing(self) -> None:
        """Renew it every minute, until `end`."""
        while not self._ended.wait(BEAT_S):
            with suppress(StorageError):
                self._bucket.write(self._key, b"")
                self._gap_s = max(self._gap_s, monotonic() - self._written)
                self._written = monotonic()

    def end(self) -> None:
        self._ended.set()
        with suppress(StorageError):  # it may become stale
            self._bucket.delete(self._key)


@contextmanager
def marked(bucket: Bucket, work: Work) -> Iterator[Mark]:
    """Mark `work` while it runs. Raises StorageError while conflicting work is running."""
    mark = Mark(bucket, work)
    renewing = threading.Thread(target=mark.keep_renewing, name=f"{work}-mark", daemon=True)
    renewing.start()
    try:
        if conflicts := mark.conflicting():
            their = conflicts[0].rpartition("/")[2].partition("-")[0]
            raise StorageError(
                f"another process is running a {their} of {bucket.url} ({conflicts[0]}): try again "
                f"when it has ended; if it was killed, in {STALE_S / 60:.0f} minutes"
            )
        yield mark
    finally:
        mark.end()
        renewing.join()
