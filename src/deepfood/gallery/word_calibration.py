"""How sure answers to words are: learned from labels as words, and from words that name nothing.

A photo is far less similar to the words for it than to another photo of the same, so words have
curves of their own:

- `hit`: a photo's similarity to words -> the probability that it shows what they name;
- `in_gallery`: the best similarity -> the probability that the gallery has what they name. It is
  fitted on each label once as it is, once without its photos, and on words that no gallery of food
  has anything for.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Annotated

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from deepfood.embed import Vectors
from deepfood.gallery.logistic import Bools, Floats, Logistic, auroc, calibration_error

#: Texts to unit vectors, float32 [n, dimension].
EmbedWords = Callable[[Sequence[str]], Vectors]

#: With fewer labels a curve would be chance.
MIN_LABELS = 5
#: More labels do not improve curves of two parameters.
MAX_LABELS = 500
#: The hits of each label that the curve of hits is fitted on.
HITS = 9

#: Things, places, deeds and noise that are no food.
UNRELATED = (
    *("bicycle", "printer", "screwdriver", "a red sports car", "airport terminal", "wedding dress"),
    *("tax return", "football stadium", "keyboard", "the moon", "traffic light", "a sleeping cat"),
    *("mountain railway", "hospital corridor", "guitar", "dentist", "x-ray of a hand", "passport"),
    *("satellite", "skyscraper at night", "horse race", "parking ticket", "swimming pool", "chess"),
    *(
        "violin concert",
        "washing machine",
        "electricity meter",
        "umbrella",
        "desert dunes",
        "tiger",
    ),
    *(
        "submarine",
        "birthday card",
        "laptop computer",
        "street in the rain",
        "lighthouse",
        "spider",
    ),
    *("running shoes", "a page of text", "map of Europe", "snowman", "fire engine", "wristwatch"),
    *("concrete wall", "tennis player", "cathedral", "telephone", "train ticket", "elephant"),
    *("hairdresser", "sofa", "a flag in the wind", "motorway", "microscope", "newspaper", "statue"),
    *(
        "asdfgh",
        "qwertyuiop",
        "zzzz",
        "xkcdvb",
        "lorem ipsum",
        "0000",
        "blorft",
        "wug",
        "hjkl",
        "?",
    ),
)


class WordCalibration(BaseModel):
    """The curves of words. `ece` and `auroc` were measured on labels that they were not fitted on.

    `ece` is the expected calibration error of `in_gallery`, and `auroc` how well it tells labels of
    the gallery from what the gallery lacks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hit: Logistic
    in_gallery: Logistic
    labels: Annotated[int, Field(ge=MIN_LABELS)]
    ece: Annotated[float, Field(ge=0, le=1)]
    auroc: Annotated[float, Field(ge=0, le=1)]


def calibrate_words(
    names: Sequence[str],
    chunks: Callable[[], Iterable[tuple[Vectors, npt.NDArray[np.int64]]]],
    embed_words: EmbedWords,
    *,
    seed: int = 0,
) -> WordCalibration | None:
    """Fit the curves; None where there are fewer than MIN_LABELS labels.

    `names` are the labels. `chunks()` gives the labelled photos again and again: unit vectors,
    float32 [n, dimension], and the place of their label in `names`, int64 [n].
    """
    rng = np.random.default_rng(seed)
    asked = np.sort(rng.permutation(len(names))[:MAX_LABELS])
    if len(asked) < MIN_LABELS:
        return None
    texts = embed_words([names[place] for place in asked])
    scores, right, others = _ask(texts, asked, chunks)
    unrelated, *_ = _ask(embed_words(UNRELATED), np.full(len(UNRELATED), -1), chunks)
    lacking = np.concatenate([others, unrelated[:, 0]])
    lacking = lacking[np.isfinite(lacking)]

    def in_gallery(has: Floats, lacks: Floats) -> tuple[Floats, Bools]:
        # As if the gallery lacked what every second text names.
        has = np.resize(has, max(len(has), len(lacks)))
        best = np.concatenate([has, lacks])[:, np.newaxis]
        return best, np.repeat([True, False], [len(has), len(lacks)])

    has_halves = np.array_split(rng.permutation(len(scores)), 2)
    lack_halves = np.array_split(rng.permutation(len(lacking)), 2)
    fitted, judged = (
        in_gallery(scores[one, 0], lacking[other])
        for one, other in zip(has_halves, lack_halves, strict=True)
    )
    sure = Logistic.fit(*fitted)(judged[0])
    # Where all best hits are right, the best wrong photo tells where hits end.
    every = np.column_stack([scores, others])
    correct = np.column_stack([right, np.zeros(len(right), bool)])
    there = np.isfinite(every)
    return WordCalibration(
        hit=Logistic.fit(every[there][:, np.newaxis], correct[there]),
        in_gallery=Logistic.fit(*in_gallery(scores[:, 0], lacking)),
        labels=len(asked),
        ece=calibration_error(sure, judged[1]),
        auroc=auroc(sure[judged[1]], sure[~judged[1]]),
    )


def _ask(
    texts: Vectors,
    own: npt.NDArray[np.int64],
    chunks: Callable[[], Iterable[tuple[Vectors, npt.NDArray[np.int64]]]],
) -> tuple[Floats, Bools, Floats]:
    """The best HITS scores of each text, float64 [t, HITS], best first, and which are right.

    `own` is the label of each text. Last the best score of a photo of another label, [t]. -inf
    where there are fewer photos.
    """
    scores = np.full((len(texts), HITS), -np.inf)
    right = np.zeros((len(texts), HITS), bool)
    others = np.full(len(texts), -np.inf)
    for vectors, labels in chunks():
        alike = (texts @ vectors.T).astype(np.float64)
        same = own[:, np.newaxis] == labels
        others = np.maximum(others, np.where(same, -np.inf, alike).max(axis=1, initial=-np.inf))
        scores, right = np.hstack([scores, alike]), np.hstack([right, same])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :HITS]
        scores = np.take_along_axis(scores, best, axis=1)
        right = np.take_along_axis(right, best, axis=1)
    return scores, right, others
