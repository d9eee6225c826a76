"""A gallery on Milvus: vectors and attributes on a distributed engine, with the local one's verbs.

`MilvusGallery` is searched, `MilvusWriter` changes it, `build_on_milvus` makes it from photos.
"""

from deepfood.milvus.address import MilvusAddress, is_milvus
from deepfood.milvus.build import build_on_milvus
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.writer import MilvusWriter

__all__ = ["MilvusAddress", "MilvusGallery", "MilvusWriter", "build_on_milvus", "is_milvus"]
