"""From what a user names, a path or an s3:// URL, to the Root that is meant and a file in it."""

from pathlib import Path

from deepfood.config import load_settings
from deepfood.data.bucket import BucketRoot, stamp_of
from deepfood.data.passed_over import why_not_file
from deepfood.data.root import Folder, Root, path_of, text_of
from deepfood.errors import DatasetError, StorageMissingError, nearest
from deepfood.storage import Bucket, is_remote


def locate(where: Path | str) -> tuple[Root, str]:
    """The Root of a folder or prefix, with ""; or that of a file's folder, with the file's name.

    Raises DatasetError where there is neither, SettingError for what is no bucket, and StorageError
    where a bucket cannot be read.
    """
    if is_remote(where):
        return _in_bucket(str(where))
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


def root_named(where: Path | str) -> Root:
    """The Root called `where`, there or not, as a gallery's manifest or a setting names it."""
    if is_remote(where):
        return BucketRoot(_open(str(where)))
    return Folder(where if isinstance(where, Path) else path_of(where))


def _in_bucket(url: str) -> tuple[Root, str]:
    whole = _open(url)
    folder, _, name = whole.url.rpartition("/")
    if folder.count("/") > 1 and (name.lower().endswith(".csv") or not why_not_file(name)):
        above = _open(folder)
        try:
            entry = above.entry(name)
        except StorageMissingError:
            return BucketRoot(whole), ""  # a folder may be called so too
        # One photo needs no list of what lies beside it.
        listing = {name: stamp_of(entry)} if not why_not_file(name) else None
        return BucketRoot(above, listing=listing), name
    return BucketRoot(whole), ""


def _open(url: str) -> Bucket:
    # Which S3 server is meant is the machine's affair, as AWS's own variables are, and no flag
    # says otherwise: so it is asked here, and not handed through everything that reads a photo.
    return Bucket.open(url, load_settings())
