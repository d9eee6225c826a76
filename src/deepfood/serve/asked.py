"""Questions that people may give feedback on, as tokens that their answers carry.

A token has the hash of what was asked, and the question's vector by the Model that made it, signed
with the key of the cursors. So every worker process and every server of the gallery can take a
vote, nothing is kept of a question until somebody votes, and no client can make up a vector.
"""

import base64
import hashlib
import hmac
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast, get_args

import numpy as np

from deepfood.config import Settings
from deepfood.embed import Vector, Vectors
from deepfood.errors import QueryError, SettingError
from deepfood.gallery.feedback import Kind
from deepfood.gallery.protocol import SearchedGallery
from deepfood.place import Place
from deepfood.serve.cursors import new_cursor_key
from deepfood.serve.question import SearchQuestion

#: A vote on an older answer is refused.
LASTS_S = 24 * 3600
_SIGNATURE_BYTES = 16
#: So that no cursor is taken for a question.
_PURPOSE = b"question"


@dataclass(frozen=True)
class Asked:
    """What a vote is about.

    `sha256` identifies what was asked. `vector` is its unit vector, float32 [d], by the Model with
    the fingerprint `model`; None where it has none of its own.
    """

    sha256: str
    kind: Kind
    model: str
    vector: Vector | None


class QuestionTokens:
    """Signs with `key`, which all processes of a gallery share; "" makes a random one."""

    def __init__(self, key: str) -> None:
        self._key = (key or new_cursor_key()).encode()

    def token(self, asked: Asked, now_s: float | None = None) -> str:
        """A text for the answer; the vector is in half precision, about 3,500 letters of 1,280."""
        now_s = time.time() if now_s is None else now_s
        about = json.dumps([asked.sha256, asked.kind, asked.model, int(now_s)]).encode()
        numbers = b"" if asked.vector is None else asked.vector.astype("<f2").tobytes()
        said = about + b"\n" + numbers
        return base64.urlsafe_b64encode(self._signature(said) + said).decode().rstrip("=")

    def read(self, token: str, now_s: float | None = None) -> Asked:
        """What was asked. Raises QueryError for a token of another service, or an old one."""
        now_s = time.time() if now_s is None else now_s
        try:
            padded = token.encode("ascii") + b"=" * (-len(token) % 4)
            data = base64.b64decode(padded, altchars=b"-_", validate=True)
        except ValueError:
            data = b""
        signature, said = data[:_SIGNATURE_BYTES], data[_SIGNATURE_BYTES:]
        if not hmac.compare_digest(signature, self._signature(said)):
            raise QueryError(
                f"{token[:40]!r} is not the `question` of an answer of this service: search again",
                "question",
            )
        about, _, numbers = said.partition(b"\n")
        sha256, kind, model, asked_s = json.loads(about)
        if not asked_s - LASTS_S < now_s < asked_s + LASTS_S:
            raise QueryError("the answer is more than a day old: search again", "question")
        assert kind in get_args(Kind)
        return Asked(sha256, cast("Kind", kind), model, _unit(numbers) if numbers else None)

    def _signature(self, said: bytes) -> bytes:
        return hmac.digest(self._key, _PURPOSE + said, hashlib.sha256)[:_SIGNATURE_BYTES]


def _unit(numbers: bytes) -> Vector:
    """The vector, which is rounded to half precision, with length 1 again."""
    vector = np.frombuffer(numbers, "<f2").astype(np.float32)
    return np.asarray(vector / np.linalg.norm(vector), np.float32)


def asked_by(
    question: SearchQuestion,
    query: Vectors | None,
    gallery: SearchedGallery,
    model: str,
    *,
    words_have_vectors: bool,
) -> Asked:
    """What a question asks, whatever the filter and page.

    `query` is the vector or vectors that the gallery was searched with. A question with several
    unwanted examples has several, and so none of its own, nor have words without a text tower,
    which stand for photos of the gallery.
    """
    is_one = query is not None and query.ndim == 1
    if question.words and not words_have_vectors:
        is_one = False
    words = len(question.words) + len(question.not_words)
    kind: Kind = "words" if question.examples == words else "photo"
    return Asked(_hash_of(question, gallery), kind, model, query if is_one else None)


def _hash_of(question: SearchQuestion, gallery: SearchedGallery) -> str:
    """SHA-256 of the one photo or the words that are asked with; of several, of all about them."""

    def of_photo(photo: bytes | str) -> str:
        """The same whether a photo of the gallery is named by its id or sent."""
        if isinstance(photo, str):
            return gallery.photo(photo).sha256
        return hashlib.sha256(photo).hexdigest()

    asked = [
        (wanted, of_photo(photo), weight, box and (box.x, box.y, box.width, box.height))
        for wanted, names in ((True, ("photos", "ids")), (False, ("not_photos", "not_ids")))
        for name in names
        for photo, weight, box in question.boxed(name)
    ]
    words = [
        (wanted, text, weight)
        for wanted, name in ((True, "words"), (False, "not_words"))
        for text, weight in question.weighted(name)
    ]
    if len(asked) == 1 and not words and asked[0][3] is None:
        return asked[0][1]
    if len(words) == 1 and not asked:
        return hashlib.sha256(words[0][1].encode()).hexdigest()
    said = json.dumps([sorted(asked, key=repr), sorted(words)])
    return hashlib.sha256(said.encode()).hexdigest()


def check_takes_feedback(settings: Settings) -> None:
    """Raise SettingError where feedback is on and cannot be kept beside the gallery."""
    if not settings.feedback or settings.gallery is None:
        return
    place = Place.parse(settings.gallery)
    if place.kind == "release":
        raise SettingError(
            f"setting feedback = true: {place} is a release, whose copy here is a cache: pull it "
            "into a folder with deepfood pull, and serve that, or turn feedback off"
        )
    if place.kind == "milvus":
        raise SettingError(
            f"setting feedback = true: feedback is kept in the folder of a gallery, and {place} is "
            "on Milvus: build the gallery into a folder, or turn feedback off"
        )
    folder = Path(place.text)
    if folder.is_dir() and not os.access(folder, os.W_OK):
        raise SettingError(
            f"setting feedback = true: {folder} cannot be written: give this user the right, or "
            "turn feedback off"
        )
