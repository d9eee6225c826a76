"""Writers in processes of their own, which say what was acknowledged; the kill test ends them.

Run as `python gallery_writing.py GALLERY`. For each seed on a line of its standard input it forks a
writer, which adds, removes and updates photos until it is killed, and then says `ended`. A writer
says what it intends, and after the commit what it did, a line of JSON each.
"""

import json
import os
import random
import sys
from pathlib import Path

import numpy as np

from deepfood.gallery.declared import Definition
from deepfood.gallery.photo import EmbeddedPhoto, Photo
from deepfood.local import LocalWriter
from deepfood.local.reindex import reindex
from plates import sha256

DIMENSION = 192


def vector_of(data: bytes) -> "np.ndarray[tuple[int], np.dtype[np.float32]]":
    """A unit vector that follows from a photo's bytes: what was stored can be computed again."""
    rng = np.random.default_rng(list(data))
    vector = rng.standard_normal(DIMENSION).astype(np.float32)
    return vector / np.linalg.norm(vector)


def made_photo(seed: int, number: int) -> EmbeddedPhoto:
    data = f"photo {seed} {number} ".encode() * 50
    photo = Photo(
        sha256=sha256(data),
        file=f"{seed}-{number}.jpg",
        label=f"label {number}",
        name=None,
        media_type="image/jpeg",
        width=1,
        height=1,
        bytes=len(data),
        modified_ns=0,
    )
    return EmbeddedPhoto(photo, vector_of(data), data)


def write_for_ever(gallery: Path, seed: int) -> None:
    draw = random.Random(seed)
    number = 0
    mine: list[str] = []
    with LocalWriter.open(gallery, wait_s=20) as writer:
        writer.declare({"price": Definition("number"), "allergens": Definition("list")})
    while True:
        if draw.random() < 0.05:
            reindex(gallery, quiet=True)
        with LocalWriter.open(gallery, wait_s=20) as writer:
            kind = (
                draw.choice(["add", "add", "add", "remove", "update", "say", "say"])
                if mine
                else "add"
            )
            if kind == "add":
                new = [made_photo(seed, number + i) for i in range(draw.randint(1, 5))]
                number += len(new)
                _say({"intends": "add", "files": [one.photo.file for one in new]})
                writer.add(new)
                mine += [one.photo.id for one in new]
                _say({"did": "add", "photos": {o.photo.id: o.photo.file for o in new}})
            elif kind == "say":
                one, said = draw.choice(mine), {"price": draw.random(), "allergens": [str(number)]}
                _say({"intends": "say", "id": one, "said": said})
                writer.update(one, attributes=said)
                _say({"did": "say", "id": one, "said": said})
            elif kind == "remove":
                gone = draw.sample(mine, min(len(mine), draw.randint(1, 3)))
                _say({"intends": "remove", "ids": gone})
                writer.remove(gone)
                mine = [one for one in mine if one not in gone]
                _say({"did": "remove", "ids": gone})
            else:
                one, label = draw.choice(mine), f"new {draw.random()}"
                _say({"intends": "update", "id": one, "label": label})
                writer.update(one, label=label)
                _say({"did": "update", "id": one, "label": label})


def _say(line: object) -> None:
    # In one piece, so that a kill never leaves half a line.
    os.write(sys.stdout.fileno(), json.dumps(line).encode() + b"\n")


if __name__ == "__main__":
    for line in sys.stdin:  # forked, for a process from scratch spends a second on imports
        writer = os.fork()
        if writer == 0:
            _say({"pid": os.getpid()})
            write_for_ever(Path(sys.argv[1]), int(line))
        os.waitpid(writer, 0)
        _say({"ended": int(line)})
