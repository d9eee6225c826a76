"""HNSW (Malkov and Yashunin, 2016) from faiss, vectors as fp16, opened by memory mapping.

Vectors are of unit length, so the inner product gives the euclidean order; a search by it
takes about a fifth less time. Vectors that are near each other lie near each other in the file,
which takes as much again off the time, as fewer pages are touched (docs/performance.md).
"""

from pathlib import Path
from typing import Any, ClassVar, Self

import faiss as untyped_faiss
import numpy as np

from deepfood.config import available_cores
from deepfood.counted import counted
from deepfood.errors import ArtifactCorruptError
from deepfood.index.contract import Index, IndexSpec, Kind, Mask, Progress, best
from deepfood.index.vectors import Rows, VectorFile, Vectors, clipped

#: The stubs that come with faiss miss what is used here.
faiss: Any = untyped_faiss
_at = faiss.swig_ptr

#: Rows added at a time; faiss builds faster from large ones.
_CHUNK = 8192

#: Into how many groups of near vectors the file is sorted, at most, and the least size of one.
_GROUPS, _GROUP_SIZE = 1024, 64


class HnswIndex(Index):
    kind: ClassVar[Kind] = "hnsw"
    suffix: ClassVar[str | None] = "faiss"

    def __init__(self, vectors: VectorFile, graph: Any, ef_search: int) -> None:
        super().__init__(vectors, covered=graph.ntotal)
        self._graph = graph
        self._ef_search = ef_search
        self._parameters = _with_ef_search(ef_search)
        #: Finds rows and scores them from the stored vectors inside faiss; None if it cannot.
        self._scored = _scoring(graph, vectors)
        self._scored_parameters = self._scored_parameters_for(self._parameters)

    @classmethod
    def build(cls, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
        graph = faiss.IndexHNSWSQ(
            vectors.dimension,
            faiss.ScalarQuantizer.QT_fp16,
            spec.hnsw_m,
            faiss.METRIC_INNER_PRODUCT,
        )
        # fp16 learns nothing from it, but faiss asks all the same.
        graph.train(np.zeros((1, vectors.dimension), np.float32))
        _add(faiss.IndexIDMap(graph), vectors, path, spec, progress)

    @classmethod
    def grow(
        cls, old: Path, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress
    ) -> None:
        index = _read(old, vectors, flags=0)
        if not isinstance(index, faiss.IndexIDMap):  # as deepfood wrote it before it sorted them
            cls.build(vectors, path, spec, progress)
        else:
            _add(index, vectors, path, spec, progress)

    @classmethod
    def open(cls, vectors: VectorFile, path: Path, spec: IndexSpec, covered: int) -> Self:
        graph = _read(path, vectors, faiss.IO_FLAG_MMAP_IFC)
        if graph.ntotal != covered:
            raise ArtifactCorruptError(
                f"{path} holds {counted(graph.ntotal, 'vector')}: expected {covered}"
            )
        return cls(vectors, graph, spec.hnsw_ef_search)

    def extended(self, vectors: VectorFile) -> Self:
        return type(self)(vectors, self._graph, self._ef_search)

    def candidates(self, query: Vectors, count: int) -> Rows:
        few = count <= self._ef_search
        parameters = self._parameters if few else _with_ef_search(count)
        return self._search_faiss(self._graph, query, count, parameters)[0]

    def nearest(self, query: Vectors, count: int, allowed: Mask | None) -> tuple[Rows, Vectors]:
        if allowed is not None or self._scored is None:
            return super().nearest(query, count, allowed)
        few = count <= self._ef_search
        parameters = (
            self._scored_parameters if few else self._scored_parameters_for(_with_ef_search(count))
        )
        rows, scores = self._search_faiss(self._scored, query, count, parameters)
        if _is_ordered(scores):
            return rows, scores
        return best(count, rows, clipped(scores))

    def _scored_parameters_for(self, parameters: Any) -> Any:
        if self._scored is self._graph:
            return parameters
        return faiss.IndexRefineSearchParameters(k_factor=1.0, base_index_params=parameters)

    def _search_faiss(
        self, index: Any, query: Vectors, count: int, parameters: Any
    ) -> tuple[Rows, Vectors]:
        count = min(count, self.covered)
        rows = np.empty(count, np.int64)
        scores = np.empty(count, np.float32)
        # Otherwise faiss wakes a thread per core and waits for all: one query is work for one.
        faiss.omp_set_num_threads(1)
        # The bare call: faiss' own wrapper around it takes as long as scoring ten rows.
        index.search_c(1, _at(query), count, _at(scores), _at(rows), parameters)
        if count and rows[-1] < 0:  # -1 stands for none, and comes last
            return rows[rows >= 0], scores[rows >= 0]
        return rows, scores


def _is_ordered(scores: Vectors) -> bool:
    """Whether scores by faiss are as `search` gives them, which nearly all are.

    faiss does not order equal ones by row, and rounding can take one out of -1 to 1.
    """
    listed = scores.tolist()
    return not listed or (listed[0] <= 1 and listed[-1] >= -1 and len(set(listed)) == len(listed))


def _with_ef_search(candidates: int) -> Any:
    return faiss.SearchParametersHNSW(efSearch=candidates)


def _scoring(graph: Any, vectors: VectorFile) -> Any | None:
    if vectors.storage == "f16":  # the graph keeps the very same numbers
        return graph
    flat = vectors.flat(graph.ntotal)
    return flat and faiss.IndexRefine(graph, flat)


def _read(path: Path, vectors: VectorFile, flags: int) -> Any:
    try:
        graph = faiss.read_index(str(path), flags)
    except RuntimeError as error:
        raise ArtifactCorruptError(f"{path} cannot be opened by faiss") from error
    if graph.d != vectors.dimension or graph.ntotal > len(vectors):
        raise ArtifactCorruptError(
            f"{path} holds {counted(graph.ntotal, 'vector')} of {graph.d} numbers, and the gallery "
            f"{len(vectors)} of {vectors.dimension}"
        )
    return graph


def _add(index: Any, vectors: VectorFile, path: Path, spec: IndexSpec, progress: Progress) -> None:
    """Add what the index does not hold yet, and write it."""
    faiss.omp_set_num_threads(available_cores())
    graph = faiss.downcast_index(index.index)
    graph.hnsw.efConstruction = spec.hnsw_ef_construction
    progress(index.ntotal)
    for start in range(index.ntotal, len(vectors), _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, len(vectors)))
        index.add_with_ids(vectors.take(rows), rows)
        progress(len(rows))
    _sort(index, graph, vectors)
    faiss.write_index(index, str(path))


def _sort(index: Any, graph: Any, vectors: VectorFile) -> None:
    """Let the graph keep near vectors side by side: grouped by which of some rows is nearest."""
    count = len(vectors)
    groups = min(_GROUPS, count // _GROUP_SIZE)
    if groups < 2:
        return
    some = vectors.take(np.linspace(0, count - 1, groups, dtype=np.int64))
    group = np.empty(count, np.int64)
    for start in range(0, count, _CHUNK):
        rows = np.arange(start, min(start + _CHUNK, count))
        group[rows] = (vectors.take(rows) @ some.T).argmax(axis=1)
    held = faiss.vector_to_array(index.id_map)
    order = np.argsort(group[held], kind="stable")
    graph.permute_entries(order)
    faiss.copy_array_to_vector(held[order], index.id_map)
