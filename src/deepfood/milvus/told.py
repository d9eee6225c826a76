"""What rows are to say, by a fold of the journal."""

from collections.abc import Mapping
from dataclasses import replace

from deepfood.gallery.fold import Fold, ManualEdits
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import Value
from deepfood.milvus.about import Column

Told = tuple[Photo, Mapping[str, Value]]


def told(photo: Photo, fold: Fold) -> Told | None:
    """What a fold says of a photo that is there, and its attributes; None where it was removed."""
    said = fold[photo.sha256]
    if said.removed is not None:
        return None
    if said.added is not None:
        return said.added_photo(photo.sha256), said.attributes
    return said.apply_to(replace(photo, label_edited=False, name_edited=False)), said.attributes


def columns_of(fold: Fold) -> dict[str, Column]:
    """The declared attributes, as a manifest has them."""
    return {
        name: Column(type=one.type, safety=one.safety) for name, one in fold.definitions.items()
    }


def said_by(photo: Photo, attributes: Mapping[str, Value]) -> ManualEdits:
    """What was said of a photo, by its row."""
    return ManualEdits.from_photo(photo, attributes)
