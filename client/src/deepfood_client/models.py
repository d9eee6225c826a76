"""What a server answers, typed and frozen: its API is defined by these models.

Fields that a newer server adds are ignored.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict

#: What is known of a photo under an attribute's name.
Value = str | float | bool | list[str]
#: `match`: the dish is surely there; `maybe`; `none`: nothing like it is in the gallery.
Verdict = Literal["match", "maybe", "none"]


class _Model(BaseModel):
    # A server sends every field: none is optional for who reads.
    model_config = ConfigDict(
        frozen=True, extra="ignore", json_schema_serialization_defaults_required=True
    )


class Note(_Model):
    """What an answer says of itself: `code` for programs, and `message` for people.

    | `code` | |
    |---|---|
    | `unknown_left_out` | `photos` were left out: one of the safety `attributes` is not known |
    | `value_not_found` | no photo has a value that the filter compares with a safety attribute |
    | `words_unused` | no photo is called so, and the Model takes no words: they have no effect |
    | `no_feature_map` | the Model cannot show where dishes are: quarters and halves were tried |
    | `plates_not_calibrated` | parts are chosen by fixed rules: build the gallery again |
    | `not_calibrated` | a guess needs `needed` labelled photos to be sure, and there are `photos` |
    | `pages_end` | the last page of an answer that is of the nearest `photos` only |
    | `few_labels` | labels are judged by each other, and the photos have none or only one |
    | `labels_once` | `photos` have a label that no other photo has, so it was not judged |
    | `dense_vectors` | the Model packs photos of one dish so densely that few count as copies |
    | `part_looked_at` | the gallery is very large: `photos` of it were compared |
    | `gallery_changed` | the list is of the gallery before its last change; a new one is made |

    A newer server may have further codes. What does not apply is null or empty.
    """

    code: str
    message: str
    photos: int | None
    needed: int | None
    attributes: tuple[str, ...]


class Photo(_Model):
    """A photo of the gallery, `width` and `height` in pixels.

    `url` is the original file, `thumbnail_url` a small JPEG.
    """

    id: str
    label: str | None
    name: str | None
    width: int
    height: int
    url: str
    thumbnail_url: str


class PhotoFacts(Photo):
    """A photo with the attributes that are known of it: text, numbers, true, false, lists."""

    attributes: dict[str, Value]


class NearDuplicate(Photo):
    """A near-duplicate; `score` is its cosine similarity, -1 to 1.

    Of a hit: to the query. In a group: to the first photo of the group.
    """

    score: float


class Matched(_Model):
    """A word of the question that is in a text of a photo: in which field, and the text itself.

    `field` is name, label, file, or the name of an attribute.
    """

    word: str
    field: str
    value: str


class Hit(Photo):
    """A photo that was found; `score` is its cosine similarity to the query, -1 to 1.

    `probability`, 0 to 1, is that of being the same dish (having its label), if the gallery has
    it, and `same_dish` is that as a word: `likely` from the setting match_probability on,
    `unlikely` below none_probability or where the verdict is `none`. Both are null where the photo
    has no label or the answer has no verdict. For words alone, it is the probability of showing
    what they name. `attributes` are those that are known of it; `alike` are its near-duplicates,
    where `group_duplicates` was asked for. `matched` says where words of the question are in its
    texts; it is empty where a photo only looks so. `box` is left, top, width and height, as shares
    of the photo, of the part that is so similar, where a part is more so than the whole photo; it
    has no `probability` then. Only galleries that were built with parts have such hits.
    """

    score: float
    probability: float | None
    same_dish: Literal["likely", "perhaps", "unlikely"] | None
    attributes: dict[str, Value] = {}
    alike: tuple[NearDuplicate, ...] = ()
    matched: tuple[Matched, ...] = ()
    box: tuple[float, float, float, float] | None = None


class LabelGuess(_Model):
    """The label that the nearest photos vote for; `probability`, 0 to 1, of it being right."""

    label: str
    probability: float


class PlatePart(_Model):
    """A dish of a photo of several, with its own answer; the fields are those of a SearchResult.

    `box` is where it is: left, top, width and height as shares of the photo. `probability` is that
    of the part being a dish with its label, where the photo shows several and the gallery is
    calibrated on plates.
    """

    box: tuple[float, float, float, float]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelGuess | None
    hits: tuple[Hit, ...]
    probability: float | None = None


class SearchResult(_Model):
    """A page of hits, the most similar first, and what is known of the one photo asked with.

    `verdict`, `in_gallery` (the probability that the gallery has the dish at all) and `label` are
    null where the gallery is not calibrated, for several photos together, and for a photo of the
    gallery that has a label: its own label is what is known of it. `total` counts all photos asked
    for, the hits among them: those that pass the filter, or all. `next` is the `cursor` of the next
    page, null on the last one. `notes` say what a filter left out. `parts` are the dishes of a
    `plate`, at most 8, and null for any other question: one that is the whole photo where it shows
    one dish, and none where it shows nothing like the gallery. `several` is the probability that
    there are several dishes, null where the gallery is not calibrated on plates. `question` stands
    for what was asked when feedback is given on a hit, for a day; it is null where the server takes
    no feedback.
    """

    hits: tuple[Hit, ...]
    verdict: Verdict | None
    in_gallery: float | None
    label: LabelGuess | None
    total: int
    next: str | None
    notes: tuple[Note, ...]
    parts: tuple[PlatePart, ...] | None = None
    several: float | None = None
    question: str | None = None


class NameGuess(_Model):
    """A name; `score` is the cosine similarity of its prompt and the photo, -1 to 1.

    `probability`, 0 to 1, is that of being right if the photo shows one of the names.
    """

    label: str
    score: float
    probability: float | None


class NamesCalibration(_Model):
    """What probabilities were fitted on: labelled `photos`, and how good they are on these.

    `accuracy` is the share of them that get their label, `ece` the expected calibration error, and
    `auroc` how well they are told from photos that show none of the names.
    """

    photos: int
    accuracy: float
    ece: float
    auroc: float


class LabelAnswer(_Model):
    """The names that suit a photo best, the best first.

    `in_names` is the probability that the photo shows one of the names at all; the verdict is
    `none` where that is small, `match` where the best name is surely right, else `maybe`. Where the
    gallery has too few photos whose label is one of the names, nothing is calibrated:
    `probability`, `verdict`, `in_names` and `calibration` are null, and `notes` says why.
    """

    guesses: tuple[NameGuess, ...]
    verdict: Verdict | None
    in_names: float | None
    calibration: NamesCalibration | None
    notes: tuple[Note, ...]


class BatchProblem(_Model):
    """What is wrong with one question of several: as the problem of a request of its own."""

    status: int
    detail: str
    field: str | None
    position: int | None


class BatchAnswer(_Model):
    """The answer to one question of several: a `result`, or a `problem` in its place."""

    result: SearchResult | None
    problem: BatchProblem | None


class BatchResult(_Model):
    """The answers to several questions, in their order."""

    answers: tuple[BatchAnswer, ...]


class Attribute(_Model):
    """A column that filters may ask for. Of a safety attribute, unknown values never pass.

    `examples` are some of its values; of numbers, the least and the most.
    """

    name: str
    type: Literal["text", "number", "boolean", "list"]
    safety: bool
    examples: tuple[str | float | bool, ...]


class Suggestion(_Model):
    """A text of the gallery that begins as somebody types, and how many photos have it.

    `field` is label, name, or the name of an attribute.
    """

    text: str
    kind: Literal["label", "name", "attribute"]
    field: str
    count: int


class PhotoPage(_Model):
    """A page of photos. `total` counts all that were asked for, on any page.

    `next` is the `cursor` of the next page, null on the last one. `notes` say what a filter left
    out. `start` is how many photos come before a page that was asked for `around` one; else null.
    """

    photos: tuple[PhotoFacts, ...]
    total: int
    next: str | None
    notes: tuple[Note, ...]
    start: int | None = None


class LabelCount(_Model):
    """A label, and how many photos have it, in whatever spelling that filters take for the same."""

    label: str
    count: int


class LabelPage(_Model):
    """A page of labels in alphabetical order. `total` counts all that were asked for.

    `next` is the `cursor` of the next page, null on the last one.
    """

    labels: tuple[LabelCount, ...]
    total: int
    next: str | None


class DoubtfulLabel(Photo):
    """A photo whose label is likely wrong, and the label that its neighbours suggest.

    `probability` and `suggested_probability` are the shares of the neighbours' vote for its own
    label and the suggested one, 0 to 1; `agreeing` of `voters` neighbours have the suggested one.
    """

    label: str
    suggested: str
    probability: float
    suggested_probability: float
    agreeing: int
    voters: int


class CuratedPage(_Model):
    """A page of a list for which all photos are compared.

    `total` counts its entries on any page, `looked_at` the photos that were compared. `next` is the
    `cursor` of the next page, null on the last one. `notes` say what could not be judged.
    """

    total: int
    looked_at: int
    next: str | None
    notes: tuple[Note, ...]


class DoubtfulPage(CuratedPage):
    """A page of photos whose labels are likely wrong, the most likely first.

    `total` counts them on any page, `looked_at` the photos that were compared. `next` is the
    `cursor` of the next page, null on the last one. `notes` say what could not be judged.
    """

    photos: tuple[DoubtfulLabel, ...]


class Overlap(_Model):
    """Two labels whose photos are hard to tell apart: two names of one dish, or loosely used.

    `photos` of the first look like the second or the other way round; `share`, 0 to 1, is that of
    all photos with either label.
    """

    labels: tuple[str, str]
    photos: int
    share: float


class OverlapPage(CuratedPage):
    """A page of pairs of labels that overlap, those with the largest share first.

    The other fields are those of DoubtfulPage.
    """

    pairs: tuple[Overlap, ...]


class Outlier(Photo):
    """A photo far from all others: `similarity` is the cosine to its fifth nearest, -1 to 1.

    `deviations` is the modified z-score of its distance, above 3.5.
    """

    similarity: float
    deviations: float


class OutlierPage(CuratedPage):
    """A page of photos that are far from all others, the farthest first.

    The other fields are those of DoubtfulPage.
    """

    photos: tuple[Outlier, ...]


class ToLabel(Photo):
    """A photo without a label that is worth one.

    `guess` is what its neighbours vote for, null without labelled neighbours. `uncertainty`, 0 to
    1, is 1 less the margin between the two most likely labels, and `density`, 0 to 1, its mean
    similarity to the nearest others.
    """

    guess: str | None
    uncertainty: float
    density: float


class ToLabelPage(CuratedPage):
    """A page of photos that are worth a label, by uncertainty times density, the highest first.

    The other fields are those of DoubtfulPage.
    """

    photos: tuple[ToLabel, ...]


class DuplicateGroup(_Model):
    """Photos that are nearly the same picture, the largest picture first.

    With `different_labels` they have more than one label: one of them is wrong, or each tells a
    part.
    """

    photos: tuple[NearDuplicate, ...]
    different_labels: bool


class DuplicatePage(CuratedPage):
    """A page of groups of near-duplicates, those with the most similar photos first.

    The other fields are those of DoubtfulPage.
    """

    groups: tuple[DuplicateGroup, ...]


class ValueCount(_Model):
    """A value, and how many of the photos have it."""

    value: bool | str
    count: int


class Bin(_Model):
    """How many photos have a number from `low` on and below `high`; in the last bin, or `high`."""

    low: float
    high: float
    count: int


class Facet(_Model):
    """The values of an attribute, or of `label`, among the photos that were asked for.

    `known` and `unknown` count photos with and without a value. `values` are the most frequent of
    `distinct` different ones. A number has `bins` instead: a histogram, from the least to the
    greatest.
    """

    name: str
    type: Literal["text", "number", "boolean", "list"]
    safety: bool
    known: int
    unknown: int
    distinct: int
    values: tuple[ValueCount, ...]
    bins: tuple[Bin, ...]


class Facets(_Model):
    """The facets of `total` photos: that of `label`, then those of all attributes.

    `counted` photos were looked at: fewer than `total` only where a gallery on Milvus has very
    many. `notes` say what a filter left out.
    """

    total: int
    counted: int
    facets: tuple[Facet, ...]
    notes: tuple[Note, ...]


class GalleryFacts(_Model):
    """What is searched. `resize` and `crop` tell what the Model sees of a photo.

    `changes` says whether the server takes changes from who has a key: it knows a key, and does not
    serve a release.

    `square` and `shortest`: the middle square, `crop` of the shorter side. `squash`: the middle,
    `crop` of each side. `pad`: a square around the middle, `crop` of the longer side, which reaches
    beyond the photo. `query_urls`: whether the service fetches photos by `url`, from some hosts.
    `feedback`: whether it takes feedback, and `feedback_photos`: also the photo asked with.
    """

    photos: int
    labels: int
    index: str
    model: str
    dimension: int
    crop: float
    resize: Literal["square", "shortest", "squash", "pad"] = "square"
    attributes: tuple[Attribute, ...]
    changes: bool = False
    query_urls: bool = False
    feedback: bool = False
    feedback_photos: bool = False


class Region(_Model):
    """A region of a photo: left, top, width and height as shares of it.

    It reaches beyond the photo, below 0 and above 1, where that is padded for the Model.
    """

    x: float
    y: float
    width: float
    height: float


class HeatMap(_Model):
    """One photo of the pair.

    `picture` is a JPEG data URL: the photo in grey under its heat. `contributions` are rows of
    cells, left to right, over the region that the Model sees, `seen`; they add up to the score.
    `crop` is the Model's, as in the gallery's facts.
    """

    picture: str
    contributions: tuple[tuple[float, ...], ...]
    crop: float
    seen: Region


class Explanation(_Model):
    """Which regions make two photos alike.

    `score` is their cosine similarity, and `strongest` the contribution with the full colour.
    """

    score: float
    strongest: float
    query: HeatMap
    hit: HeatMap
