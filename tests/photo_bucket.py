"""Folders as prefixes of a bucket."""

from pathlib import Path

from deepfood.config import load_settings
from deepfood.data.locate import PhotoAccess
from deepfood.storage import Bucket, S3Options


def s3() -> S3Options:
    """The S3 server of the test, as a command would read it now."""
    return S3Options.of(load_settings())


def photo_access() -> PhotoAccess:
    return PhotoAccess.of(load_settings())


def bucket(url: str) -> Bucket:
    return Bucket.open(url, s3())


def upload(folder: Path, url: str) -> str:
    """Write every file of a folder below `url`; `url`."""
    there = bucket(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            there.write(path.relative_to(folder).as_posix(), path.read_bytes())
    return url
