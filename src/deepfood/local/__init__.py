"""The engine for galleries in folders: a catalogue, a file of vectors, an index and a journal.

`build` makes a gallery from photos, `gallery` searches it, `writer` changes it.
"""

from deepfood.local.build import build_gallery
from deepfood.local.gallery import LocalGallery
from deepfood.local.manifest import LocalManifest, gallery_model, is_gallery
from deepfood.local.writer import LocalWriter

__all__ = [
    "LocalGallery",
    "LocalManifest",
    "LocalWriter",
    "build_gallery",
    "gallery_model",
    "is_gallery",
]
