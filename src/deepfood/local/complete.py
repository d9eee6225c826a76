"""What the shell completes from a gallery's catalogue: ids, files, labels and attributes."""

from contextlib import closing
from pathlib import Path
from typing import Literal

from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.gallery.values import BUILT_IN
from deepfood.local.manifest import LocalManifest
from deepfood.local.store import Store

#: A text and what it is, for shells that show both.
Candidate = tuple[str, str]
#: What may be completed; `photo` is an id or a file, `column` an attribute or what every photo has.
Completed = Literal["id", "photo", "label", "attribute", "column"]

#: More candidates would not be read.
MOST = 30

#: Sorts after every text that begins with the same characters.
_LAST = "\U0010ffff"


def candidates(gallery: Path, what: Completed, begun: str) -> list[Candidate]:
    """Texts that begin as `begun`. Reads nothing but the catalogue. Raises ArtifactError."""
    manifest = LocalManifest.read(gallery)
    folder = manifest.folder(gallery)
    with closing(Store.open(folder, manifest.dimension, manifest.storage)) as store:
        match what:
            case "id":
                return _ids(store, begun)
            case "photo":
                return _ids(store, begun) + (_files(store, begun) if begun else [])
            case "label":
                return _labels(store, begun)
            case "attribute":
                return _attributes(store, begun)
        texts = [(name, "text") for name in BUILT_IN if name.startswith(begun)]
        return texts + _attributes(store, begun)


def _ids(store: Store, begun: str) -> list[Candidate]:
    rows = _photos(store, "sha256", begun)
    return [(photo_id(sha256), name or label or file) for sha256, file, label, name in rows]


def _files(store: Store, begun: str) -> list[Candidate]:
    rows = _photos(store, "file", begun)
    return [(file, name or label or "") for _, file, label, name in rows]


def _labels(store: Store, begun: str) -> list[Candidate]:
    """Labels that begin so in any case, the most frequent first."""
    fitting = [
        (label, count)
        for label, _, count in store.words.label_counts()
        if label.casefold().startswith(begun.casefold())
    ]
    fitting.sort(key=lambda one: (-one[1], one[0]))
    shown = fitting[:MOST]
    if len(fitting) > MOST:
        # Shells insert what all candidates have in common, so the outermost must be among them.
        shown += [one for one in (min(fitting), max(fitting)) if one not in shown]
    return [(label, counted(count, "photo")) for label, count in shown]


def _attributes(store: Store, begun: str) -> list[Candidate]:
    declared = store.attributes.declared().values()
    return [(one.name, one.type) for one in declared if one.name.startswith(begun.lower())]


def _photos(store: Store, column: str, begun: str) -> list[tuple[str, str, str | None, str | None]]:
    """SHA-256, file, label and name of photos whose `column` begins so, in its order.

    Of many, the first ones and the last: what these have in common, all have.
    """
    sql = (
        f"SELECT sha256, file, label, name FROM photos WHERE {column} >= ? AND {column} < ? "  # noqa: S608
        f"ORDER BY {column}"
    )
    within = (begun, begun + _LAST)
    with store.attributes.asking():
        rows = store.attributes.db.execute(f"{sql} LIMIT ?", (*within, MOST)).fetchall()
        if len(rows) == MOST:
            rows += store.attributes.db.execute(f"{sql} DESC LIMIT 1", within).fetchall()
    return list(dict.fromkeys(rows))
