"""The facts of a photo according to a fold of the journal, which its row must equal."""

from collections.abc import Mapping
from dataclasses import replace

from deepfood.gallery.fold import Fold, ManualEdits
from deepfood.gallery.photo import Photo
from deepfood.gallery.values import Value
from deepfood.milvus.metadata import Column

#: A photo, and its attributes.
Facts = tuple[Photo, Mapping[str, Value]]


def facts_in(photo: Photo, fold: Fold) -> Facts | None:
    """The facts of a row's photo; None if it was removed."""
    edits = fold[photo.sha256]
    if edits.removed is not None:
        return None
    if edits.added is not None:
        return edits.added_photo(photo.sha256), edits.attributes
    return edits.apply_to(replace(photo, label_edited=False, name_edited=False)), edits.attributes


def columns_of(fold: Fold) -> dict[str, Column]:
    """The declared attributes in the manifest's form."""
    return {
        name: Column(type=one.type, safety=one.safety) for name, one in fold.definitions.items()
    }


def edits_in_row(photo: Photo, attributes: Mapping[str, Value]) -> ManualEdits:
    """The manual edits of a photo, from its row."""
    return ManualEdits.from_photo(photo, attributes)
