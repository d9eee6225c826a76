"""A reader in a process of its own: searches until its standard input closes, then says how often.

Run as `python gallery_reading.py GALLERY`. Any failure, or an answer that is not whole, ends it
with a traceback and another exit status than 0.
"""

import json
import select
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

from deepfood.local import LocalGallery
from gallery_writing import DIMENSION


def read(gallery: Path) -> int:
    rng = np.random.default_rng(0)
    searches = 0
    while True:
        with LocalGallery.open(gallery) as opened:
            for _ in range(50):
                query = rng.standard_normal(DIMENSION).astype(np.float32)
                hits = opened.search(query / np.linalg.norm(query), 9)
                assert len(hits) == 9, len(hits)
                assert len({hit.photo.id for hit in hits}) == 9
                assert all(a.score >= b.score for a, b in pairwise(hits))
                searches += 1
        if select.select([sys.stdin], [], [], 0)[0]:
            return searches


if __name__ == "__main__":
    print(json.dumps({"searches": read(Path(sys.argv[1]))}))
