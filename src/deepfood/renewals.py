"""Changes a gallery's Model, wherever it is: a folder, or a collection of Milvus."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deepfood.config import Settings
from deepfood.embed import Embedder, open_embedder
from deepfood.galleries import expect_pymilvus, open_on_milvus
from deepfood.gallery.protocol import SearchedGallery, SearchedVectors
from deepfood.gallery.reports import RenewReport
from deepfood.local import Gallery, GalleryManifest
from deepfood.local.renew import open_work
from deepfood.local.renew import reembed as reembed_folder
from deepfood.local.rollback import forget as forget_in_folder
from deepfood.local.rollback import rollback as rollback_folder
from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.model import Model

if TYPE_CHECKING:
    from deepfood.milvus.metadata import MilvusManifest


def reembed(
    place: Path | str,
    embedder: Embedder,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    swap: bool = True,
    quiet: bool = False,
) -> "RenewReport[GalleryManifest] | RenewReport[MilvusManifest]":
    """Embed a gallery's photos with another Model, and make the result the gallery."""
    said: dict[str, Any] = {"drop_unreadable": drop_unreadable, "swap": swap, "quiet": quiet}
    if not is_milvus(place):
        root = settings.photos_root
        return reembed_folder(Path(place), embedder, photos_root=root, **said)
    expect_pymilvus()
    from deepfood.milvus.renew import reembed_on_milvus

    return reembed_on_milvus(MilvusAddress.parse(place), embedder, settings, **said)


@contextmanager
def beside(
    place: Path | str, model: Model, settings: Settings
) -> Iterator[tuple[SearchedGallery, list[str], SearchedVectors, npt.NDArray[np.int64]]]:
    """A gallery, and what `reembed` has embedded of it so far with `model`.

    Ids of photos, vectors, and of each photo its row in them.
    """
    if is_milvus(place):
        with open_on_milvus(place, settings) as living:
            photos, vectors, rows = living.generation_with(model).photos()
            yield living, [photo.id for photo in photos], vectors, rows
        return
    folder = Path(place)
    with Gallery.open(folder) as gallery, closing(open_work(folder)) as work:
        found = [(photo.id, row) for row, photo in work.rows()]
        ids, at = [one for one, _ in found], np.array([row for _, row in found], np.int64)
        yield gallery, ids, work.vectors(), at


def rollback(
    place: Path | str,
    settings: Settings,
    *,
    drop_unreadable: bool = False,
    quiet: bool = False,
) -> "RenewReport[GalleryManifest] | RenewReport[MilvusManifest]":
    """Make the generation before a gallery again."""

    def embedder(model: Model) -> Embedder:
        return open_embedder(settings, model)

    said: dict[str, Any] = {"drop_unreadable": drop_unreadable, "quiet": quiet}
    if not is_milvus(place):
        return rollback_folder(Path(place), embedder, photos_root=settings.photos_root, **said)
    expect_pymilvus()
    from deepfood.milvus.renew import rollback_on_milvus

    return rollback_on_milvus(MilvusAddress.parse(place), embedder, settings, **said)


def forget_before(place: Path | str, settings: Settings) -> None:
    """Delete the generation before. Raises ArtifactMissingError where there is none."""
    if not is_milvus(place):
        forget_in_folder(Path(place))
        return
    expect_pymilvus()
    from deepfood.milvus.renew import forget_on_milvus

    forget_on_milvus(MilvusAddress.parse(place), settings)
