"""Nearest neighbours: how many of the true nine are found, how fast, at what cost to build.

deepfood's indexes are asked through `Index.search`, which scores their candidates exactly; peers
are asked bare. One query at a time, from one thread; numpy's scan uses as many as it does in the
server.
"""

import shutil
import time
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import faiss
import numpy as np

from deepfood.config import available_cores
from deepfood.index import Index, IndexSpec, VectorFile, append_vectors
from deepfood.index.exact import ExactIndex
from peers import Built, Search, ours, with_faiss_ivf, with_faiss_scan, with_hnswlib
from report import Section, Table, interleave
from vectors import Vectors, VectorSet, made_up_vectors, real_vectors

K = 9
SIZES = (10_000, 100_000)
SCAN_SIZES = (1_000, 2_000, 5_000, 10_000, 20_000, 50_000, 100_000)
_SCAN_DIMENSION = 1280
_EFS = (16, 64, 128, 200)


def measure(folder: Path, work: Path, cache: Path, rounds: int) -> Section:
    section = Section("Nearest neighbours")
    for whole in (real_vectors(folder, cache), made_up_vectors()):
        sizes = dict.fromkeys(min(size, len(whole.gallery)) for size in SIZES)
        for size in sizes:
            section.tables.append(_compare(whole.first(size), work, rounds))
    section.tables.append(_scans(work, rounds))
    return section


def _compare(vectors: VectorSet, work: Path, rounds: int) -> Table:
    folder = work / "indexes"
    folder.mkdir()
    try:
        file = _as_gallery(vectors.gallery, folder)
        gallery = vectors.gallery
        truth = _nearest(gallery, vectors.queries)
        faiss.omp_set_num_threads(available_cores())
        built = _build_all(file, gallery, folder)
        faiss.omp_set_num_threads(1)
        asked = [(name, search, one) for one in built for name, search in one.searches.items()]
        times = interleave(
            {name: partial(_query_us, search, vectors.queries) for name, search, _ in asked},
            rounds,
        )
        rows = [
            (
                name,
                _recall(search, vectors.queries, truth),
                median(times[name]),
                one.build_s,
                one.megabytes,
                one.open_ms,
            )
            for name, search, one in asked
        ]
    finally:
        shutil.rmtree(folder)
    return Table(
        f"{len(gallery):,} x {gallery.shape[1]}, {vectors.name}",
        ("index", f"recall@{K}", "µs a query", "build s", "file MB", "open ms"),
        rows,
        f"{len(vectors.queries)} queries, median of {rounds} passes in turn. File MB leaves out "
        f"the gallery's own vectors ({gallery.nbytes / 1e6:.0f} MB).",
    )


def _build_all(file: VectorFile, gallery: Vectors, folder: Path) -> list[Built]:
    def annoy(trees: int, search_k: int = -1) -> IndexSpec:
        return IndexSpec(kind="annoy", annoy_trees=trees, annoy_search_k=search_k)

    def hnsw(construction: int, ef: int) -> IndexSpec:
        return IndexSpec(kind="hnsw", hnsw_ef_construction=construction, hnsw_ef_search=ef)

    asked_as = [
        {"deepfood exact": IndexSpec(kind="exact")},
        {
            "deepfood annoy, 5 trees": annoy(5),
            "deepfood annoy, 5 trees, search_k 2000": annoy(5, 2000),
        },
        {"deepfood annoy, 20 trees": annoy(20)},
        {"deepfood annoy, 100 trees": annoy(100)},
        *({f"deepfood hnsw, efc {efc}, ef {ef}": hnsw(efc, ef) for ef in _EFS} for efc in (40, 80)),
    ]
    return [
        *(ours(specs, file, folder / str(number)) for number, specs in enumerate(asked_as)),
        with_hnswlib(gallery, folder, _EFS),
        with_faiss_ivf(gallery, folder, (1, 4, 16)),
        with_faiss_scan("Flat", "faiss scan f32", gallery, folder),
        with_faiss_scan("SQfp16", "faiss scan fp16", gallery, folder),
    ]


def _scans(work: Path, rounds: int) -> Table:
    """What a scan over all vectors costs at each size; which vectors they are does not matter."""
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((SCAN_SIZES[-1], _SCAN_DIMENSION), np.float32)
    queries = rng.standard_normal((50, _SCAN_DIMENSION), np.float32)
    rows: list[tuple[Any, ...]] = []
    path = work / "scanned"
    append_vectors(path, _SCAN_DIMENSION, "f32", 0, vectors)
    for size in SCAN_SIZES:
        file = VectorFile.open(path, _SCAN_DIMENSION, "f32", size)
        search = partial(_exact_rows, ExactIndex(file))
        wall, processor = [], []
        for _ in range(rounds):
            started = time.process_time()
            wall.append(_query_us(search, queries) / 1e3)
            processor.append((time.process_time() - started) / len(queries) * 1e3)
        rows.append((size, median(wall), median(processor)))
    return Table(
        f"deepfood exact, {_SCAN_DIMENSION:,} numbers a vector",
        ("vectors", "ms a query", "processor ms"),
        rows,
        "Processor time counts every core that the scan keeps busy, waiting included.",
    )


def _exact_rows(index: Index, query: Vectors, k: int) -> Any:
    return index.search(query, k)[0]


def _as_gallery(vectors: Vectors, folder: Path) -> VectorFile:
    """The vectors as a gallery holds them: a file, memory-mapped."""
    path = folder / "vectors.f32"
    append_vectors(path, vectors.shape[1], "f32", 0, vectors)
    return VectorFile.open(path, vectors.shape[1], "f32", len(vectors))


def _nearest(gallery: Vectors, queries: Vectors) -> list[set[int]]:
    scores = queries @ gallery.T
    return [set(row.tolist()) for row in np.argpartition(-scores, K, axis=1)[:, :K]]


def _query_us(search: Search, queries: Vectors) -> float:
    started = time.perf_counter()
    for query in queries:
        search(query, K)
    return (time.perf_counter() - started) / len(queries) * 1e6


def _recall(search: Search, queries: Vectors, truth: list[set[int]]) -> float:
    found = sum(
        len(right & set(search(query, K).tolist()))
        for query, right in zip(queries, truth, strict=True)
    )
    return found / (K * len(queries))
