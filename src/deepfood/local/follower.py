"""Follows a gallery that others change: each search gets a snapshot of what is acknowledged now."""

import threading
from dataclasses import dataclass
from pathlib import Path

from deepfood.errors import ArtifactError, DeepfoodError
from deepfood.local.manifest import GalleryManifest
from deepfood.local.snapshot import Snapshot, Stamp, open_store, stamp_of
from deepfood.local.store import Store


@dataclass(frozen=True)
class _Pending:
    """What the manifest names now, and is still being opened: a new index, or a generation."""

    stamp: Stamp
    manifest: GalleryManifest
    store: Store

    def says_the_same(self, generation: int) -> bool:
        """As an earlier generation: a new index does, and a new generation until it is changed."""
        return generation == self.manifest.generation or (
            self.manifest.took_over == (generation, self.store.seq())
        )


class Follower:
    """The newest Snapshot of a gallery; many threads may ask for it. It is in one of four states.

    current: the manifest names what is open.
    pending: the manifest names something newer, which a thread opens. Searches go on with what is
    open for as long as that says the same.
    failed: what is newer could not be opened. The next search tries it itself, and says why not.
    superseded: the gallery has another Model by now. What is open stays, for the queries come from
    its Model.
    """

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self.folder = folder
        self.superseded = False
        self._snapshot = snapshot
        #: Held while `_snapshot` or `_pending` is replaced: for milliseconds.
        self._replacing = threading.Lock()
        #: Held while something is opened, for as long as that takes.
        self._opening = threading.Lock()
        self._opener: threading.Thread | None = None
        self._pending: _Pending | None = None
        self._failed: Stamp | None = None

    @property
    def snapshot(self) -> Snapshot:
        """What is open, whatever has changed since."""
        return self._snapshot

    def refresh(self) -> Snapshot:
        """What there is to see now; a few microseconds where nothing has changed."""
        try:
            if self._is_current():
                return self._with_new_changes()
            now, pending = self._open_in_background()
            if pending is None or (
                pending.stamp != self._failed and pending.says_the_same(now.manifest.generation)
            ):
                return self._with_new_changes()
        except ArtifactError:
            pass  # replaced by a newer one in between, and deleted; or damaged, as will be seen
        return self.follow()

    def follow(self) -> Snapshot:
        """As `refresh`, and waits until what the manifest names now is open."""
        self._reload()
        return self._with_new_changes()

    def close(self) -> None:
        if self._opener is not None:  # what it opens would be left open
            self._opener.join()
        self._snapshot.store.close()

    def _is_current(self) -> bool:
        """Whether the manifest names what is open, or what this does not follow."""
        return self.superseded or stamp_of(self.folder) == self._snapshot.stamp

    def _reload(self) -> None:
        """Open what the manifest names, in this thread. Raises ArtifactError."""
        with self._opening:
            while not self._is_current():
                stamp = stamp_of(self.folder)
                try:
                    manifest = GalleryManifest.read(self.folder)
                    if self._supersedes(manifest):
                        break
                    store = open_store(self.folder, manifest)
                    newer = Snapshot.of(self.folder, stamp, manifest, store, contents=False)
                except ArtifactError:
                    if stamp_of(self.folder) == stamp:  # else a new generation came in between
                        raise
                else:
                    with self._replacing:
                        self._snapshot, self._pending = newer, None

    def _open_in_background(self) -> tuple[Snapshot, _Pending | None]:
        """What is open, and what a thread opens from now on, if anything is to be."""
        with self._replacing:
            now, stamp = self._snapshot, stamp_of(self.folder)
            if stamp == now.stamp:
                return now, None
            if self._pending is None or self._pending.stamp != stamp:
                manifest = GalleryManifest.read(self.folder)
                if self._supersedes(manifest):
                    return now, None
                self._pending = _Pending(stamp, manifest, open_store(self.folder, manifest))
                self._opener = threading.Thread(target=self._open, args=(stamp,), name="opening")
                self._opener.start()
            return now, self._pending

    def _open(self, stamp: Stamp) -> None:
        try:
            self._reload()
        except (DeepfoodError, OSError):
            self._failed = stamp  # the next search meets it, and says so

    def _supersedes(self, manifest: GalleryManifest) -> bool:
        self.superseded |= manifest.model_fingerprint != self._snapshot.manifest.model_fingerprint
        return self.superseded

    def _with_new_changes(self) -> Snapshot:
        """The open snapshot, with the changes that were committed since."""
        now = self._snapshot
        if now.store.seq() == now.seq:
            return now
        with self._replacing:
            self._snapshot = now = self._snapshot.with_new_changes()
            return now
