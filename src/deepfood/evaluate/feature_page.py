"""All features on one self-contained page: its pictures, data, style and script are in the file."""

import base64
import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from deepfood.counted import counted
from deepfood.evaluate.features import Feature
from deepfood.evaluate.thumbs import Thumbs
from deepfood.gallery.protocol import SearchedGallery

#: Bytes of pictures in the page, as data URLs, that a phone can still open.
MAX_PICTURE_BYTES = 16 * 2**20

_HERE = Path(__file__).parent


def feature_page(
    gallery: SearchedGallery,
    features: Sequence[Feature],
    thumbs: Thumbs,
    *,
    lowest: bool = False,
    max_picture_bytes: int = MAX_PICTURE_BYTES,
) -> tuple[str, int]:
    """The page as HTML, and how many photos it leaves out to stay within `max_picture_bytes`.

    Every feature's first photo comes before any feature's second, so each keeps its best ones.
    """
    places: dict[str, int] = {}
    pictures: list[list[str | None]] = []
    used = 0
    left_out: set[str] = set()
    for rank in range(max(len(feature.photos) for feature in features)):
        for feature in features:
            for one in feature.photos[rank : rank + 1]:
                photo = one.photo
                if photo.id in places or photo.id in left_out:
                    continue
                url = thumbs.data_url(photo)
                if used + len(url) > max_picture_bytes:
                    left_out.add(photo.id)
                    continue
                used += len(url)
                places[photo.id] = len(pictures)
                pictures.append([url, photo.name or photo.file, photo.label])
    about = gallery.manifest
    which = "lowest" if lowest else "highest"
    data = {
        "about": f"For each number of the embedding ({about.model_name}), the photos of "
        f"{Path(gallery.place).name} with the {which} value, out of {gallery.count:,}.",
        "left_out": f"{counted(left_out, 'photo is', 'photos are')} left out, to keep this page "
        "small enough to open"
        if left_out
        else "",
        "photos": pictures,
        "features": [_row(feature, places) for feature in features],
    }
    script = (_HERE / "features.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = (_HERE / "features.html").read_text(encoding="utf-8")
    page = page.replace("{{script-hash}}", f"sha256-{digest}").replace("{{script}}", script)
    # Last, and with no "<" in it: names and labels are text, whatever they hold.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return page.replace("{{data}}", text), len(left_out)


def _row(feature: Feature, places: dict[str, int]) -> dict[str, Any]:
    return {
        "number": feature.number,
        "label": feature.label,
        "purity": feature.purity,
        "contrast": round(feature.contrast, 3),
        "mean": round(feature.mean, 5),
        "spread": round(feature.spread, 6),
        "photos": [
            [places[one.photo.id], round(one.value, 4)]
            for one in feature.photos
            if one.photo.id in places
        ],
    }
