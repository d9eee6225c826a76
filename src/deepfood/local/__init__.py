"""Galleries in folders of this machine: a catalogue, files of vectors, an index and a journal.

`gallery` is searched, `writer` changes it, `build` makes it from photos.
"""

from deepfood.local.build import build_gallery
from deepfood.local.gallery import Gallery
from deepfood.local.manifest import GalleryManifest, gallery_model, is_gallery
from deepfood.local.writer import GalleryWriter

__all__ = [
    "Gallery",
    "GalleryManifest",
    "GalleryWriter",
    "build_gallery",
    "gallery_model",
    "is_gallery",
]
