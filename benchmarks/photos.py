"""The photos to measure with: as they are, and at the usual size in catalogues."""

import io
import shutil
from dataclasses import dataclass
from pathlib import Path
from statistics import mean

from PIL import Image

from deepfood.data.ifct2017 import get_ifct2017
from deepfood.data.photos import list_photos

LONGEST = 512
_WANTED_BYTES = 50_000
_QUALITIES = (75, 80, 85, 88, 90, 92, 94, 96)


@dataclass(frozen=True)
class PhotoSet:
    """`folder` contains only the `files`."""

    name: str
    folder: Path
    files: tuple[Path, ...]

    @property
    def about(self) -> str:
        size = mean(file.stat().st_size for file in self.files) / 1000
        return f"{self.name}: {len(self.files)} JPEGs, {size:.1f} KB on average"


def photo_folder(named: Path | None, cache: Path) -> Path:
    """The folder that was named, or the photos of `deepfood data get ifct2017`."""
    return named or get_ifct2017(cache / "ifct2017")


def jpegs(folder: Path) -> list[Path]:
    source = list_photos(folder)
    paths = (Path(source.root.where(photo.file)) for photo in source.files)
    return [path for path in paths if path.suffix.lower() in (".jpg", ".jpeg")]


def photo_sets(folder: Path, work: Path, count: int) -> list[PhotoSet]:
    """Up to `count` photos of the folder, evenly spaced: as they are, and as 512-pixel JPEGs.

    The larger set is made by upscaling (Lanczos), at the JPEG quality that comes closest to 50 KB
    per photo. Its detail is artificial; its cost of reading and decoding is realistic.
    """
    found = jpegs(folder)
    step = max(1, len(found) / count)
    drawn = [found[int(i * step)] for i in range(min(count, len(found)))]
    quality = _quality_for(drawn[:: max(1, len(drawn) // 20)])
    plain, large = work / "plain", work / f"longest-{LONGEST}"
    for made in (plain, large):
        made.mkdir()
    for number, path in enumerate(drawn):
        shutil.copyfile(path, plain / f"{number:05}.jpg")
        (large / f"{number:05}.jpg").write_bytes(_upscaled(path, quality))
    return [
        PhotoSet("as they are", plain, tuple(sorted(plain.iterdir()))),
        PhotoSet(f"upscaled to {LONGEST} px", large, tuple(sorted(large.iterdir()))),
    ]


def _quality_for(paths: list[Path]) -> int:
    def distance(quality: int) -> float:
        return abs(mean(len(_upscaled(path, quality)) for path in paths) - _WANTED_BYTES)

    return min(_QUALITIES, key=distance)


def _upscaled(path: Path, quality: int) -> bytes:
    with Image.open(path) as image:
        photo = image.convert("RGB")
    scale = LONGEST / max(photo.size)
    size = (round(photo.width * scale), round(photo.height * scale))
    out = io.BytesIO()
    photo.resize(size, Image.Resampling.LANCZOS).save(out, "JPEG", quality=quality)
    return out.getvalue()
