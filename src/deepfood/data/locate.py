"""From what a user names, a path or an s3:// URL, to the Root that is meant and a file in it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from deepfood.config import Settings
from deepfood.data.bucket import BucketRoot, stamp_of
from deepfood.data.passed_over import why_not_file
from deepfood.data.root import Folder, Root, path_of, text_of
from deepfood.errors import DatasetError, StorageMissingError, nearest
from deepfood.storage import AWS, Bucket, S3Options, is_remote


def locate(where: Path | str, s3: S3Options) -> tuple[Root, str]:
    """The Root of a folder or prefix, with ""; or that of a file's folder, with the file's name.

    Raises DatasetError where there is neither, SettingError for what is no bucket, and StorageError
    where a bucket cannot be read.
    """
    if is_remote(where):
        return _in_bucket(str(where), s3)
    path = Path(where)
    try:
        if path.is_dir():
            return Folder(path), ""
        if path.is_file():
            return Folder(path.parent), path.name
        if path.exists():
            raise DatasetError(f"{text_of(path)} is neither a folder nor a file")
    except OSError as error:
        raise DatasetError(f"{text_of(path)} cannot be read: {error.strerror}") from error
    raise DatasetError(
        f"there is no {text_of(path)}: give photos, a folder of photos, or a CSV that names them; "
        f"{nearest(path)}"
    )


def root_named(where: Path | str, s3: S3Options) -> Root:
    """The Root called `where`, there or not, as a gallery's manifest or a setting names it."""
    if is_remote(where):
        return BucketRoot(Bucket.open(where, s3))
    return Folder(where if isinstance(where, Path) else path_of(where))


@dataclass(frozen=True)
class PhotoAccess:
    """How to reach a gallery's photos: the S3 server, and where they are now if they have moved."""

    s3: S3Options = AWS
    moved_to: Path | str | None = None

    @classmethod
    def of(cls, settings: Settings) -> Self:
        return cls(S3Options.of(settings), settings.photos_root)

    def root(self, built_from: str) -> Root:
        """The photos' Root now; `built_from` is the one that the gallery's manifest names."""
        return root_named(self.moved_to or built_from, self.s3)


#: The photos are where the gallery was built from.
IN_PLACE = PhotoAccess()


def _in_bucket(url: str, s3: S3Options) -> tuple[Root, str]:
    whole = Bucket.open(url, s3)
    folder, _, name = whole.url.rpartition("/")
    if folder.count("/") > 1 and (name.lower().endswith(".csv") or not why_not_file(name)):
        above = Bucket.open(folder, s3)
        try:
            entry = above.entry(name)
        except StorageMissingError:
            return BucketRoot(whole), ""  # a folder may be called so too
        # One photo needs no list of what lies beside it.
        listing = {name: stamp_of(entry)} if not why_not_file(name) else None
        return BucketRoot(above, listing=listing), name
    return BucketRoot(whole), ""
