"""Nearest neighbours: thin wrappers over libraries, one contract. Knows vectors, not photos."""

from deepfood.index.annoy import AnnoyIndex
from deepfood.index.contract import Index, IndexSpec, Kind
from deepfood.index.exact import ExactIndex
from deepfood.index.hnsw import HnswIndex

__all__ = ["INDEXES", "Index", "IndexSpec", "Kind"]

INDEXES: dict[str, type[Index]] = {
    index.kind: index for index in (ExactIndex, AnnoyIndex, HnswIndex)
}
