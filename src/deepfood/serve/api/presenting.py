"""Convert the service's values to API responses. Links are below `public_url`, or relative."""

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple
from typing import Any

from deepfood.gallery import Hit, Photo
from deepfood.gallery.browse import FacetCounts, LabelPage, PhotoPage
from deepfood.gallery.notes import Note
from deepfood.gallery.values import Value, attribute_name
from deepfood.gallery.zero_shot import LabelAnswer
from deepfood.serve.api.resources import Resources
from deepfood.serve.curated import (
    CuratedPage,
    DoubtfulPage,
    DuplicatePage,
    OutlierPage,
    OverlapPage,
    ToLabelPage,
)
from deepfood.serve.edge.conditional import tag_of
from deepfood.serve.question import PlatePart, SearchResult
from deepfood.serve.service import SearchService
from deepfood_client import models


def result_of(found: SearchResult, public_url: str) -> models.SearchResult:
    """A page of hits."""
    return models.SearchResult(
        hits=tuple(hit_of(hit, public_url) for hit in found.hits),
        verdict=found.verdict,
        in_gallery=found.in_gallery,
        label=found.label and models.LabelGuess(**asdict(found.label)),
        total=found.total,
        next=found.next,
        notes=_notes(found.notes),
        parts=None
        if found.parts is None
        else tuple(part_of(part, public_url) for part in found.parts),
        several=found.several,
        question=found.question,
    )


def part_of(part: PlatePart, public_url: str) -> models.PlatePart:
    """A dish of a plate."""
    return models.PlatePart(
        box=(part.box.x, part.box.y, part.box.width, part.box.height),
        verdict=part.verdict,
        in_gallery=part.in_gallery,
        label=part.label and models.LabelGuess(**asdict(part.label)),
        hits=tuple(hit_of(hit, public_url) for hit in part.hits),
        probability=part.probability,
    )


def _notes(notes: Sequence[Note]) -> tuple[models.Note, ...]:
    return tuple(models.Note(**asdict(one)) for one in notes)


def hit_of(hit: Hit, public_url: str) -> models.Hit:
    """A hit with its attributes and near-duplicates."""
    alike = tuple(
        models.NearDuplicate(score=one.score, **photo_of(one.photo, public_url).model_dump())
        for one in hit.alike
    )
    return models.Hit(
        score=hit.score,
        probability=hit.probability,
        same_dish=hit.same_dish,
        alike=alike,
        matched=tuple(
            models.Matched(word=one.word, field=one.field, value=one.value) for one in hit.matched
        ),
        attributes=dict(hit.attributes),
        box=astuple(hit.box) if hit.box else None,
        **photo_of(hit.photo, public_url).model_dump(),
    )


def label_answer_of(answer: LabelAnswer) -> models.LabelAnswer:
    """The names that suit a photo."""
    fitted = answer.calibration
    return models.LabelAnswer(
        guesses=tuple(models.NameGuess(**asdict(one)) for one in answer.guesses),
        verdict=answer.verdict,
        in_names=answer.in_names,
        calibration=fitted and models.NamesCalibration(**fitted.quality),
        notes=_notes(answer.notes),
    )


def photo_of(photo: Photo, public_url: str) -> models.Photo:
    """A photo with its links."""
    return models.Photo(
        id=photo.id,
        label=photo.label,
        name=photo.name,
        width=photo.width,
        height=photo.height,
        url=url(public_url, f"/photos/{photo.id}"),
        thumbnail_url=url(public_url, f"/thumbnails/{photo.id}"),
    )


def facts_of(service: SearchService, photo_id: str, public_url: str) -> models.PhotoFacts:
    """A photo with its attributes. Raises PhotoNotFoundError."""
    return _facts(*service.gallery.facts(photo_id), public_url)


def tag_of_facts(facts: models.PhotoFacts) -> str:
    """The ETag of a photo with its attributes; its links do not count."""
    said = facts.model_dump(include={"id", "label", "name", "attributes"})
    return tag_of(json.dumps(said, sort_keys=True).encode())


def photo_page_of(page: PhotoPage, public_url: str) -> models.PhotoPage:
    """A page of photos with their attributes."""
    return models.PhotoPage(
        photos=tuple(_facts(photo, values, public_url) for photo, values in page.photos),
        total=page.total,
        next=page.next,
        notes=_notes(page.notes),
        start=page.start,
    )


def label_page_of(page: LabelPage) -> models.LabelPage:
    """A page of labels."""
    labels = tuple(models.LabelCount(**asdict(one)) for one in page.labels)
    return models.LabelPage(labels=labels, total=page.total, next=page.next)


def doubtful_page_of(page: DoubtfulPage, public_url: str) -> models.DoubtfulPage:
    """A page of doubtful labels."""
    photos = tuple(
        models.DoubtfulLabel(
            suggested=one.suggested,
            probability=one.probability,
            suggested_probability=one.suggested_probability,
            agreeing=one.agreeing,
            voters=one.voters,
            **photo_of(one.photo, public_url).model_dump(),
        )
        for one in page.entries
    )
    return models.DoubtfulPage(photos=photos, **_of_page(page))


def overlap_page_of(page: OverlapPage) -> models.OverlapPage:
    """A page of labels that overlap."""
    pairs = tuple(models.Overlap(**asdict(one)) for one in page.entries)
    return models.OverlapPage(pairs=pairs, **_of_page(page))


def outlier_page_of(page: OutlierPage, public_url: str) -> models.OutlierPage:
    """A page of photos far from all others."""
    photos = tuple(
        models.Outlier(
            similarity=one.similarity,
            deviations=one.deviations,
            **photo_of(one.photo, public_url).model_dump(),
        )
        for one in page.entries
    )
    return models.OutlierPage(photos=photos, **_of_page(page))


def to_label_page_of(page: ToLabelPage, public_url: str) -> models.ToLabelPage:
    """A page of photos that are worth a label."""
    photos = tuple(
        models.ToLabel(
            guess=one.guess,
            uncertainty=one.uncertainty,
            density=one.density,
            **photo_of(one.photo, public_url).model_dump(),
        )
        for one in page.entries
    )
    return models.ToLabelPage(photos=photos, **_of_page(page))


def duplicate_page_of(page: DuplicatePage, public_url: str) -> models.DuplicatePage:
    """A page of groups of near-duplicates."""
    groups = tuple(
        models.DuplicateGroup(
            photos=tuple(
                models.NearDuplicate(score=score, **photo_of(photo, public_url).model_dump())
                for photo, score in group.photos
            ),
            different_labels=group.different_labels,
        )
        for group in page.entries
    )
    return models.DuplicatePage(groups=groups, **_of_page(page))


def _of_page(page: CuratedPage[Any]) -> dict[str, Any]:
    """The fields that the pages of all these lists have."""
    return {
        "total": page.total,
        "looked_at": page.looked_at,
        "next": page.next,
        "notes": _notes(page.notes),
    }


def facets_of(counts: FacetCounts) -> models.Facets:
    """The facets of the photos that were asked for."""
    return models.Facets(
        total=counts.total,
        counted=counts.counted,
        facets=tuple(models.Facet(**asdict(one)) for one in counts.facets),
        notes=_notes(counts.notes),
    )


def _facts(photo: Photo, attributes: dict[str, Value], public_url: str) -> models.PhotoFacts:
    return models.PhotoFacts(attributes=attributes, **photo_of(photo, public_url).model_dump())


def gallery_of(resources: Resources) -> models.GalleryFacts:
    """The gallery that is searched."""
    service = resources.service
    gallery = service.gallery
    manifest, preprocess = gallery.manifest, service.embedder.preprocess
    return models.GalleryFacts(
        photos=gallery.count,
        labels=gallery.labels,
        index=manifest.index.kind,
        model=manifest.model_name,
        dimension=manifest.dimension,
        crop=preprocess.crop,
        resize=preprocess.resize,
        attributes=[models.Attribute(**asdict(one)) for one in gallery.columns()],
        changes=resources.takes_changes,
        query_urls=resources.takes_urls,
        feedback=resources.settings.feedback,
        feedback_photos=resources.keeps_photos,
    )


def attribute_of(service: SearchService, name: str) -> models.Attribute:
    """An attribute that has just been declared."""
    gallery = service.gallery
    gallery.follow()  # a gallery on Milvus may be a second behind
    columns = {one.name: one for one in gallery.columns()}
    return models.Attribute(**asdict(columns[attribute_name(name)]))


def url(public_url: str, path: str) -> str:
    """Below `public_url`, or relative to this server; never made from what the client sent."""
    return public_url.rstrip("/") + path
