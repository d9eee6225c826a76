"""The Gallery artefact: build one from photos, search it, check it."""

from deepfood.gallery.build import BuildReport, build_gallery
from deepfood.gallery.gallery import Gallery, GalleryManifest, Hit
from deepfood.gallery.store import Photo

__all__ = ["BuildReport", "Gallery", "GalleryManifest", "Hit", "Photo", "build_gallery"]
