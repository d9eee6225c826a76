"""Nearest neighbours: thin wrappers over libraries, one contract. Knows vectors, not photos."""

from deepfood.index.annoy import AnnoyIndex
from deepfood.index.contract import Index, IndexSpec, Kind, Mask
from deepfood.index.exact import ExactIndex
from deepfood.index.hnsw import HnswIndex
from deepfood.index.vectors import Rows, Storage, VectorFile, append_vectors, check_rows

__all__ = [
    "INDEXES",
    "Index",
    "IndexSpec",
    "Kind",
    "Mask",
    "Rows",
    "Storage",
    "VectorFile",
    "append_vectors",
    "check_rows",
]

INDEXES: dict[str, type[Index]] = {
    index.kind: index for index in (ExactIndex, AnnoyIndex, HnswIndex)
}
