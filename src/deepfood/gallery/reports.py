"""Reports of a build and of a change of Model."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from deepfood.gallery.embedding import Lost
from deepfood.gallery.photo import Skipped

#: The manifest class of an engine.
ManifestT = TypeVar("ManifestT")


@dataclass(frozen=True)
class PartsReport:
    """How many vectors of parts of photos a gallery has, and how they are kept."""

    vectors: int
    storage: str
    index: str


@dataclass(frozen=True)
class BuildReport(Generic[ManifestT]):
    """What a build did. `embedded` files were embedded now, `reused` ones earlier.

    `gone` are files of photos that the source lost and nobody removed; their manual edits are
    kept. `notes` are lines for people. `attributes` are table columns with new cells.
    `parts` are the dishes of photos of several, if they are kept; `parts_seconds` of the `seconds`
    went into them. `untuned`: the gallery was tuned, and is not any longer.
    """

    manifest: ManifestT
    count: int
    labels: int
    embedded: int
    reused: int
    skipped: tuple[Skipped, ...]
    seconds: float
    up_to_date: bool
    gone: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    parts: PartsReport | None = None
    parts_seconds: float = 0.0
    untuned: bool = False


@dataclass(frozen=True)
class Consent:
    """Permission for a build to lose photos, or to have none.

    `replace`: the gallery may get another source. `allow_loss`: more than half of its photos may
    go. `discard`: a manifest, catalogue and vectors that cannot be read may go. `empty`: no photo
    need be usable.
    """

    replace: bool = False
    allow_loss: bool = False
    discard: bool = False
    empty: bool = False


NOTHING_ASKED = Consent()


@dataclass(frozen=True)
class RenewReport(Generic[ManifestT]):
    """`made` vectors were embedded or copied now; `lost` photos are dropped.

    `swapped` is False where the vectors were only prepared, or nothing was to be done. `untuned`:
    the gallery was tuned, and is not any longer.
    """

    manifest: ManifestT
    count: int
    made: int
    lost: Lost
    seconds: float
    swapped: bool
    untuned: bool = False
