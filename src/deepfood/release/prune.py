"""Prune: delete old releases, and the blobs that no remaining release uses."""

from dataclasses import dataclass
from datetime import timedelta

from deepfood.config import Settings
from deepfood.errors import SettingError, StorageError
from deepfood.release.marks import marked
from deepfood.release.objects import BLOBS, LATEST, MARKS, Release, blob_key, release_key
from deepfood.release.shelf import Shelf

#: Objects deleted per request; the mark is checked in between.
_AT_ONCE = 1000


@dataclass(frozen=True)
class PruneReport:
    kept: list[str]
    dropped: list[str]
    blobs: int
    bytes: int


def prune(
    url: str, settings: Settings, *, keep: int, grace_s: float, dry_run: bool = False
) -> PruneReport:
    """Keep the `keep` newest releases, the latest and the one before it; delete the others.

    Blobs younger than `grace_s` seconds stay, for interrupted pushes. Raises StorageError, also
    during a push or promote.
    """
    if keep < 1:
        raise SettingError(f"--keep {keep}: keep 1 release at least")
    shelf = Shelf.open(url, settings)
    bucket = shelf.bucket
    with marked(bucket, "prune") as mark:
        releases = shelf.all()
        latest = shelf.latest()
        wanted = {one.name for one in releases[-keep:]}
        if latest:
            wanted |= {latest.release, *filter(None, [latest.before])}
        if latest and latest.release not in {one.name for one in releases}:
            raise StorageError(
                f"{bucket.place(LATEST)} names {latest.release}, which is not there: promote a "
                "release first, so that nothing is deleted that its copy would need"
            )
        kept = [one for one in releases if one.name in wanted]
        dropped = [one.name for one in releases if one.name not in wanted]
        needed = {key for one in kept for key in _blobs(shelf, one)}
        now = max(one.modified for one in bucket.list(MARKS))  # the server's clock
        unneeded = [
            one
            for one in bucket.list(BLOBS)
            if one.key not in needed and now - one.modified >= timedelta(seconds=grace_s)
        ]
        if not dry_run:
            if shelf.latest() != latest:
                raise StorageError(f"{bucket.place(LATEST)} has changed meanwhile: run prune again")
            # Releases first, so that existing releases are always complete.
            going = [*map(release_key, dropped), *(one.key for one in unneeded)]
            for start in range(0, len(going), _AT_ONCE):
                mark.check()
                bucket.delete(*going[start : start + _AT_ONCE])
    size = sum(one.bytes for one in unneeded)
    return PruneReport([one.name for one in kept], dropped, len(unneeded), size)


def _blobs(shelf: Shelf, release: Release) -> set[str]:
    files = [*release.files.values(), *filter(None, [release.photos])]
    chunks = {chunk for one in files for chunk in one.chunks}
    return {blob_key(one) for one in (*chunks, *shelf.photos(release))}
