"""What a build, and what a change of Model, did to a gallery."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from deepfood.gallery.embedding import Lost
from deepfood.gallery.photo import Skipped

#: A gallery's, wherever it is.
ManifestT = TypeVar("ManifestT")


@dataclass(frozen=True)
class BuildReport(Generic[ManifestT]):
    """What a build did. `embedded` files were read now, `reused` ones had been before.

    `gone` are files of photos that the gallery held before and holds no longer, though nobody
    removed them; what was said of them is kept. `notes` are lines for people. `attributes`
    are columns of the source's table that said something new.
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


@dataclass(frozen=True)
class Consent:
    """What a build may do that loses photos: only what was asked for by name.

    `replace` a gallery by one of another source; drop more than half of its photos
    (`allow_loss`); `discard` a manifest, catalogue and vectors that cannot be read.
    """

    replace: bool = False
    allow_loss: bool = False
    discard: bool = False


NOTHING_ASKED = Consent()


@dataclass(frozen=True)
class RenewReport(Generic[ManifestT]):
    """`made` vectors were embedded (or copied) now; `lost` photos are let go.

    `swapped` is False where only the work was done, or there was nothing to do.
    """

    manifest: ManifestT
    count: int
    made: int
    lost: Lost
    seconds: float
    swapped: bool
