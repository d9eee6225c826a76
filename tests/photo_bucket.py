"""Folders as prefixes of a bucket."""

from pathlib import Path

from deepfood.config import load_settings
from deepfood.storage import Bucket


def bucket(url: str) -> Bucket:
    return Bucket.open(url, load_settings())


def upload(folder: Path, url: str) -> str:
    """Write every file of a folder below `url`; `url`."""
    there = bucket(url)
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            there.write(path.relative_to(folder).as_posix(), path.read_bytes())
    return url
