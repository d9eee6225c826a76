"""Writers to be measured and killed: they add synthetic photos, and print what was acknowledged.

Run as `python changing_writer.py GALLERY`. For each line `SEED BATCH` of its standard input it
forks a writer, which commits BATCH photos at a time until it is killed. The writer prints its
process id, and after each commit the number of photos it has added, one per line; then its parent
prints `ended`.
"""

import hashlib
import os
import sys
from pathlib import Path

import numpy as np

from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.local import LocalWriter
from vectors import Vectors, synthetic_few

DIMENSION = 1280


def synthetic_photo(seed: int, number: int) -> EmbeddedPhoto:
    """A photo of 20 KB; its vector follows from the two numbers, so that it can be recomputed."""
    data = f"photo {seed} {number} ".encode().ljust(20_000, b".")
    photo = Photo(
        sha256=hashlib.sha256(data).hexdigest(),
        file=f"{seed}-{number}.jpg",
        label=None,
        name=None,
        media_type="image/jpeg",
        width=1,
        height=1,
        bytes=len(data),
        modified_ns=0,
    )
    return EmbeddedPhoto(photo, synthetic_vector(seed, number), data)


def synthetic_vector(seed: int, number: int) -> Vectors:
    return np.asarray(synthetic_few(1, DIMENSION, np.random.default_rng([seed, number]))[0])


def _write_for_ever(gallery: Path, seed: int, batch: int) -> None:
    number = 0
    while True:
        new = [synthetic_photo(seed, number + i) for i in range(batch)]
        with LocalWriter.open(gallery, wait_s=20) as writer:
            writer.add(new)
        number += batch
        _print_line(number)


def _print_line(word: object) -> None:
    os.write(sys.stdout.fileno(), f"{word}\n".encode())  # one write: a kill leaves no partial line


if __name__ == "__main__":
    for line in sys.stdin:  # forked, as a new process would spend a second on imports
        writer = os.fork()
        if writer == 0:
            _print_line(os.getpid())
            _write_for_ever(Path(sys.argv[1]), *map(int, line.split()))
        os.waitpid(writer, 0)
        _print_line("ended")
