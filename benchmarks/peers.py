"""Indexes to compare: built, saved, opened again. deepfood's own, and other libraries bare."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import faiss
import hnswlib
import numpy as np

from deepfood.config import available_cores
from deepfood.index import INDEXES, IndexSpec, VectorFile
from vectors import Vectors

Search = Callable[[Vectors, int], Any]


@dataclass(frozen=True)
class Built:
    """An index on disk: `searches` are the ways to ask it, by name."""

    searches: dict[str, Search]
    build_s: float
    megabytes: float
    open_ms: float


def ours(specs: dict[str, IndexSpec], vectors: VectorFile, path: Path) -> Built:
    """An index of deepfood's, built as the first spec says and asked as each one says."""
    first = next(iter(specs.values()))
    kind = INDEXES[first.kind]
    build_s = _seconds(lambda: kind.build(vectors, path, first, lambda _: None))
    open_s = _seconds(lambda: kind.open(vectors, path, first, len(vectors)))

    def search(spec: IndexSpec) -> Search:
        index = kind.open(vectors, path, spec, len(vectors))
        return lambda query, k: index.search(query, k)[0]

    searches = {name: search(spec) for name, spec in specs.items()}
    if kind.suffix is None:  # the vectors are all there is
        return Built(searches, 0.0, 0.0, 0.0)
    return Built(searches, build_s, path.stat().st_size / 1e6, open_s * 1e3)


def with_hnswlib(vectors: Vectors, folder: Path, efs: tuple[int, ...]) -> Built:
    path = str(folder / "hnswlib")
    count, dimension = vectors.shape

    def build() -> None:
        graph = hnswlib.Index("ip", dimension)
        graph.init_index(count, M=16, ef_construction=80)
        graph.add_items(vectors, num_threads=available_cores())
        graph.save_index(path)

    def load() -> Any:
        graph = hnswlib.Index("ip", dimension)
        graph.load_index(path)
        return graph

    def search(ef: int) -> Search:
        def ask(query: Vectors, k: int) -> Any:
            graph.set_ef(ef)
            return graph.knn_query(query, k, num_threads=1)[0][0]

        return ask

    build_s = _seconds(build)
    open_s = _seconds(load)
    graph = load()
    searches = {f"hnswlib M16, ef {ef}": search(ef) for ef in efs}
    return Built(searches, build_s, Path(path).stat().st_size / 1e6, open_s * 1e3)


def with_faiss_ivf(vectors: Vectors, folder: Path, probes: tuple[int, ...]) -> Built:
    def search(index: Any, probe: int) -> Search:
        parameters = faiss.SearchParametersIVF(nprobe=probe)
        return lambda query, k: index.search(query[np.newaxis], k, params=parameters)[1][0]

    return _with_faiss(
        "IVF512,Flat",
        vectors,
        folder,
        lambda index: {f"faiss IVF512,Flat, nprobe {p}": search(index, p) for p in probes},
    )


def with_faiss_scan(factory: str, name: str, vectors: Vectors, folder: Path) -> Built:
    """A scan over all vectors, as exact as their number format."""
    return _with_faiss(
        factory,
        vectors,
        folder,
        lambda index: {name: lambda query, k: index.search(query[np.newaxis], k)[1][0]},
    )


def _with_faiss(
    factory: str, vectors: Vectors, folder: Path, searches: Callable[[Any], dict[str, Search]]
) -> Built:
    path = str(folder / factory.replace(",", "-"))

    def build() -> None:
        index = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        index.train(np.ascontiguousarray(vectors[:20_480]))
        index.add(np.ascontiguousarray(vectors))
        faiss.write_index(index, path)

    build_s = _seconds(build)
    open_s = _seconds(lambda: faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC))
    index = faiss.read_index(path, faiss.IO_FLAG_MMAP_IFC)
    return Built(searches(index), build_s, Path(path).stat().st_size / 1e6, open_s * 1e3)


def _seconds(function: Callable[[], object]) -> float:
    started = time.perf_counter()
    function()
    return time.perf_counter() - started
