"""HNSW (Malkov and Yashunin, 2016) from faiss, vectors as fp16, opened by memory mapping."""

from pathlib import Path
from typing import Any, ClassVar, Self

import faiss as untyped_faiss
import numpy as np
import numpy.typing as npt

from deepfood.errors import ArtifactCorruptError
from deepfood.index.contract import Index, IndexSpec, Kind, Progress, Rows, Vectors

#: The stubs that come with faiss miss what is used here.
faiss: Any = untyped_faiss

_CHUNK = 2048


class HnswIndex(Index):
    kind: ClassVar[Kind] = "hnsw"
    file: ClassVar[str | None] = "index.faiss"

    def __init__(self, vectors: Vectors, graph: Any, ef_search: int) -> None:
        super().__init__(vectors)
        self._graph = graph
        self._ef_search = ef_search

    @classmethod
    def build(cls, vectors: Vectors, folder: Path, spec: IndexSpec, progress: Progress) -> None:
        graph = faiss.IndexHNSWSQ(
            vectors.shape[1], faiss.ScalarQuantizer.QT_fp16, spec.hnsw_m, faiss.METRIC_L2
        )
        graph.hnsw.efConstruction = spec.hnsw_ef_construction
        # fp16 learns nothing from them, but faiss asks all the same.
        graph.train(np.ascontiguousarray(vectors[:1]))
        for start in range(0, len(vectors), _CHUNK):
            chunk = np.ascontiguousarray(vectors[start : start + _CHUNK])
            graph.add(chunk)
            progress(len(chunk))
        faiss.write_index(graph, str(folder / str(cls.file)))

    @classmethod
    def open(cls, vectors: Vectors, folder: Path, spec: IndexSpec) -> Self:
        path = folder / str(cls.file)
        try:
            graph = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
        except RuntimeError as error:
            raise ArtifactCorruptError(f"{path} cannot be opened by faiss") from error
        if (graph.ntotal, graph.d) != vectors.shape:
            raise ArtifactCorruptError(
                f"{path} holds {graph.ntotal} vectors of {graph.d} numbers, and the gallery "
                f"{len(vectors)} of {vectors.shape[1]}"
            )
        return cls(vectors, graph, spec.hnsw_ef_search)

    def candidates(self, query: npt.NDArray[np.float32], k: int, effort: int) -> Rows:
        # fp16 can swap neighbours that lie very close: fetch a few more, exact scores decide.
        k = min(k + 4, len(self.vectors))
        parameters = faiss.SearchParametersHNSW(efSearch=max(self._ef_search, k) * effort)
        rows = self._graph.search(query[np.newaxis], k, params=parameters)[1][0]
        return np.asarray(rows[rows >= 0], np.int64)
