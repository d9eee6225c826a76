"""The test set of an evaluation: labelled queries, and the labelled gallery that they search."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.root import Root
from deepfood.data.splits import query_files
from deepfood.embed import Embedder
from deepfood.errors import DatasetError
from deepfood.evaluate.metrics import Labels, Vectors
from deepfood.gallery.protocol import EveryPhoto, SearchedGallery
from deepfood.local.embedding_cache import embed_dataset

#: The sample size of leave-one-out; more queries hardly make the figures more precise.
MAX_QUERIES = 10_000


@dataclass(frozen=True)
class LabelledVectors:
    """Labelled photos below `root`: file, id and label of each; vectors float32 [n, dim]."""

    root: Root
    files: tuple[str, ...]
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    vectors: Vectors

    def select(self, rows: Sequence[int] | npt.NDArray[np.int64]) -> "LabelledVectors":
        return LabelledVectors(
            self.root,
            tuple(self.files[row] for row in rows),
            tuple(self.ids[row] for row in rows),
            tuple(self.labels[row] for row in rows),
            self.vectors[np.asarray(rows, np.int64)],
        )

    @cached_property
    def rows(self) -> dict[str, int]:
        """The row of each id."""
        return {photo_id: row for row, photo_id in enumerate(self.ids)}


@dataclass(frozen=True)
class Trial:
    """`queries` have labels that the gallery has too; the labels of `strangers` it lacks.

    `own_rows` int64 [q] is the gallery row with the query's own content, -1 where there is none:
    it is left out of that query's ranking. `names` are the gallery's labels, sorted; `notes` are
    lines for the user. `strangers` never have a row of their own.
    """

    gallery: LabelledVectors
    queries: LabelledVectors
    strangers: LabelledVectors
    own_rows: npt.NDArray[np.int64]
    names: tuple[str, ...]
    queries_from: str
    notes: tuple[str, ...]

    @cached_property
    def gallery_labels(self) -> Labels:
        return self._numbers(self.gallery)

    @cached_property
    def query_labels(self) -> Labels:
        return self._numbers(self.queries)

    def _numbers(self, photos: LabelledVectors) -> Labels:
        number = {name: i for i, name in enumerate(self.names)}
        return np.array([number[label] for label in photos.labels], np.int64)


def labelled_photos(
    gallery: SearchedGallery, every: EveryPhoto
) -> tuple[LabelledVectors, list[str]]:
    """The labelled ones of a gallery's photos, and notes on what was left out.

    Raises DatasetError.
    """
    photos, vectors, places = every
    rows = [row for row, photo in enumerate(photos) if photo.label]
    if not rows:
        raise DatasetError(
            f"{gallery.place} has no labels, so it is unknown which hits are right: build it from "
            "a folder of class folders, or from a CSV with a column label"
        )
    notes = []
    if bare := len(photos) - len(rows):
        notes.append(f"{counted(bare, 'photo has', 'photos have')} no label: left out")
    found = LabelledVectors(
        gallery.photos_root,
        tuple(photos[row].file for row in rows),
        tuple(photos[row].id for row in rows),
        tuple(photos[row].label or "" for row in rows),
        vectors.take(places[rows]),
    )
    return found, notes


def query_photos(
    source: PhotoSource, embedder: Embedder, cache: Path, *, quiet: bool
) -> tuple[LabelledVectors, str, list[str]]:
    """The photos of `query_files`, embedded; where they are from, and notes on what was left out.

    Raises DatasetError.
    """
    chosen, split = query_files(source)
    origin = f"the {split} split of {source.root.name}" if split else f"all of {source.root.name}"
    notes = []
    if split is None and (bare := len(source.files) - len(chosen)):
        notes.append(f"{counted(bare, 'query photo has', 'query photos have')} no label: left out")
    embedded = embed_dataset(source, embedder, cache, files=chosen, quiet=quiet)
    if embedded.skipped:
        first = embedded.skipped[0]
        notes.append(
            f"{counted(embedded.skipped, 'query photo')} cannot be read: left out; the first, "
            f"{first.file}: {first.reason}"
        )
    photos = LabelledVectors(
        source.root,
        tuple(photo.stored for photo in embedded.files),
        tuple(photo_id(sha256) for sha256 in embedded.sha256),
        tuple(photo.label or "" for photo in embedded.files),
        embedded.vectors,
    )
    once = list(photos.rows.values())
    if copies := len(photos.ids) - len(once):
        about = counted(copies, "query photo is a copy", "query photos are copies")
        notes.append(f"{about} of others: left out")
        photos = photos.select(sorted(once))
    return photos, origin, notes


def leave_one_out(gallery: LabelledVectors, seed: int) -> tuple[LabelledVectors, str]:
    """The gallery's own photos as queries, each left out of its own ranking."""
    count = len(gallery.ids)
    if count <= MAX_QUERIES:
        return gallery, "the gallery's photos, each left out in turn"
    drawn = np.sort(np.random.default_rng(seed).permutation(count)[:MAX_QUERIES])
    return gallery.select(drawn), (
        f"{MAX_QUERIES:,} of the gallery's photos, drawn with seed {seed}, each left out in turn"
    )


def make_trial(
    gallery: LabelledVectors,
    queries: LabelledVectors,
    queries_from: str,
    notes: Sequence[str] = (),
    *,
    left_out_in_turn: bool = False,
) -> Trial:
    """Split the queries by whether the gallery has their label; find those that are in the gallery.

    `left_out_in_turn`: the queries are meant to be the gallery's own photos.
    Raises DatasetError where the gallery has none of the queries' labels.
    """
    all_notes = list(notes)
    names = sorted(set(gallery.labels))
    has = set(names)
    known = [row for row, label in enumerate(queries.labels) if label in has]
    strange = [row for row, label in enumerate(queries.labels) if label not in has]
    if not known:
        raise DatasetError(
            f"none of the {counted(set(queries.labels), 'label')} of the queries, "
            f"{queries.labels[0]!r} among them, is in the gallery: labels must be spelled the same"
        )
    asked = queries if not strange else queries.select(known)
    own_rows = np.array([gallery.rows.get(photo_id, -1) for photo_id in asked.ids], np.int64)
    # A stranger whose copy is in the gallery, under another label, is no new dish.
    strangers = queries.select([row for row in strange if queries.ids[row] not in gallery.rows])
    if strange:
        labels = sorted({queries.labels[row] for row in strange})
        all_notes.append(
            f"{counted(strange, 'query photo has a label', 'query photos have labels')} that the "
            f"gallery lacks ({len(labels)}, {labels[0]!r} among them): used for the out-of-gallery "
            "figures only"
        )
    leaked = int((own_rows >= 0).sum())
    if leaked and not left_out_in_turn:
        all_notes.append(
            f"leakage: {counted(leaked, 'query photo is', 'query photos are')} also in the "
            "gallery; each was left out of its own ranking"
        )
    return Trial(gallery, asked, strangers, own_rows, tuple(names), queries_from, tuple(all_notes))


def trained_on_note(queries: LabelledVectors, trained_on: frozenset[str], model: str) -> list[str]:
    """A warning where the Model has seen the queries, with their labels, before."""
    seen = sum(photo_id in trained_on for photo_id in queries.ids)
    if not seen:
        return []
    note = (
        f"warning: the Model {model} was trained on {seen} of the "
        f"{counted(queries.ids, 'query photo')}, so these figures flatter it: ask with photos that "
        "it has not seen"
    )
    return [note]


def as_source(photos: LabelledVectors) -> PhotoSource:
    """The photos as a dataset, to embed them with another Model."""
    return PhotoSource(
        photos.root,
        tuple(
            PhotoFile(file, label) for file, label in zip(photos.files, photos.labels, strict=True)
        ),
    )
