"""How long a gallery's feedback takes, with very many votes.

    python benchmarks/feedback.py FOLDER [--votes 1000000] [--questions 20000] [--dimension 1280]

Votes of made-up sessions are written into FOLDER, in batches, and then one by one as a server does.
They are counted, read, exported and pruned. Printed are seconds, and the size of the file.
"""

import argparse
import hashlib
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from deepfood.gallery.feedback import FEEDBACK, Feedback, Vote

_BATCH, _SINGLE = 10_000, 200
_SESSIONS, _HITS = 50_000, 10_000
_MODEL = "0" * 64


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--votes", type=int, default=1_000_000)
    parser.add_argument("--questions", type=int, default=20_000)
    parser.add_argument("--dimension", type=int, default=1280)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)

    votes = _votes(options.questions, options.dimension)
    with Feedback.open(options.folder, create=True, most=2 * options.votes) as feedback:
        with _told(f"{options.votes:,} votes in batches of {_BATCH:,}"):
            for _ in range(0, options.votes, _BATCH):
                feedback.add(next(votes) for _ in range(_BATCH))
        with _told("counts"):
            print(feedback.counts())
        with _told("read"):
            table = feedback.read()
            print(f"{len(table):,} votes, vectors {table.vectors.shape}")
        with _told("faults"):
            print(list(feedback.faults()))
        with _told("export to CSV"):
            feedback.export(options.folder / "votes.csv")
        size = (options.folder / FEEDBACK).stat().st_size
        print(f"{FEEDBACK}: {size / 2**20:,.0f} MiB")
    with _told(f"{_SINGLE} votes, each with the file opened anew"):
        for _ in range(_SINGLE):
            with Feedback.open(options.folder, create=True, most=2 * options.votes) as feedback:
                feedback.add([next(votes)])
    with Feedback.open(options.folder, most=options.votes // 2) as feedback:
        with _told("a vote after the bound was halved"):
            feedback.add([next(votes)])
        middle = float(np.median(table.at))
        with _told("half of them pruned"):
            print(f"{feedback.prune(before=middle):,} votes deleted")


def _votes(questions: int, dimension: int) -> Iterator[Vote]:
    """Without end, a second after the other."""
    draw = random.Random(0)
    at = 1.7e9
    while True:
        at += 1
        number = draw.randrange(questions)
        vector = np.random.default_rng(number).standard_normal(dimension).astype(np.float32)
        yield Vote(
            session=_hex(draw.randrange(_SESSIONS))[:32],
            question=_hex(number),
            hit=_hex(draw.randrange(_HITS))[:20],
            right=draw.random() < 0.8,
            at=at,
            model=_MODEL,
            vector=vector / np.linalg.norm(vector),
            kind="photo",
        )


def _hex(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()


@contextmanager
def _told(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - begun:.2f} s", flush=True)


if __name__ == "__main__":
    main()
