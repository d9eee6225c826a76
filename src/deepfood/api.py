"""The public Python API, which `import deepfood` gives: the commands as functions.

A place is whatever the commands accept: a folder, a release `s3://bucket/prefix[@RELEASE]` or in a
folder of releases, or `milvus://host:port/name`. `settings` are those of `load_settings`; None
reads them from the environment and deepfood.toml, as a command does. Every error is a
DeepfoodError.
"""

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, Unpack

from deepfood import embed, words
from deepfood.config import Settings, available_cores, load_settings
from deepfood.data.photos import PhotoSource, list_photos
from deepfood.embed import Embedder, Vector
from deepfood.engine import engine_at
from deepfood.errors import DatasetError, QueryError, nearest
from deepfood.gallery import BuildReport, Photo
from deepfood.gallery.add import AddReport
from deepfood.gallery.answer import Verdict
from deepfood.gallery.engine import ForAll
from deepfood.gallery.label_table import read_labels
from deepfood.gallery.reports import Consent
from deepfood.gallery.values import Value
from deepfood.gallery.zero_shot import TEMPLATE, LabelAnswer, LabelNames
from deepfood.local.embedding_cache import Embedded, embed_dataset, held_out_photos
from deepfood.photo import Limits
from deepfood.photo_box import Box
from deepfood.place import Place
from deepfood.progress import bar
from deepfood.serve.fit_plates import calibrate_plates
from deepfood.serve.listing import Lists
from deepfood.serve.question import SearchQuestion, SearchResult
from deepfood.storage import S3Options
from deepfood.words import TextEmbedder
from deepfood_client.calls import (
    OneOrSeveral,
    PhotoLike,
    Question,
    boxes_of,
    examples_of,
    pages,
    photo_file,
)

if TYPE_CHECKING:
    from deepfood.evaluate.examine import Examination
    from deepfood.evaluate.word_queries import WordFigures
    from deepfood.gallery.calibration import Calibration
    from deepfood.gallery.curation import Curation

PlaceLike = str | os.PathLike[str]
#: Photos: what `list_photos` takes or returns.
Photos = PlaceLike | PhotoSource

#: How long a change waits for another writer's commit; a build takes longer.
WAIT_S = 5.0


class Gallery(Lists):
    """An open gallery, wherever it is; many threads may use one. `open_gallery` opens it.

    It follows its place: changes by others are visible from the next search on. `len()` is the
    number of its photos.
    """

    def search(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> SearchResult:
        """The photos most similar to those given: paths, bytes, Pillow images, an `id`, or `words`.

        The options are those of `deepfood_client.Client.search`. Raises PhotoError,
        DatasetError for a path that cannot be read, and QueryError.
        """
        return self._service.search(self._question(photo, question))

    def pages(
        self,
        photo: OneOrSeveral[PhotoLike] | None = None,
        **question: Unpack[Question],
    ) -> Iterator[SearchResult]:
        """The results of one search, page by page, to the last."""
        return pages(lambda following: self.search(photo, **following), question)

    def guess_label(
        self,
        photo: PhotoLike | None = None,
        *,
        names: Sequence[str],
        id: str | None = None,  # noqa: A002
        template: str = TEMPLATE,
    ) -> LabelAnswer:
        """Which of the `names` a photo shows: given, or of the gallery by its `id`.

        Each name takes the place of {} in `template`. Raises NoTextTowerError, QueryError,
        PhotoNotFoundError, PhotoError.
        """
        if (photo is None) == (id is None):
            raise QueryError("give either a photo or the id of one of the gallery")
        data = None if photo is None else _bytes_of(photo, self._service.embedder.limits)
        return self._service.guess_label(LabelNames.of(names, template), data, id or "")

    def guess_labels(
        self, names: Sequence[str], *, template: str = TEMPLATE, quiet: bool = True
    ) -> Iterator[tuple[Photo, LabelAnswer]]:
        """As `guess_label`, for each photo of the gallery that has no label."""
        chosen = LabelNames.of(names, template)
        return self._service.labeller.guess_unlabelled(chosen, quiet=quiet)

    def photo(self, photo_id: str) -> Photo:
        """Raises PhotoNotFoundError."""
        return self._service.gallery.photo(photo_id)

    def attributes(self, photo_id: str) -> dict[str, Value]:
        """The known attributes of a photo, by name. Raises PhotoNotFoundError."""
        return self._service.gallery.facts(photo_id)[1]

    def vector(self, photo_id: str) -> Vector:
        """The unit vector of a photo, float32 [dimension]. Raises PhotoNotFoundError."""
        return self._service.gallery.vector(photo_id)

    def read(self, photo: Photo) -> bytes:
        """The photo's file. Raises PhotoNotFoundError where it is gone or has changed."""
        return self._service.gallery.read(photo)

    def where(self, photo: Photo) -> str:
        """The path or address of the photo's file."""
        return self._service.gallery.where(photo)

    def __len__(self) -> int:
        return self._service.gallery.count

    def close(self) -> None:
        self._service.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _question(
        self, photo: OneOrSeveral[PhotoLike] | None, question: Question
    ) -> SearchQuestion:
        examples = examples_of(photo, question)
        limits = self._service.embedder.limits
        for name in ("photo", "not_photo"):
            examples[name] = [(_bytes_of(one, limits), weight) for one, weight in examples[name]]
        box = question.get("box")
        boxes = {
            name: [sides and Box(*sides) for sides in some]
            for name, some in boxes_of(photo, question).items()
        }
        defaults = SearchQuestion()
        return SearchQuestion.of(
            examples,
            boxes,
            k=question.get("k", defaults.k),
            where=question.get("where"),
            box=Box(*box) if box is not None else None,
            cursor=question.get("cursor"),
            diversity=question.get("diversity", defaults.diversity),
            group_duplicates=question.get("group_duplicates", defaults.group_duplicates),
            plate=question.get("plate", defaults.plate),
        )


def open_gallery(gallery: PlaceLike, settings: Settings | None = None) -> Gallery:
    """Open a gallery to search, with the Model that it was made with or the one in `settings`.

    Raises ArtifactError, StorageError, EngineError or MissingExtraError.
    """
    from deepfood.serve.service import open_service  # imports the HTTP stack

    settings = settings or load_settings()
    return Gallery(open_service(settings.model_copy(update={"gallery": os.fspath(gallery)})))


def build_gallery(
    photos: Photos,
    out: PlaceLike,
    settings: Settings | None = None,
    *,
    parts: bool | None = None,
    replace: bool = False,
    allow_loss: bool = False,
    discard: bool = False,
    empty: bool = False,
    quiet: bool = True,
) -> BuildReport[Any]:
    """Build a gallery of `photos` in `out`, or update it; an interrupted build resumes.

    With `parts`, the dishes of photos of several are found by themselves too; None keeps it as it
    is. A gallery on Milvus has none.
    `replace` allows photos from another place than the gallery's, `allow_loss` dropping more than
    half of its photos, `discard` starting over if its manifest cannot be read, `empty` a gallery
    without photos. Raises DatasetError, ArtifactError, StorageError, EngineError or DiskFullError;
    NoHeatMapError for parts without OpenVINO.
    """
    consent = Consent(replace=replace, allow_loss=allow_loss, discard=discard, empty=empty)
    settings = settings or load_settings()
    engine = engine_at(out, settings)
    source = photo_source(photos, settings, empty=empty)
    report = engine.build(source, parts=parts, consent=consent, quiet=quiet)
    now = calibrate_plates(engine, report.manifest.calibration, settings, quiet=quiet)
    manifest = report.manifest.model_copy(update={"calibration": now})
    return dataclasses.replace(report, manifest=manifest)


def add_photos(
    gallery: PlaceLike,
    photos: Sequence[PlaceLike],
    settings: Settings | None = None,
    *,
    label: str | None = None,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    wait_s: float = WAIT_S,
    quiet: bool = True,
) -> AddReport:
    """Add photos to a gallery, from files, folders and tables; they are found at once.

    `label`, `name` and `attributes`, where given, are set for all of them. It waits up to
    `wait_s` seconds for another writer. Raises DatasetError or ArtifactError (ArtifactBusyError
    among them).
    """
    engine = engine_at(gallery, settings or load_settings())
    paths = [os.fspath(one) for one in photos]
    return engine.add(paths, ForAll(label, name, attributes), wait_s=wait_s, quiet=quiet)


def update_photo(
    gallery: PlaceLike,
    photo: str,
    settings: Settings | None = None,
    *,
    label: str | None = None,
    name: str | None = None,
    attributes: Mapping[str, object] | None = None,
    wait_s: float = WAIT_S,
) -> Photo:
    """Change the label, name or attributes of a photo, named by its id or file; None leaves them.

    "" removes a label or name, None the value of an attribute. Raises PhotoNotFoundError,
    DatasetError or ArtifactError.
    """
    with engine_at(gallery, settings or load_settings()).writer(wait_s=wait_s) as writer:
        return writer.update(photo, label=label, photo_name=name, attributes=attributes)


def set_labels(
    gallery: PlaceLike,
    table: PlaceLike,
    settings: Settings | None = None,
    *,
    wait_s: float = WAIT_S,
) -> dict[str, str]:
    """Set the labels of a CSV with columns id and label; rows without a label are passed over.

    Returns the label of each photo by its id. None is set if a photo is missing. Raises
    PhotoNotFoundError, DatasetError or ArtifactError.
    """
    labels = read_labels(Path(table))
    engine = engine_at(gallery, settings or load_settings())
    with closing(engine.open_to_read()) as opened:
        for photo in labels:
            opened.photo(photo)
    with engine.writer(wait_s=wait_s) as writer:
        for photo, label in labels.items():
            writer.update(photo, label=label)
    return labels


def check_labels(
    gallery: PlaceLike, settings: Settings | None = None, *, quiet: bool = True
) -> "Curation":
    """What is worth a look in a gallery's labels, found by comparing all of its photos.

    Labels that are likely wrong, labels that overlap, outliers, near-copies with different labels,
    and photos worth labelling next. Raises ArtifactError, StorageError or EngineError.
    """
    from deepfood.gallery.curation import curate

    with closing(engine_at(gallery, settings or load_settings()).open_to_read()) as opened:
        every, index = opened.compared()
        with bar("Comparing", "photo", len(every[0]), quiet=quiet) as progress:
            return curate(index, every, progress.update, threads=available_cores())


def remove_photos(
    gallery: PlaceLike,
    photos: Sequence[str],
    settings: Settings | None = None,
    *,
    wait_s: float = WAIT_S,
) -> list[Photo]:
    """Remove photos, named by ids or files; none of them if one is missing.

    Raises PhotoNotFoundError or ArtifactError.
    """
    with engine_at(gallery, settings or load_settings()).writer(wait_s=wait_s) as writer:
        return writer.remove(photos)


def open_embedder(settings: Settings | None = None) -> Embedder:
    """Open the Model in `settings`, or the one that ships. Raises ArtifactError or SettingError."""
    return embed.open_embedder(settings or load_settings())


def open_text_embedder(settings: Settings | None = None) -> TextEmbedder:
    """What embeds words with the Model in `settings`: `embed(text)` gives a unit vector.

    The text tower is opened by the first words. Raises ArtifactError, or NoTextTowerError where the
    Model has none.
    """
    return words.open_text_embedder(settings or load_settings())


def embed_photos(
    photos: Photos,
    settings: Settings | None = None,
    *,
    embedder: Embedder | None = None,
    quiet: bool = True,
) -> Embedded:
    """The unit vectors of photos, float32 [n, dimension], with their files and hashes.

    They are cached, so that a photo is embedded once. `embedder` is an open Embedder to
    reuse. Raises DatasetError where no photo is usable.
    """
    settings = settings or load_settings()
    source = photo_source(photos, settings)
    embedder = embedder or open_embedder(settings)
    return embed_dataset(source, embedder, settings.cache.expanduser(), quiet=quiet)


def evaluate_gallery(
    gallery: PlaceLike,
    queries: PlaceLike | None = None,
    settings: Settings | None = None,
    *,
    compare: PlaceLike | None = None,
    k: int = 9,
    seed: int = 0,
    quiet: bool = True,
) -> "Examination":
    """Evaluate how well a gallery finds and recognizes dishes, with confidence intervals.

    The queries are the labelled photos `queries`, or the gallery's own, each left out in turn.
    `compare` is a second gallery of the same photos, or a Model. Raises DatasetError or
    ArtifactError.
    """
    from deepfood.evaluate.examine import examine

    settings = settings or load_settings()
    return examine(
        Place.parse(gallery).readable(settings),
        queries if queries is None else os.fspath(queries),
        settings,
        other=compare if compare is None else Place.parse(compare).readable(settings),
        k=k,
        seed=seed,
        quiet=quiet,
    )


def evaluate_words(
    gallery: PlaceLike,
    queries: PlaceLike | None = None,
    settings: Settings | None = None,
    *,
    k: int = 9,
    seed: int = 0,
    quiet: bool = True,
) -> "WordFigures":
    """How well words find the photos of a gallery.

    `queries` is a CSV with columns words and label or id; without it each label is asked as words.
    Raises DatasetError, NoTextTowerError or ArtifactError.
    """
    from deepfood.evaluate.word_queries import measure_words, word_queries

    with open_gallery(gallery, settings) as opened:
        asked = word_queries(
            opened._service.gallery.photos()[0], None if queries is None else Path(queries)
        )

        def ask(words: str, count: int) -> tuple[list[Photo], Verdict | None]:
            found = opened.search(words=words, k=min(count, opened._service.max_k))
            return [hit.photo for hit in found.hits], found.verdict

        return measure_words(asked, ask, k=k, seed=seed, quiet=quiet)


def calibrate_gallery(
    gallery: PlaceLike,
    queries: Photos,
    settings: Settings | None = None,
    *,
    quiet: bool = True,
) -> "Calibration":
    """Fit the probabilities of a gallery's answers on labelled photos that it does not hold.

    A build fits them on the gallery's own photos, which is not possible if the Model was trained on
    them. Raises DatasetError where `queries` has too few labelled photos that the Model and the
    gallery have not seen, or ArtifactError.
    """
    settings = settings or load_settings()
    engine = engine_at(gallery, settings)
    opened, model = engine.open()
    opened.close()
    asked = held_out_photos(
        photo_source(queries, settings),
        embed.open_embedder(settings, model),
        settings.cache.expanduser(),
        quiet=quiet,
    )
    found = engine.recalibrate(asked, model, quiet=quiet)
    return calibrate_plates(engine, found, settings, quiet=quiet) or found


def read_photo(photo: Path, limits: Limits) -> bytes:
    """The bytes of a query photo. Raises DatasetError or PhotoTooLargeError."""
    try:
        limits.check_bytes(photo.stat().st_size)
        with photo.open("rb") as file:
            data = file.read(limits.max_bytes + 1)  # the size of a pipe is unknown
        limits.check_bytes(len(data))
        return data
    except FileNotFoundError:
        raise DatasetError(f"there is no {photo}: {nearest(photo)}") from None
    except OSError as error:
        raise DatasetError(f"{photo} cannot be read: {error.strerror}") from error


def _bytes_of(photo: PhotoLike, limits: Limits) -> bytes:
    if isinstance(photo, str | os.PathLike):
        return read_photo(Path(photo), limits)
    return photo_file(photo)[1]


def photo_source(photos: Photos, settings: Settings, *, empty: bool = False) -> PhotoSource:
    """The photos of a folder, CSV or s3:// prefix, listed if they are not yet.

    Raises DatasetError where there are none, unless `empty` allows it.
    """
    if isinstance(photos, PhotoSource):
        return photos
    return list_photos(os.fspath(photos), S3Options.of(settings), empty=empty)
