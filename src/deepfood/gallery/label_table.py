"""Tables of labels: written to be looked through, and read back as labels."""

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

from deepfood.data.root import Folder
from deepfood.data.tables import Row, clean_label, expect_cells, read_rows
from deepfood.errors import DatasetError
from deepfood.gallery.curation import Curation
from deepfood.gallery.photo import Photo
from deepfood.gallery.zero_shot import LabelAnswer

_COLUMNS = ("id", "file", "label", "probability", "verdict")
_CURATED = ("id", "file", "label", "old_label", "reason", "margin", "votes")


def labels_csv(guessed: Iterable[tuple[Photo, LabelAnswer]]) -> bytes:
    """A row a photo: the best name as its label, none where the verdict is `none`."""
    out = io.StringIO()
    table = csv.writer(out, lineterminator="\n")
    table.writerow(_COLUMNS)
    for photo, answer in guessed:
        best = answer.guesses[0]
        label = "" if answer.verdict == "none" else best.label
        sure = "" if best.probability is None else f"{best.probability:.3f}"
        table.writerow([photo.id, photo.file, label, sure, answer.verdict or ""])
    return out.getvalue().encode("utf-8", "backslashreplace")


def curation_csv(found: Curation, most: int | None = None) -> bytes:
    """A row a photo that is worth a look, at most `most` of each kind, and in `reason` why.

    `label` is the suggested label where the photo's own is likely wrong, else empty: a person may
    fill it in.
    """
    rows: dict[str, dict[str, str]] = {}

    def note(photo: Photo, reason: str, **more: str) -> None:
        row = rows.setdefault(
            photo.id, {"id": photo.id, "file": photo.file, "old_label": photo.label or ""}
        )
        row["reason"] = f"{row['reason']}; {reason}" if "reason" in row else reason
        row.update(more)

    for one in found.doubtful[:most]:
        votes = f"{one.agreeing} of {one.voters}"
        margin = f"{one.margin:.3f}"
        note(one.photo, "label may be wrong", label=one.suggested, margin=margin, votes=votes)
    for conflict in found.conflicts[:most]:
        for photo, other in (conflict.photos, conflict.photos[::-1]):
            note(photo, f"near-copy of {other.id}, which is {other.label!r}")
    for outlier in found.outliers[:most]:
        note(outlier.photo, "far from all others")
    for unlabelled in found.to_label[:most]:
        guess = f": perhaps {unlabelled.guess!r}" if unlabelled.guess else ""
        note(unlabelled.photo, f"worth a label{guess}")
    out = io.StringIO()
    table = csv.DictWriter(out, _CURATED, restval="", lineterminator="\n")
    table.writeheader()
    table.writerows(rows.values())
    return out.getvalue().encode("utf-8", "backslashreplace")


def read_labels(path: Path) -> dict[str, str]:
    """The label of each photo by its id, of rows that have one.

    Raises DatasetError for a table without the columns `id` and `label`, or a photo with two.
    """
    rows = read_rows(Folder(path.parent), path.name)
    head = next(rows, None)
    titles = [title.lower() for title in head.cells] if head else []
    if not {"id", "label"} <= set(titles):
        raise DatasetError(f"{path} needs the columns id and label: it has {titles}")
    labels: dict[str, str] = {}
    for row, photo_id, label in _labelled(rows, titles):
        if labels.setdefault(photo_id, label) != label:
            raise DatasetError(f"{row.where}: photo {photo_id[:40]!r} has another label above")
    return labels


def _labelled(rows: Iterator[Row], titles: list[str]) -> Iterator[tuple[Row, str, str]]:
    for row in rows:
        expect_cells(row, len(titles))
        cells = dict(zip(titles, row.cells, strict=True))
        label = clean_label(cells["label"])
        if label is not None:
            yield row, cells["id"].strip(), label
