"""The Gallery artefact: build one from photos, search it, check it."""

from deepfood.gallery.answer import Answer, LabelGuess, Verdict, judge
from deepfood.gallery.build import BuildReport, build_gallery
from deepfood.gallery.gallery import Gallery, GalleryManifest, Hit
from deepfood.gallery.store import Photo

__all__ = [
    "Answer",
    "BuildReport",
    "Gallery",
    "GalleryManifest",
    "Hit",
    "LabelGuess",
    "Photo",
    "Verdict",
    "build_gallery",
    "judge",
]
