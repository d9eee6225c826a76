"""Galleries to push, and what a pulled one must be."""

import json
from pathlib import Path

import pytest

from deepfood.config import Settings, load_settings
from deepfood.data.locate import IN_PLACE, PhotoAccess
from deepfood.local import LocalGallery
from deepfood.local.verify import gallery_problems
from deepfood.release import fetch, objects, push


def settings() -> Settings:
    """As a command would read them now."""
    return load_settings()


def photos_of(gallery: Path) -> dict[str, tuple[str, bytes]]:
    """What a gallery says of each photo by id, and its bytes."""
    with LocalGallery.open(gallery) as opened:
        return {one.id: (one.file, opened.read(one)) for one in opened.photos()[0]}


def assert_whole(gallery: Path, photos: PhotoAccess = IN_PLACE) -> None:
    assert list(gallery_problems(gallery, photos, quiet=True)) == []


def small_chunks(patch: pytest.MonkeyPatch, size: int = 4096) -> None:
    """Files of a few KiB then travel in many pieces, as large ones do in 8 MiB."""
    for module in (objects, push, fetch):
        patch.setattr(module, "CHUNK_BYTES", size)


def out_of(capsys: pytest.CaptureFixture[str]) -> object:
    return json.loads(capsys.readouterr().out)
