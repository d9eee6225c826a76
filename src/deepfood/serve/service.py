"""The service without HTTP: find photos similar to a photo, and read their files."""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from cachetools import LRUCache
from PIL import Image

from deepfood.config import Settings
from deepfood.embed import Embedder, Vector, Vectors, open_embedder
from deepfood.engine import engine_at
from deepfood.errors import DeepfoodError, QueryError, SettingError
from deepfood.gallery import Answer, Hit, Photo, judge
from deepfood.gallery.answer import judge_words, nearest_labelled
from deepfood.gallery.filters import parse_filter
from deepfood.gallery.part_vectors import PartEmbedder
from deepfood.gallery.protocol import FindOptions, FindResult, SearchedGallery
from deepfood.gallery.queries import Example, combine
from deepfood.gallery.vote import VOTERS
from deepfood.gallery.written import Suggestion
from deepfood.gallery.zero_shot import LabelAnswer, LabelNames
from deepfood.heatmap import MatchExplainer
from deepfood.photo import part_pixels, thumbnail
from deepfood.photo_box import Box
from deepfood.release.cached import open_cached
from deepfood.serve.asked import QuestionTokens, asked_by, check_takes_feedback
from deepfood.serve.curated import Curator
from deepfood.serve.cursors import Cursors
from deepfood.serve.labels import Labeller
from deepfood.serve.plates import check_plate, search_plate
from deepfood.serve.question import SearchQuestion, SearchResult
from deepfood.serve.released import PhotoLinks, is_released
from deepfood.serve.telemetry.metrics import stage
from deepfood.serve.worded import WordsResult, Written, find_with_words, look_up, looks_of
from deepfood.words import open_text_embedder


class SearchService:
    """A gallery and the Embedder for its queries. All methods are thread-safe."""

    def __init__(self, gallery: SearchedGallery, embedder: Embedder, settings: Settings) -> None:
        self.gallery = gallery
        self.embedder = embedder
        self.explainer = MatchExplainer(embedder.model, embedder.limits, embedder.threads)
        self.parts = PartEmbedder(embedder)
        self.plates = self.parts.finder
        self.words = (
            open_text_embedder(settings, embedder.model)
            if embedder.model.manifest.text_tower
            else None
        )
        self.labeller = Labeller(gallery, embedder.model, self.words, settings)
        self.max_k = settings.max_k
        self.cursors = Cursors(settings.cursor_key)
        self.questions = QuestionTokens(settings.cursor_key)
        self._takes_feedback = settings.feedback
        self.curator = Curator(gallery)
        self._match_probability = settings.match_probability
        self._none_probability = settings.none_probability
        self._thumbnail_pixels = settings.thumbnail_pixels
        self._thumbnails: LRUCache[str, bytes] = LRUCache(
            settings.thumbnail_cache_bytes, getsizeof=len
        )
        self._thumbnails_lock = threading.Lock()
        self.links = PhotoLinks.of(gallery.place, settings)

    def search(self, question: SearchQuestion) -> SearchResult:
        """The page of hits asked for, and what is known of the one photo asked with.

        Photos of the gallery that the question names are left out of the hits. No label is guessed
        for one that has a label. Raises PhotoError or QueryError.
        """
        if not 1 <= question.k <= self.max_k:
            raise QueryError(f"k = {question.k}: ask for 1 to {self.max_k} photos", "k")
        if question.plate:
            check_plate(question)
            photo = question.photos[0] if question.photos else self.photo(question.ids[0])[1]
            curves = self.gallery.manifest.calibration
            return search_plate(question, photo, self, curves.plates if curves else None)
        return self._search(question)

    def search_part(self, question: SearchQuestion, picture: Image.Image, box: Box) -> SearchResult:
        """Search with a part of a question's one photo, which is decoded already (`read_small`).

        Raises QueryError.
        """
        with stage("decode"):
            pixels = part_pixels(picture, self.embedder.preprocess, box)
        with stage("embed"):
            vector = self.embedder.infer(pixels)
        return self._search(question, vector)

    def _search(self, question: SearchQuestion, part: Vector | None = None) -> SearchResult:
        """Search with what a question asks for, or with the vector of a part of its one photo."""
        where = parse_filter(question.where) if question.where is not None else None
        cursor = None if question.cursor is None else self.cursors.checked(question.cursor)
        options = FindOptions(
            where=where,
            diversity=question.diversity,
            group_duplicates=question.group_duplicates,
            cursor=cursor,
            without=(*question.ids, *question.not_ids, *question.without),
            untuned=bool(question.words or question.not_words),
        )
        written = None
        if question.words:
            tower = self.words is not None
            written = look_up(self.gallery, question.words, options, or_raise=not tower)
        query = self._vector(question, written, options) if part is None else part
        found: FindResult
        with stage("search"):
            if question.words:
                found, answer = self._find_with_words(question, query, written, options)
            else:
                assert query is not None
                found = self.gallery.find(query, question.k, **options)
                answer = self._answer(question, query, found)
        alike = {hit.photo.id: some for hit, some in zip(found.hits, found.alike, strict=True)}
        hits = (
            replace(
                hit,
                attributes=found.attributes.get(hit.photo.id, {}),
                alike=tuple(alike[hit.photo.id]),
            )
            for hit in answer.hits
        )
        return SearchResult(
            hits=tuple(hits),
            verdict=answer.verdict,
            in_gallery=answer.in_gallery,
            label=answer.label,
            total=found.total,
            next=None if found.next is None else self.cursors.signed(found.next),
            notes=found.notes,
            question=self._token(question, query) if self._takes_feedback else None,
        )

    def _token(self, question: SearchQuestion, query: Vectors | None) -> str:
        """The token of a question, for votes on its hits."""
        model = self.embedder.model.fingerprint
        has_vectors = self.words is not None
        return self.questions.token(
            asked_by(question, query, self.gallery, model, words_have_vectors=has_vectors)
        )

    def _answer(self, question: SearchQuestion, query: Vectors, found: FindResult) -> Answer:
        calibration = self.gallery.manifest.calibration
        if calibration is None or not question.shows_one_photo:
            return Answer(found.hits)
        if any(self.gallery.photo(photo_id).label for photo_id in question.ids):
            return Answer(found.hits)
        voters: list[Hit] = []
        if question.asks_for_nearest and question.k >= VOTERS:
            nearest = [*found.hits, *itertools.chain.from_iterable(found.alike)]
            voters = sorted(nearest, key=lambda hit: -hit.score)[:VOTERS]
            voters = [hit for hit in voters if not hit.box]  # photos vote as wholes
        if len(voters) < VOTERS or not all(hit.photo.label for hit in voters):
            left_out = (*question.ids, *question.without)
            voters = nearest_labelled(self.gallery, query, left_out)
        return judge(
            found.hits,
            voters,
            calibration,
            match_probability=self._match_probability,
            none_probability=self._none_probability,
        )

    def _find_with_words(
        self,
        question: SearchQuestion,
        query: Vectors | None,
        written: Written | None,
        options: FindOptions,
    ) -> tuple[WordsResult, Answer]:
        """The photos found, and of words alone what is known: from texts, and from looks.

        What looks so is judged where that is calibrated, which it is for words alone.
        """
        alone = question.asks_with_words
        curves = self.gallery.manifest.calibration
        calibration = curves.words if curves and alone and self.words else None

        def find(*, only_written: bool = False, looks: FindResult | None = None) -> WordsResult:
            return find_with_words(
                self.gallery,
                query,
                written,
                question.k,
                text_tower=self.words is not None,
                alone=alone,
                calibration=calibration,
                only_written=only_written,
                looks=looks,
                **options,
            )

        found = find()
        named = written.verdict if written else "none"
        if not alone:
            return found, Answer(found.hits)
        if self.words is None:
            return found, Answer(found.hits, named)
        if calibration is None:
            return found, Answer(found.hits, "match" if named == "match" else None)
        assert query is not None
        best = found.nearest
        if best is None:  # a filter: the photos that do not pass count as well
            best = max((hit.score for hit in self.gallery.search(query, 1)), default=-1.0)

        def judged() -> Answer:
            return judge_words(
                found.hits,
                best,
                calibration,
                written=named,
                match_probability=self._match_probability,
                none_probability=self._none_probability,
            )

        answer = judged()
        if len(answer.hits) < len(found.hits):  # what looks so is not shown, on no page
            found = find(only_written=True, looks=found.looks)
            answer = judged()
        return found, answer

    def _vector(
        self, question: SearchQuestion, written: Written | None, options: FindOptions
    ) -> Vectors | None:
        """The query to search for, as `combine` gives it.

        None where only words are wanted that no text of the gallery has, and no text tower knows.
        """
        if question.box and len(question.photos) + len(question.ids) != 1:
            raise QueryError("a box is a part of one photo: ask with one", "box")
        wanted = self._photos_of(question, "photos", "ids")
        alone = written if len(question.words) == 1 else None
        wanted += self._looks_of(question.weighted("words"), options, alone)
        unwanted = self._photos_of(question, "not_photos", "not_ids")
        unwanted_words = self._looks_of(question.weighted("not_words"), {}, or_raise=True)
        if question.words and not wanted:
            return None
        if self.words is None:  # words stand for photos
            return combine(wanted, [unwanted + unwanted_words])
        return combine(wanted, [unwanted, unwanted_words])

    def _photos_of(self, question: SearchQuestion, photos: str, ids: str) -> list[Example]:
        """The vectors of the photos in two fields of a question, each of the part that counts."""
        found = [(self._embed(data, box), weight) for data, weight, box in question.boxed(photos)]
        for photo_id, weight, box in question.boxed(ids):
            vector = (
                self._embed(self.photo(photo_id)[1], box) if box else self.gallery.vector(photo_id)
            )
            found.append((vector, weight))
        return found

    def _embed(self, data: bytes, box: Box | None = None) -> Vector:
        with stage("decode"):
            pixels = self.embedder.read(data, box)
        with stage("embed"):
            return self.embedder.infer(pixels)

    def _embed_words(self, words: str) -> Vector:
        assert self.words is not None
        with stage("embed"):
            return self.words.embed(words)

    def _looks_of(
        self,
        words: Sequence[tuple[str, float]],
        options: FindOptions,
        written: Written | None = None,
        *,
        or_raise: bool = False,
    ) -> list[Example]:
        """The vectors of words; without a text tower, of the photos that are called so, if any.

        `written` is what is known of them already. With `or_raise`, words that cannot be looked up
        raise QueryError.
        """
        found = []
        for text, weight in words:
            if self.words is not None:
                found.append((self._embed_words(text), weight))
                continue
            called = written or look_up(self.gallery, [text], options, or_raise=or_raise)
            looks = looks_of(self.gallery, called) if called else None
            if looks is not None:
                found.append((looks, weight))
        return found

    def guess_label(
        self, names: LabelNames, photo: bytes | None = None, photo_id: str = ""
    ) -> LabelAnswer:
        """Which of the names a photo shows: given as bytes, or as the id of one of the gallery.

        Raises PhotoError, PhotoNotFoundError, or NoTextTowerError where the Model takes no words.
        """
        vector = self._embed(photo) if photo is not None else self.gallery.vector(photo_id)
        return self.labeller.guess(vector[np.newaxis], names)[0]

    def suggest(self, begun: str, limit: int) -> list[Suggestion]:
        """Texts of the gallery for what somebody begins to type. Raises QueryError."""
        return self.gallery.suggest(begun, limit)

    def photo(self, photo_id: str) -> tuple[Photo, bytes]:
        """A photo of the gallery and its file. Raises PhotoNotFoundError."""
        photo = self.gallery.photo(photo_id)
        return photo, self.gallery.read(photo)

    def link(self, photo_id: str) -> str | None:
        """The photo's address in the bucket; None where this service sends the photo itself.

        Raises PhotoNotFoundError, StorageError.
        """
        return self.links.to(self.gallery.photo(photo_id)) if self.links else None

    def thumbnail(self, photo_id: str) -> bytes:
        """A small JPEG of a photo of the gallery, made when first asked for."""
        photo = self.gallery.photo(photo_id)
        with self._thumbnails_lock:
            kept = self._thumbnails.get(photo.id)
        if kept is None:  # made outside the lock, so occasionally twice
            kept = thumbnail(self.gallery.read(photo), self._thumbnail_pixels, self.embedder.limits)
            if len(kept) <= self._thumbnails.maxsize:
                with self._thumbnails_lock:
                    self._thumbnails[photo.id] = kept
        return kept

    def close(self) -> None:
        self.curator.close()
        self.gallery.close()


def open_service(settings: Settings, before: SearchService | None = None) -> SearchService:
    """Open the Model and gallery that the settings name.

    The Embedder of `before` is reused where it has the same Model. Where the latest release cannot
    be opened, the last good one is opened instead. Raises SettingError, ArtifactError,
    StorageError, DiskFullError or EngineError.
    """
    if settings.gallery is None:
        raise SettingError("no gallery: name one, or set DEEPFOOD_GALLERY")
    check_takes_feedback(settings)

    def open_at(place: Path | str) -> SearchService:
        gallery, model = engine_at(place, settings).open()
        try:
            if before and before.embedder.model.fingerprint == model.fingerprint:
                embedder = before.embedder
            else:
                embedder = open_embedder(settings, model, latency=True)
            return SearchService(gallery, embedder, settings)
        except DeepfoodError:
            gallery.close()
            raise

    if is_released(settings):
        return open_cached(settings.gallery, settings, open_at, quiet=True)
    return open_at(settings.gallery)
