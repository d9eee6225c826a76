"""From what the service gives to what the API answers."""

from dataclasses import asdict

from fastapi import Request

from deepfood.config import Settings
from deepfood.gallery import Hit, Photo
from deepfood.gallery.values import Value, attribute_name
from deepfood.serve.service import SearchService
from deepfood_client import models


def photo_of(request: Request, photo: Photo) -> models.Photo:
    return models.Photo(
        id=photo.id,
        label=photo.label,
        name=photo.name,
        width=photo.width,
        height=photo.height,
        url=url(request, f"/photos/{photo.id}"),
        thumbnail_url=url(request, f"/thumbnails/{photo.id}"),
    )


def hit_of(
    request: Request, hit: Hit, alike: list[Hit], attributes: dict[str, Value]
) -> models.Hit:
    about = photo_of(request, hit.photo).model_dump()
    near = [
        models.NearDuplicate(score=one.score, **photo_of(request, one.photo).model_dump())
        for one in alike
    ]
    return models.Hit(
        score=hit.score,
        probability=hit.probability,
        same_dish=hit.same_dish,
        alike=near,
        attributes=attributes,
        **about,
    )


def facts_of(request: Request, photo_id: str) -> models.PhotoFacts:
    """Raises PhotoNotFoundError."""
    service: SearchService = request.state.current.service
    photo, attributes = service.gallery.facts(photo_id)
    return models.PhotoFacts(attributes=attributes, **photo_of(request, photo).model_dump())


def gallery_of(request: Request) -> models.GalleryFacts:
    service: SearchService = request.state.current.service
    gallery = service.gallery
    about = gallery.manifest
    return models.GalleryFacts(
        photos=gallery.count,
        labels=gallery.labels,
        index=about.index.kind,
        model=about.model_name,
        dimension=about.dimension,
        crop=service.embedder.model.manifest.preprocess.crop,
        attributes=[models.Attribute(**asdict(one)) for one in gallery.columns()],
    )


def attribute_of(request: Request, name: str) -> models.Attribute:
    """An attribute that has just been declared."""
    gallery = request.state.current.service.gallery
    gallery.follow()  # what was known of a gallery on Milvus may be a second old
    columns = {one.name: one for one in gallery.columns()}
    return models.Attribute(**asdict(columns[attribute_name(name)]))


def url(request: Request, path: str) -> str:
    """Relative to this server, or below `public_url`; never made from what the client sent."""
    settings: Settings = request.app.state.settings
    return settings.public_url.rstrip("/") + path
