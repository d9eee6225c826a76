"""A Successor: a Store that is to take the living one's place, with vectors of its own.

Which photos it holds follows from comparing it with the living catalogue by content (SHA-256). It
does not matter when it was begun, how often it was stopped, or what came and went meanwhile. What
people said of the photos comes from the journal.
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

#: Photos of either, told by their content.
_IN_BOTH = "FROM main.photos m JOIN living.photos l USING (sha256)"


@dataclass(frozen=True)
class Differences:
    """`lacking` are photos that only the living catalogue has; `gone` are rows of the Successor
    that it has no longer, and `changed` those of which it says something else, and what.
    """

    lacking: list[Photo]
    gone: list[int]
    changed: dict[int, Photo]


class Successor(FollowingStore):
    """Every method raises DiskFullError, and has then done nothing."""

    _fold: Fold | None = None
    #: Rows below have the attributes that `_fold` has.
    _followed = 0

    def differences(self, living: Store) -> Differences:
        """What the living catalogue says and this one does not; photos by living row.

        Photos that were lost to the living gallery, not removed from it, are not `gone`.
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
        """Say what the living gallery says of photos that have a vector here, attributes and all.

        `lost` are those that have none because they could not be read: they are noted as skipped,
        so that a Successor of this one knows that nobody removed them.
        """
        living.skipped()  # altered, it would be copied as if it were whole
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
        """Take over the attributes that the journal has; after the first time, only what is new.

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
        """The connection, with the living catalogue as `living` beside its own, `main`."""
        with self._locked() as db:
            db.execute("ATTACH ? AS living", (str(living.folder / CATALOGUE),))
            try:
                yield db
            finally:
                db.execute("DETACH living")
