"""Find the parts of photos that nobody has looked at yet."""

from collections.abc import Callable, Mapping
from typing import Any

from deepfood.gallery.make_parts import make_parts
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.rows import StrongRows
from deepfood.milvus.schema import PHOTO_ROW, photo_of


def complete_parts(
    gallery: MilvusGallery, open_embedder: Callable[[], PartEmbedder], *, quiet: bool
) -> int:
    """Look at the photos that are noted, where the gallery keeps parts; at how many.

    Where another Model has taken over, its generation is left to others. One that cannot be read
    stays noted, and this `gallery` tries it once. `open_embedder` is called only where there are
    any. Raises NoHeatMapError or EngineError.
    """
    if gallery.manifest.parts is None or gallery.superseded:
        return 0
    parts = gallery.parts()
    noted = parts.unseen()
    todo = [one for one, number in noted.items() if gallery.tried.get(one) != number]
    rows = StrongRows(gallery.connection, gallery.collection).named(todo, PHOTO_ROW)
    parts.forget_left({one: noted[one] for one in todo if one not in rows})
    failed = 0
    if rows:
        failed = make_parts(
            [photo_of(row) for row in rows.values()],
            gallery.read,
            parts.wholes(list(rows)).of,
            open_embedder(),
            parts.put,
            reads_ahead=gallery.reads_ahead,
            quiet=quiet,
        )
    gallery.tried = {one: noted[one] for one in noted if one in rows or one in gallery.tried}
    return len(rows) - failed


def find_parts(
    gallery: MilvusGallery,
    commit: Callable[[Mapping[str, Any]], object],
    open_embedder: Callable[[], PartEmbedder],
    *,
    quiet: bool,
) -> int:
    """Make the parts of a generation whole, for who may `commit` fields of its manifest.

    Of how many photos they were found. Raises as `complete_parts`.
    """
    if gallery.follow().parts == "begun":
        gallery.parts().note_all()
        commit({"parts": "noted"})
        gallery.follow()
    made = complete_parts(gallery, open_embedder, quiet=quiet)
    gallery.parts().settle_all()
    return made
