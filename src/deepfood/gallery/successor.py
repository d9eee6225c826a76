"""A Successor: a Store that is to take the living one's place, with vectors of its own.

It is brought to say what the living catalogue says by comparing the two by content (SHA-256). No
log is needed for that: it does not matter when it was begun, how often it was stopped, or what was
added, removed and updated meanwhile.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from deepfood.gallery.entry import PHOTO_FIELDS, Photo, Skipped
from deepfood.gallery.growing_store import GrowingStore
from deepfood.gallery.store import CATALOGUE, Store

#: Why a photo of the living gallery has no vector of the new Model.
UNREADABLE = "its photo could not be read when the gallery was embedded again"

_CHANGED = " OR ".join(f"m.{name} IS NOT l.{name}" for name in PHOTO_FIELDS)

#: Photos of either, told by their content.
_IN_BOTH = "FROM main.photos m JOIN living.photos l USING (sha256)"


#: Photos of which the two say different attributes, and their rows in the living catalogue.
_UNLIKE = (
    f"SELECT m.row, l.row {_IN_BOTH} WHERE EXISTS ("  # noqa: S608
    "SELECT 1 FROM living.attribute_values v LEFT JOIN main.attribute_values w "
    "ON w.row = m.row AND w.attribute = v.attribute WHERE v.row = l.row AND w.value IS NOT v.value"
    ") OR EXISTS ("
    "SELECT 1 FROM main.attribute_values w WHERE w.row = m.row AND NOT EXISTS ("
    "SELECT 1 FROM living.attribute_values v WHERE v.row = l.row AND v.attribute = w.attribute))"
)


@dataclass(frozen=True)
class Differences:
    """`lacking` are photos that only the living catalogue has; `gone` are rows of the Successor
    that it has no longer, and `changed` those of which it says something else, and what.
    """

    lacking: list[Photo]
    gone: list[int]
    changed: dict[int, Photo]


class Successor(GrowingStore):
    """Every method raises DiskFullError, and has then done nothing."""

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
        said = living.at([*(row for (row,) in lacking), *changed.values()])
        return Differences(
            [said[row] for (row,) in lacking if row in said],
            [row for (row,) in gone],
            {mine: said[row] for mine, row in changed.items() if row in said},
        )

    def follow(self, living: Store, lost: Sequence[Photo] = ()) -> None:
        """Say what the living catalogue says of photos that have a vector here, attributes and all.

        `lost` are those that have none because they could not be read: they are noted as skipped,
        so that a Successor of this one knows that nobody removed them.
        """
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
        self.follow_attributes(living)
        self.note_skipped(unreadable(photo) for photo in lost)

    def follow_attributes(self, living: Store) -> None:
        """Take over the attributes of photos that are in both; only what differs is written.

        They have the same numbers in both: either catalogue began as a copy of the other, and
        attributes are never deleted. A value that is altered is left out: unknown is safe.
        """
        with self._beside(living) as db, db:
            db.execute("INSERT OR REPLACE INTO main.attributes SELECT * FROM living.attributes")
            declared = self.attributes.declared()
            for mine, row in db.execute(_UNLIKE).fetchall():
                self.attributes.forget(mine)
                for name, value in living.attributes.read(row).items():
                    self.attributes.put(mine, declared[name], value)

    @contextmanager
    def _beside(self, living: Store) -> Iterator[sqlite3.Connection]:
        """The connection, with the living catalogue as `living` beside its own, `main`."""
        with self._locked() as db:
            db.execute("ATTACH ? AS living", (str(living.folder / CATALOGUE),))
            try:
                yield db
            finally:
                db.execute("DETACH living")


def unreadable(photo: Photo) -> Skipped:
    """What is noted of a photo that has no vector of the new Model."""
    # The size and time of a file that cannot be seen: a build looks at it again once it can be.
    file = f"photos/{photo.sha256}" if photo.added else photo.file
    return Skipped(file, UNREADABLE, -1, -1, same_as=photo.sha256)
