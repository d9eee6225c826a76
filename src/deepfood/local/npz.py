"""Write vectors for other programs: numpy's npz, plain arrays that load without pickle.

vectors  float32 [n, dim]  unit vectors
ids      <U20 [n]          by content: equal files have equal ids
files    <U.. [n]          below the folder of photos, with /
labels   <U.. [n]          "" where a photo has none

Of words: `vectors`, and `texts`, <U.. [n].
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from deepfood.artifacts import replacing
from deepfood.data.photo_file import ID_DIGITS, photo_id
from deepfood.embed import Vectors
from deepfood.errors import SettingError, raising_disk_full
from deepfood.local.embedding_cache import Embedded

SUFFIX = ".npz"


def check_vectors_file(out: Path) -> None:
    """Raise SettingError where `out` cannot be written, before any work."""
    if out.suffix != SUFFIX:
        raise SettingError(f"--out {out}: the file's name must end in {SUFFIX}")
    if out.is_dir():
        raise SettingError(f"--out {out} is a folder: name a file in it")
    there = next(path for path in out.absolute().parents if path.exists())
    if not there.is_dir():
        raise SettingError(f"--out {out}: {there} is not a folder")
    if not os.access(there, os.W_OK):
        raise SettingError(f"--out {out}: {there} cannot be written")


def write_vectors(found: Embedded, out: Path) -> None:
    """Write `out` atomically. Raises DiskFullError, and then keeps an earlier file."""
    _write(
        out,
        vectors=found.vectors,
        ids=np.array([photo_id(sha256) for sha256 in found.sha256], f"U{ID_DIGITS}"),
        files=np.array([photo.file for photo in found.files], np.str_),
        labels=np.array([photo.label or "" for photo in found.files], np.str_),
    )


def write_text_vectors(texts: Sequence[str], vectors: Vectors, out: Path) -> None:
    """Write texts and their vectors, float32 [n, dim], as `write_vectors` writes photos'."""
    _write(out, vectors=vectors, texts=np.array(texts, np.str_))


def _write(out: Path, **arrays: npt.NDArray[Any]) -> None:
    with raising_disk_full(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as file:
        np.savez(file, allow_pickle=False, **arrays)
