"""Follow a gallery that others change: each search gets a snapshot of all acknowledged changes."""

import threading
from dataclasses import dataclass
from pathlib import Path

from deepfood.errors import ArtifactError, DeepfoodError
from deepfood.local.manifest import LocalManifest
from deepfood.local.snapshot import ManifestStamp, Snapshot, manifest_stamp, open_store
from deepfood.local.store import Store


@dataclass(frozen=True)
class _Pending:
    """What the manifest names now and a thread still opens: a new index or generation."""

    stamp: ManifestStamp
    manifest: LocalManifest
    store: Store

    def says_the_same(self, generation: int) -> bool:
        """Whether it equals an earlier generation: an index does; a generation until changed."""
        return generation == self.manifest.generation or (
            self.manifest.took_over == (generation, self.store.seq())
        )


class SnapshotFollower:
    """The newest Snapshot of a gallery, for many threads. It is in one of four states.

    current: the manifest names the open snapshot.
    pending: the manifest names a newer one, which a thread opens. Searches use the open one for as
    long as both hold the same photos.
    failed: the newer one could not be opened. The next search tries again, and raises the error.
    superseded: the gallery has another Model now. The open snapshot stays, as queries come from its
    Model.
    """

    def __init__(self, folder: Path, snapshot: Snapshot) -> None:
        self.folder = folder
        self.superseded = False
        self._snapshot = snapshot
        #: Held for milliseconds, while `_snapshot` or `_pending` is replaced.
        self._replacing = threading.Lock()
        #: Held for as long as a snapshot is being opened.
        self._opening = threading.Lock()
        self._opener: threading.Thread | None = None
        self._pending: _Pending | None = None
        self._failed: ManifestStamp | None = None

    @property
    def snapshot(self) -> Snapshot:
        """The open snapshot, whatever has changed since."""
        return self._snapshot

    def refresh(self) -> Snapshot:
        """The current snapshot. Takes microseconds where nothing has changed."""
        try:
            if self._is_current():
                return self._with_new_changes()
            now, pending = self._open_in_background()
            if pending is None or (
                pending.stamp != self._failed and pending.says_the_same(now.manifest.generation)
            ):
                return self._with_new_changes()
        except ArtifactError:
            pass  # replaced by a newer one and deleted, or damaged: `follow` raises
        return self.follow()

    def follow(self) -> Snapshot:
        """As `refresh`, but wait until the snapshot that the manifest names is open."""
        self._reload()
        return self._with_new_changes()

    def close(self) -> None:
        if self._opener is not None:  # else its snapshot would be left open
            self._opener.join()
        self._snapshot.store.close()

    def _is_current(self) -> bool:
        """Whether the manifest names the open snapshot, or one that is not followed."""
        return self.superseded or manifest_stamp(self.folder) == self._snapshot.stamp

    def _reload(self) -> None:
        """Open the snapshot that the manifest names, in this thread. Raises ArtifactError."""
        with self._opening:
            while not self._is_current():
                stamp = manifest_stamp(self.folder)
                try:
                    manifest = LocalManifest.read(self.folder)
                    if self._supersedes(manifest):
                        break
                    store = open_store(self.folder, manifest)
                    newer = Snapshot.of(self.folder, stamp, manifest, store, contents=False)
                except ArtifactError:
                    if (
                        manifest_stamp(self.folder) == stamp
                    ):  # else a new generation came in between
                        raise
                else:
                    with self._replacing:
                        self._snapshot, self._pending = newer, None

    def _open_in_background(self) -> tuple[Snapshot, _Pending | None]:
        """The open snapshot, and what a thread now opens, if anything."""
        with self._replacing:
            now, stamp = self._snapshot, manifest_stamp(self.folder)
            if stamp == now.stamp:
                return now, None
            if self._pending is None or self._pending.stamp != stamp:
                manifest = LocalManifest.read(self.folder)
                if self._supersedes(manifest):
                    return now, None
                self._pending = _Pending(stamp, manifest, open_store(self.folder, manifest))
                self._opener = threading.Thread(target=self._open, args=(stamp,), name="opening")
                self._opener.start()
            return now, self._pending

    def _open(self, stamp: ManifestStamp) -> None:
        try:
            self._reload()
        except (DeepfoodError, OSError):
            self._failed = stamp  # the next search tries again, and raises

    def _supersedes(self, manifest: LocalManifest) -> bool:
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
