"""Turn a gallery of format 1, which had no journal, into records of a journal."""

import hashlib
from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Any

from deepfood.data.root import Root
from deepfood.errors import DeepfoodError
from deepfood.gallery.photo import REMOVED, Photo, Skipped
from deepfood.gallery.record import Kind
from deepfood.gallery.values import Value

#: Photos in one record.
BATCH = 500


def contents_of_removed(
    skipped: Iterable[Skipped], there: Container[str], root: Root
) -> tuple[dict[str, str], list[str]]:
    """SHA-256 of removed files, by name, and a line about each that is not found.

    Format 1 did not store it. A file whose content is `there`, under another name or as an added
    photo, is in neither.
    """
    found, gone = {}, []
    for one in skipped:
        if one.reason != REMOVED:
            continue
        try:
            same = root.stamp(one.file) == (one.bytes, one.modified_ns)
            data = root.read(one.file, lambda size: None) if same else None
        except DeepfoodError:
            data = None
        if data is None:
            gone.append(
                f"{one.file} was removed, and is not below {root} as it was then: it stays out by "
                "its name alone"
            )
        elif (sha256 := hashlib.sha256(data).hexdigest()) not in there:
            found[one.file] = sha256
    return found, gone


def records_of_format1(
    photos: Iterable[Photo],
    definitions: Mapping[str, Mapping[str, Any]],
    values: Mapping[str, Mapping[str, Value]],
    removed: Iterable[Skipped],
    write_table: Callable[[Mapping[str, Mapping[str, Value]]], str],
) -> Iterator[tuple[Kind, Mapping[str, Any]]]:
    """Records of attributes (by SHA-256), texts set by hand, and removals.

    `removed` holds the content of each removed file. Format 1 had one flag for both texts.
    """
    if values:
        table = write_table(values)
        yield "import", {"table": table, "count": len(values), "attributes": definitions}
    edits = [
        {"sha256": photo.sha256, "label": photo.label, "name": photo.name}
        for photo in photos
        if photo.label_edited
    ]
    removals = [
        {
            "sha256": one.same_as,
            "file": one.file,
            "bytes": one.bytes,
            "modified_ns": one.modified_ns,
            "added": False,
        }
        for one in removed
    ]
    for start in range(0, len(edits), BATCH):
        yield "update", {"photos": edits[start : start + BATCH]}
    for start in range(0, len(removals), BATCH):
        yield "remove", {"photos": removals[start : start + BATCH]}
