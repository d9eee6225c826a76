"""Queries whose near copy is in the gallery: an easy hit, which flatters the figures.

The very same photo is found by its id, and left out of its own ranking (`trial.make_trial`).
"""

from deepfood.counted import counted
from deepfood.data.duplicates import fingerprints, near_pairs
from deepfood.data.each_photo import Unreadable
from deepfood.data.leakage import NEAR_PHOTOS, not_looked_for
from deepfood.data.photo_file import PhotoFile
from deepfood.evaluate.trial import LabelledVectors
from deepfood.photo import Limits


def near_copy_notes(
    asked: LabelledVectors,
    gallery: LabelledVectors,
    limits: Limits,
    *,
    quiet: bool,
    near_photos: int = NEAR_PHOTOS,
) -> list[str]:
    """A line for the user where queries have near copies in the gallery; photos of both may be one.

    Decodes every photo; beyond `near_photos` photos, a line notes that the check was skipped.
    """
    located = {
        (photos.root, file): (photos.root, PhotoFile(file))
        for photos in (asked, gallery)
        for file in photos.files
    }
    if len(located) > near_photos:
        return [not_looked_for(len(located), near_photos)]
    taken = fingerprints(list(located.values()), limits, quiet=quiet)
    prints = dict(zip(located, taken, strict=True))
    own, others = (
        [
            one
            for file in photos.files
            if not isinstance(one := prints[photos.root, file], Unreadable)
        ]
        for photos in (asked, gallery)
    )
    notes = []
    if unreadable := [one for one in prints.values() if isinstance(one, Unreadable)]:
        first = unreadable[0]
        notes.append(
            f"near copies were not looked for among {counted(unreadable, 'photo')} that cannot be "
            f"read; the first, {first.file.file}: {first.reason}"
        )
    twins = {one.file.file: other.file.file for one, other in near_pairs(own, others)}
    if twins:
        query, twin = next(iter(twins.items()))
        notes.append(
            f"leakage: the gallery has near copies of {len(twins)} of the {len(asked.ids)} query "
            f"photos ({query!r} is nearly {twin!r}): figures flatter"
        )
    return notes
