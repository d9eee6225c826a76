"""A Successor: a Store with vectors of its own that will replace the living one.

It is compared with the living catalogue by content (SHA-256), so that it does not matter when it
was begun, how often it was stopped, or what was added and removed meanwhile. Manual edits come from
the journal.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deepfood.gallery.fold import Fold, touched
from deepfood.gallery.photo import PHOTO_FIELDS, UNREADABLE, Photo, unreadable
from deepfood.local.checkpoints import fold_of
from deepfood.local.following_store import FollowingStore
from deepfood.local.journal import Journal
from deepfood.local.store import CATALOGUE, Store

_CHANGED = " OR ".join(f"m.{name} IS NOT l.{name}" for name in PHOTO_FIELDS)

#: Photos of both catalogues, joined by content.
_IN_BOTH = "FROM main.photos m JOIN living.photos l USING (sha256)"


@dataclass(frozen=True)
class Differences:
    """What the Successor must change to equal the living catalogue.

    `lacking` are the photos to embed, `gone` the rows to remove, `changed` the rows to update, with
    their new photos.
    """

    lacking: list[Photo]
    gone: list[int]
    changed: dict[int, Photo]


class LocalSuccessor(FollowingStore):
    """Every method may raise DiskFullError; it has then changed nothing."""

    _fold: Fold | None = None
    #: Rows below have the attributes of `_fold`.
    _followed = 0

    def differences(self, living: Store) -> Differences:
        """Compare with the living catalogue; photos in the order of its rows.

        Photos that the living gallery lost, as they could not be read, are not `gone`.
        """
        with self._beside(living) as db:
            lacking = db.execute(
                "SELECT row FROM living.photos l WHERE NOT EXISTS "
                "(SELECT 1 FROM main.photos m WHERE m.sha256 = l.sha256) ORDER BY row"
            ).fetchall()
            gone = db.execute(
                "SELECT row FROM main.photos m WHERE NOT EXISTS "
                "(SELECT 1 FROM living.photos l WHERE l.sha256 = m.sha256) AND NOT EXISTS "
                "(SELECT 1 FROM living.skipped s WHERE s.same_as = m.sha256 AND s.reason = ?)",
                (UNREADABLE,),
            ).fetchall()
            changed = dict(
                db.execute(f"SELECT m.row, l.row {_IN_BOTH} WHERE {_CHANGED}").fetchall()
            )
        photos = living.at([*(row for (row,) in lacking), *changed.values()])
        return Differences(
            [photos[row] for (row,) in lacking if row in photos],
            [row for (row,) in gone],
            {mine: photos[row] for mine, row in changed.items() if row in photos},
        )

    def follow(self, living: Store, journal: Journal, lost: Sequence[Photo] = ()) -> None:
        """Take over the living catalogue for photos with a vector here, attributes included.

        `lost` are the photos that could not be read. They are noted as skipped, so that a Successor
        of this one knows that nobody removed them.
        """
        living.skipped()  # refuses an altered table, which would be copied below
        differences = self.differences(living)
        self.make_holes(differences.gone)
        self.update(differences.changed)
        with self._beside(living) as db, db:
            db.execute("DELETE FROM main.skipped")
            db.execute(
                "INSERT INTO main.skipped SELECT * FROM living.skipped s WHERE reason <> ? OR "
                "NOT EXISTS (SELECT 1 FROM main.photos m WHERE m.sha256 = s.same_as)",
                (UNREADABLE,),
            )
        self.follow_edits(journal)
        self.note_skipped(unreadable(photo) for photo in lost)

    def follow_edits(self, journal: Journal) -> Fold:
        """Apply the attributes in the journal; after the first call, only new ones.

        Returns the journal's fold. Raises ArtifactCorruptError where it is damaged.
        """
        if self._fold is None:
            self._fold = fold_of(journal)
            self.apply_fold(self._fold)
        else:
            news: set[str] = set()
            for record in journal.records(self._fold.head):
                self._fold.apply(record, journal)
                news |= touched(record, journal)
            self.apply_fold(self._fold, news, self._followed)
        self._followed = self.next_row()
        return self._fold

    @contextmanager
    def _beside(self, living: Store) -> Iterator[sqlite3.Connection]:
        """The connection, with the living catalogue attached as `living`."""
        with self._locked() as db:
            db.execute("ATTACH ? AS living", (str(living.folder / CATALOGUE),))
            try:
                yield db
            finally:
                db.execute("DETACH living")
