"""`engine_at` gives the engine of a gallery by its place: the only switch between engines."""

import os
from pathlib import Path

from deepfood.config import Settings
from deepfood.extras import missing_extra
from deepfood.gallery.engine import Engine
from deepfood.local.engine import LocalEngine
from deepfood.milvus.address import MilvusAddress
from deepfood.place import Place
from deepfood.release.engine import ReleaseEngine


def engine_at(place: Place | str | os.PathLike[str], settings: Settings) -> Engine:
    """What answers for the gallery at a place.

    Raises SettingError for a place that is none, or MissingExtraError where Milvus needs pymilvus.
    """
    place = Place.parse(place)
    if place.kind == "folder":
        return LocalEngine(Path(place.text), settings)
    if place.kind == "release":
        return ReleaseEngine(place.text, settings)
    try:
        from deepfood.milvus.engine import MilvusEngine
    except ImportError as error:
        raise missing_extra("galleries on Milvus need pymilvus", "milvus") from error
    return MilvusEngine(MilvusAddress.parse(place.text), settings)
