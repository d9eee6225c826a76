"""Cache the embeddings of a dataset on disk, so that no photo is embedded twice.

`adapt`, `evaluate` and `embed` use it: the first run reads every photo, later runs read new and
changed ones. The cache is a Store like a gallery's, one for each Model, precision and photo folder.
A damaged one is made anew.
"""

import contextlib
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from deepfood.counted import counted
from deepfood.data.photo_file import photo_id
from deepfood.data.photos import PhotoFile, PhotoSource
from deepfood.data.splits import query_files
from deepfood.embed import Embedder
from deepfood.errors import ArtifactCorruptError, DatasetError, SettingError, raising_disk_full
from deepfood.gallery.calibration import Labelled
from deepfood.gallery.choose import is_known
from deepfood.gallery.photo import Skipped
from deepfood.local.embed_photos import embed_photos
from deepfood.local.growing_store import GrowingStore
from deepfood.local.known import SoundRows, known_files
from deepfood.local.snapshot import check_vectors
from deepfood.locks import held


@dataclass(frozen=True)
class Embedded:
    """The usable photos in the order of the request, and unit vectors float32 [n, dim].

    `sha256` are the hashes of their files. `embedded` counts the files embedded in this run; the
    others were in the cache.
    """

    files: tuple[PhotoFile, ...]
    sha256: tuple[str, ...]
    vectors: npt.NDArray[np.float32]
    skipped: tuple[Skipped, ...]
    embedded: int = 0

    def select(self, files: Sequence[PhotoFile]) -> "Embedded":
        """The usable ones of `files`, in that order."""
        rows = {photo.file: row for row, photo in enumerate(self.files)}
        kept = [file for file in files if file.file in rows]
        at = [rows[file.file] for file in kept]
        return Embedded(tuple(kept), tuple(self.sha256[i] for i in at), self.vectors[at], ())


def embed_dataset(
    source: PhotoSource,
    embedder: Embedder,
    cache: Path,
    *,
    files: Sequence[PhotoFile] | None = None,
    quiet: bool = False,
) -> Embedded:
    """Embed `files` (None: all of `source`), or read them from the cache below `cache`.

    Raises DatasetError where no photo is usable, SettingError where `cache` cannot be a folder, and
    DiskFullError.
    """
    wanted = source.files if files is None else tuple(files)
    folder = _folder(cache, source, embedder)
    try:
        with raising_disk_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(
            f"setting cache = {cache}: {error.strerror}; name a folder that can be written"
        ) from error
    with (
        held(folder / "lock"),
        contextlib.closing(_open_store(folder, embedder.dimension)) as store,
    ):
        known = known_files([SoundRows.of(store)])
        todo = [file for file in wanted if not is_known(source, file, known, embedder.limits)]
        if todo:
            done = len(wanted) - len(todo)
            embed_photos(source, todo, embedder, store, done=done, quiet=quiet)
            known = known_files([SoundRows.of(store)])
        vectors = store.vectors()
        usable, hashes, rows, skipped = [], [], [], []
        for file in wanted:
            one = known[file.stored]
            if isinstance(one.entry, Skipped):
                skipped.append(one.entry)
            else:
                usable.append(file)
                hashes.append(one.entry.sha256)
                rows.append(one.row)
        if not usable:
            raise DatasetError(
                f"none of the {counted(skipped, 'photo')} in {source.root} is usable; the first, "
                f"{skipped[0].file}: {skipped[0].reason}"
                if skipped
                else f"there are no photos in {source.root}"
            )
        return Embedded(
            tuple(usable),
            tuple(hashes),
            vectors.take(np.array(rows, np.int64)),
            tuple(skipped),
            len(todo),
        )


def _folder(cache: Path, source: PhotoSource, embedder: Embedder) -> Path:
    whose = f"{embedder.model.fingerprint}:{embedder.precision}:{source.root}"
    key = hashlib.sha256(whose.encode("utf-8", "surrogateescape")).hexdigest()
    return cache / "embeddings" / key[:32]


def _open_store(folder: Path, dimension: int) -> GrowingStore:
    """The Store of the cache, emptied if it is damaged: all in it can be made again."""
    try:
        store = GrowingStore.open(folder, dimension, "f32", words=False)
        try:
            known_files([SoundRows.of(store)])
            check_vectors(store, store.vectors())
        except ArtifactCorruptError:
            store.close()
            raise
    except ArtifactCorruptError:
        for pattern in ("catalogue.sqlite*", "vectors.*"):
            for path in folder.glob(pattern):
                path.unlink()
        return GrowingStore.open(folder, dimension, "f32", words=False)
    return store


def held_out_photos(
    source: PhotoSource, embedder: Embedder, cache: Path, *, quiet: bool = False
) -> Labelled:
    """Embed the labelled photos of `source` to calibrate with.

    They are those of `query_files`. Raises DatasetError where none has a label.
    """
    photos = embed_dataset(source, embedder, cache, files=query_files(source)[0], quiet=quiet)
    return Labelled(
        photos.vectors,
        [file.label for file in photos.files],
        [photo_id(sha256) for sha256 in photos.sha256],
    )
