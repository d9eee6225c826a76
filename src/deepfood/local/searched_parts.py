"""The parts of photos as a search sees them: a photo is as similar as the best of its parts."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np

from deepfood.counted import counted
from deepfood.embed import Vectors
from deepfood.errors import ArtifactCorruptError
from deepfood.gallery.cursor import Scores
from deepfood.gallery.joined_parts import joined
from deepfood.gallery.photo import Photo
from deepfood.gallery.queries import best_of_all, similarity
from deepfood.index import INDEXES, Index, Mask, Rows, VectorFile
from deepfood.index.contract import best
from deepfood.local.manifest import LocalManifest
from deepfood.local.parts import StoredParts
from deepfood.local.store import Store
from deepfood.photo_box import Box

#: Scores of one vector that are computed in two ways differ by less.
_SAME = 1e-5


@dataclass(frozen=True)
class SearchedParts:
    """The parts' vectors, their index, and the photo that each is on.

    `owner` int64 [parts] is the row of that photo, -1 for none. `alive` bool [parts] is False for
    those whose photo is not there any more.
    """

    stored: StoredParts
    vectors: VectorFile
    index: Index
    owner: Rows
    alive: Mask

    @classmethod
    def open(cls, folder: Path, manifest: LocalManifest, store: Store, photos: Mask) -> Self:
        """Open those of a gallery; `photos` bool [rows] are not holes. Raises ArtifactError."""
        assert manifest.parts is not None
        about = manifest.parts
        stored = StoredParts(store, about.storage)
        vectors = stored.vectors()
        path = manifest.parts_index_path(folder)
        if about.covered > len(vectors):
            raise ArtifactCorruptError(
                f"{path} covers {counted(about.covered, 'vector')}, and there are "
                f"{len(vectors):,} of parts: run deepfood verify --repair"
            )
        index = INDEXES[about.index.kind].open(vectors, path, about.index, about.covered)
        nothing = np.empty(0, np.int64)
        view = cls(stored, vectors, index, nothing, np.empty(0, np.bool_))
        return view._with_owners(None, photos)

    def with_new_changes(self, seq: int, photos: Mask) -> Self:
        """These parts with the changes after number `seq`."""
        return self._with_owners(seq, photos)

    def _with_owners(self, since: int | None, photos: Mask) -> Self:
        found = self.stored.owners(since)
        vectors, index = self.vectors, self.index
        last = max((first + count for _, first, count in found), default=0)
        if last > len(vectors):
            vectors = self.stored.vectors()
            index = index.extended(vectors)
        if last > len(vectors):
            raise ArtifactCorruptError(
                f"{self.stored.path} has {counted(vectors, 'vector')} of parts, and "
                f"{last:,} are wanted: run deepfood verify --repair"
            )
        owner = np.full(len(vectors), -1, np.int64)
        owner[: len(self.owner)] = self.owner
        if since is not None and found:  # their parts may have been made again
            owner[np.isin(owner, [row for row, *_ in found])] = -1
        for row, first, count in found:
            owner[first : first + count] = row
        return replace(
            self, vectors=vectors, index=index, owner=owner, alive=_of_photos(owner, photos)
        )

    def joined(
        self, rows: Rows, scores: Scores, query: Vectors, count: int, photos: Mask | None
    ) -> tuple[Rows, Scores]:
        """The `count` best photos, by themselves or by one of their parts, best first.

        `rows` and `scores` are the `count` best by themselves, all where there are fewer. `photos`
        bool [rows of photos] are allowed, None for all.
        """
        allowed = self.alive if photos is None else self.alive & _of_photos(self.owner, photos)

        def nearest(most: int) -> tuple[Rows, Scores]:
            found = best_of_all(
                lambda vector, n: self.index.search(vector, n, allowed),
                self.vectors.take,
                query,
                most,
            )
            parts, of_parts = best(most, *found)
            return self.owner[parts], of_parts

        return joined(rows, scores, count, nearest)

    def boxes(
        self,
        photos: Mapping[int, Photo],
        found_with: Mapping[int, float],
        whole: VectorFile,
        query: Vectors,
    ) -> dict[int, Box]:
        """Of the photos by row, the box of the best part, where it is better than the whole.

        `found_with` are the scores in the answer: in a gallery that is tuned, that of the whole can
        be above its own similarity. `whole` are the vectors of photos. Raises ArtifactCorruptError.
        """
        found = {}
        entries = self.stored.of(photos.values())
        for row, photo in photos.items():
            entry = entries.get(photo.sha256)
            if entry is None or not entry.boxes or entry.rows[-1] >= len(self.vectors):
                continue
            scores = _similarities(self.vectors, entry.rows, query)
            own = _similarities(whole, np.array([row]), query)[0]
            if scores.max() > own and scores.max() > found_with[row] - _SAME:
                found[row] = entry.boxes[int(scores.argmax())]
        return found


def _of_photos(owner: Rows, photos: Mask) -> Mask:
    """Which parts are on one of these photos: bool [parts]."""
    known = (owner >= 0) & (owner < len(photos))
    known[known] = photos[owner[known]]
    return known


def _similarities(vectors: VectorFile, rows: Rows, query: Vectors) -> Scores:
    if query.ndim == 1:
        return vectors.scores_of(rows, query)
    return similarity(query, vectors.take(rows))
