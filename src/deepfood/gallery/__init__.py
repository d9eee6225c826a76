"""The Gallery artifact: build one from photos, search it, check it."""

from deepfood.gallery.answer import Answer, LabelGuess, Verdict, judge
from deepfood.gallery.build import BuildReport, build_gallery
from deepfood.gallery.entry import Hit, Photo
from deepfood.gallery.gallery import Gallery
from deepfood.gallery.manifest import GalleryManifest, gallery_model, is_gallery
from deepfood.gallery.writer import GalleryWriter

__all__ = [
    "Answer",
    "BuildReport",
    "Gallery",
    "GalleryManifest",
    "GalleryWriter",
    "Hit",
    "LabelGuess",
    "Photo",
    "Verdict",
    "build_gallery",
    "gallery_model",
    "is_gallery",
    "judge",
]
