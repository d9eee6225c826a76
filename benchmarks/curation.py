"""How many wrong labels are found, and how fast: photos with a share of their labels flipped.

    python benchmarks/curation.py FOLDER [--flipped 0.1] [--seeds 0 1 2] [--photos 100000]

FOLDER has a folder of photos a label; they are embedded with the Model that ships. For each seed,
some labels are exchanged for others at random. Printed is the share of these among the first 15 %
of the photos, in the order of `deepfood labels` and in that of a plain vote, how many labels are
called doubtful, the share of these that were flipped, and of the flipped ones that are found, the
share whose right label is suggested. `--photos` are made-up vectors, half of them without a label,
in an hnsw index; memory is that which curation adds, without the mapped vectors.
"""

import argparse
import hashlib
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

import deepfood
from deepfood.config import available_cores, load_settings
from deepfood.embed import Vectors
from deepfood.gallery.curation import Curation, curate
from deepfood.gallery.photo import Photo
from deepfood.gallery.vote import VOTERS, vote_with_shares
from deepfood.index import INDEXES, Index, IndexSpec, VectorFile, append_vectors

_FIRST = 0.15


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--flipped", type=float, default=0.1)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--photos", type=int, nargs="*", default=[])
    options = parser.parse_args()

    found = deepfood.embed_photos(options.folder, load_settings(), quiet=False)
    files = [one.file for one in found.files]
    right = [one.label or "" for one in found.files]
    vectors = np.asarray(found.vectors, np.float32)
    print(f"{len(files):,} photos, {len(set(right))} labels")
    with tempfile.TemporaryDirectory() as folder:
        index = _index(vectors, Path(folder), "exact")
        for seed in [None, *options.seeds]:
            flipped = 0 if seed is None else options.flipped
            _measure(index, vectors, files, right, flipped, seed or 0)
        for photos in options.photos:
            _made_up(photos, Path(folder))


def _measure(
    index: Index,
    vectors: Vectors,
    files: Sequence[str],
    right: Sequence[str],
    share: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    names = sorted(set(right))
    labels = list(right)
    wrong = rng.permutation(len(labels))[: round(share * len(labels))]
    for one in wrong.tolist():
        labels[one] = names[
            (names.index(right[one]) + int(rng.integers(1, len(names)))) % len(names)
        ]
    curated, seconds = _curated(index, files, labels)
    places = [files.index(one.photo.file) for one in curated.doubtful]
    flipped = np.zeros(len(files), np.bool_)
    flipped[wrong] = True
    if not share:
        print(f"as they are: {len(places)} doubtful, {seconds:.1f} s")
        return
    first = round(_FIRST * len(files))
    hits = [place for place in places if flipped[place]]
    suggested = {place: one.suggested for place, one in zip(places, curated.doubtful, strict=True)}
    plain = _by_vote(vectors, [names.index(label) for label in labels])
    print(
        f"seed {seed}: of {len(wrong)} flipped, among the first {_FIRST:.0%}: "
        f"{flipped[places[:first]].sum() / len(wrong):.3f}, by a plain vote "
        f"{flipped[plain[:first]].sum() / len(wrong):.3f}; {len(places)} doubtful, of which "
        f"{len(hits) / len(places):.3f} were flipped (of the first 100, "
        f"{flipped[places[:100]].mean():.2f}); right label suggested for "
        f"{np.mean([suggested[one] == right[one] for one in hits]):.3f}; {seconds:.1f} s"
    )


def _by_vote(vectors: Vectors, labels: Sequence[int]) -> list[int]:
    """All photos, those first for which the neighbours vote for another label, by its share."""
    alike = vectors @ vectors.T
    np.fill_diagonal(alike, -np.inf)
    nearest = np.argsort(-alike, axis=1)[:, :VOTERS]
    own = np.array(labels)
    scores = np.take_along_axis(alike, nearest, axis=1).astype(np.float64)
    winner, share = vote_with_shares(own[nearest], scores, 1)
    other = winner[:, 0] != own
    return [int(one) for one in np.argsort(np.where(other, -share[:, 0], share[:, 0]))]


def _made_up(count: int, folder: Path) -> None:
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(500, 1280))
    of = rng.integers(len(middles), size=count)
    vectors = np.empty((count, 1280), np.float32)
    for start in range(0, count, 10_000):
        some = middles[of[start : start + 10_000]]
        some = some + rng.normal(0, 1, some.shape)
        vectors[start : start + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    index = _index(vectors, folder, "hnsw")
    del vectors
    labels = [str(one) if place % 2 else None for place, one in enumerate(of)]
    files = [f"{place}.jpg" for place in range(count)]
    with _watched_memory() as most:
        curated, seconds = _curated(index, files, labels)
    print(
        f"{count:,} made-up photos: {seconds:.0f} s, {most[-1] - most[0]:,} MB more; "
        f"{curated.judged:,} judged, "
        f"{len(curated.doubtful)} doubtful, {len(curated.to_label):,} to label"
    )


@contextmanager
def _watched_memory() -> Iterator[list[int]]:
    """The process's own memory in MB, in a list: at the beginning, then the most so far."""
    seen, ended = [_own_megabytes()], threading.Event()

    def watch() -> None:
        while not ended.wait(0.1):
            seen.append(max(seen[-1], _own_megabytes()))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield seen
    finally:
        ended.set()
        watching.join()


def _own_megabytes() -> int:
    said = Path("/proc/self/status").read_text(encoding="ascii")
    (line,) = (line for line in said.splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) // 1024


def _curated(
    index: Index, files: Sequence[str], labels: Sequence[str | None]
) -> tuple[Curation, float]:
    photos = [
        Photo(hashlib.sha256(file.encode()).hexdigest(), file, label, None, "", 1, 1, 1, 1)
        for file, label in zip(files, labels, strict=True)
    ]
    begin = time.perf_counter()
    every = (photos, index.vectors, np.arange(len(photos)))
    found = curate(index, every, threads=available_cores())
    return found, time.perf_counter() - begin


def _index(vectors: Vectors, folder: Path, kind: str) -> Index:
    path = folder / f"{kind}-{len(vectors)}"
    append_vectors(path, vectors.shape[1], "f32", 0, vectors)
    file = VectorFile.open(path, vectors.shape[1], "f32", len(vectors))
    where = path.with_suffix(".index")
    INDEXES[kind].build(file, where, IndexSpec(), lambda _: None)
    return INDEXES[kind].open(file, where, IndexSpec(), len(vectors))


if __name__ == "__main__":
    main()
