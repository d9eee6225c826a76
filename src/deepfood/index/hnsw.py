"""HNSW (Malkov and Yashunin, 2016) from faiss, vectors as fp16, opened by memory mapping."""

from pathlib import Path
from typing import Any, ClassVar, Self

import faiss as untyped_faiss
import numpy as np

from deepfood.errors import ArtifactCorruptError
from deepfood.index.contract import Index, IndexSpec, Kind, Progress
from deepfood.index.vectors import Rows, VectorFile, Vectors

#: The stubs that come with faiss miss what is used here.
faiss: Any = untyped_faiss

_CHUNK = 2048


class HnswIndex(Index):
    kind: ClassVar[Kind] = "hnsw"
    suffix: ClassVar[str | None] = "faiss"

    def __init__(self, vectors: VectorFile, graph: Any, ef_search: int) -> None:
        super().__init__(vectors, covered=graph.ntotal)
        self._graph = graph
        self._ef_search = ef_search
        self._parameters = faiss.SearchParametersHNSW(efSearch=ef_search)

    @classmethod
    def build(cls, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
        graph = faiss.IndexHNSWSQ(
            vectors.dimension, faiss.ScalarQuantizer.QT_fp16, spec.hnsw_m, faiss.METRIC_L2
        )
        # fp16 learns nothing from it, but faiss asks all the same.
        graph.train(np.zeros((1, vectors.dimension), np.float32))
        _add(graph, vectors, path, spec, progress)

    @classmethod
    def grow(
        cls, old: Path, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress
    ) -> None:
        _add(_read(old, vectors, flags=0), vectors, path, spec, progress)

    @classmethod
    def open(cls, vectors: VectorFile, path: Path, spec: IndexSpec, covered: int) -> Self:
        graph = _read(path, vectors, faiss.IO_FLAG_MMAP_IFC)
        if graph.ntotal != covered:
            raise ArtifactCorruptError(f"{path} holds {graph.ntotal} vectors: expected {covered}")
        return cls(vectors, graph, spec.hnsw_ef_search)

    def extended(self, vectors: VectorFile) -> Self:
        return type(self)(vectors, self._graph, self._ef_search)

    def candidates(self, query: Vectors, count: int) -> Rows:
        count = min(count, self.covered)
        parameters = self._parameters
        if count > self._ef_search:
            parameters = faiss.SearchParametersHNSW(efSearch=count)
        query = np.ascontiguousarray(query, np.float32)
        rows = np.empty(count, np.int64)
        distances = np.empty(count, np.float32)
        # The bare call: faiss' own wrapper around it takes as long as finding ten rows.
        pointer = faiss.swig_ptr
        self._graph.search_c(
            1, pointer(query), count, pointer(distances), pointer(rows), parameters
        )
        return rows[rows >= 0]


def _read(path: Path, vectors: VectorFile, flags: int) -> Any:
    try:
        graph = faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise ArtifactCorruptError(f"{path} cannot be opened by faiss") from error
    if graph.d != vectors.dimension or graph.ntotal > len(vectors):
        raise ArtifactCorruptError(
            f"{path} holds {graph.ntotal} vectors of {graph.d} numbers, and the gallery "
            f"{len(vectors)} of {vectors.dimension}"
        )
    return graph


def _add(graph: Any, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
    """Add what the graph does not hold yet, and write it."""
    graph.hnsw.efConstruction = spec.hnsw_ef_construction
    progress(graph.ntotal)
    for start in range(graph.ntotal, len(vectors), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(vectors)))
        graph.add(vectors.take(rows))
        progress(len(rows))
    faiss.write_index(graph, str(path))
