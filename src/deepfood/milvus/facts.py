"""The facts of a photo, by a fold of the journal: what its row is brought to say."""

from collections.abc import Mapping
from dataclasses import replace

from deepfood.gallery.fold import Fold, ManualEdits
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import Value
from deepfood.milvus.metadata import Column

#: A photo, and its attributes.
Facts = tuple[Photo, Mapping[str, Value]]


def facts_in(photo: Photo, fold: Fold) -> Facts | None:
    """The facts of a photo that a row has; None if it was removed."""
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


def said_in_row(photo: Photo, attributes: Mapping[str, Value]) -> ManualEdits:
    """What was said of a photo, by its row."""
    return ManualEdits.from_photo(photo, attributes)
