"""`deepfood learn`: a gallery learns from votes, whoever casts them, and can go back."""

import csv
import json
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import load_settings
from deepfood.embed import Embedder, Vectors
from deepfood.errors import (
    ArtifactBusyError,
    ArtifactMissingError,
    DatasetError,
    ModelMismatchError,
    SettingError,
)
from deepfood.evaluate.gate import BeforeAfter
from deepfood.evaluate.metrics import Labels, measure
from deepfood.evaluate.voted import judge_by_votes, order_by_session
from deepfood.gallery.crowd import CastVotes
from deepfood.gallery.feedback import Feedback, FeedbackTable, Vote
from deepfood.info import problems_of
from deepfood.local import LocalGallery, LocalWriter
from deepfood.local.manifest import LocalManifest, gallery_model
from deepfood.local.renew import reembed, remap
from deepfood.local.rollback import rollback
from deepfood.model import open_model
from deepfood.place import Place
from deepfood.train.learn import LearnReport, learn, why_not
from deepfood.train.material import gather, hold_out
from deepfood.training import learn_gallery
from live import deepfood_here
from plates import DISH_COLOURS, LIMITS, build, dish, trained_copy, write_dishes, write_tiny_model

NAMES = tuple(DISH_COLOURS)
EACH, VISITORS, HITS = 30, 20, 9
#: Whether a vote of a session is true: (session, whether the photo has a label) -> bool.
Truth = Callable[[int, bool], bool]


@dataclass(frozen=True)
class World:
    """A gallery of four dishes, half of its photos without a label, and what visitors ask with."""

    gallery: Path
    base: Embedder
    asked: tuple[bytes, ...]
    labels: Labels

    def copy(self, to: Path) -> Path:
        return shutil.copytree(self.gallery, to / "gallery")

    def embed(self, embedder: Embedder) -> Vectors:
        return np.stack([embedder.embed(one) for one in self.asked])

    def votes(self, gallery: Path, sessions: int, truth: Truth) -> list[Vote]:
        """Each session asks with four photos, and votes on all hits."""
        model, votes = gallery_model(gallery).fingerprint, []
        vectors = self.embed(self.base)
        with LocalGallery.open(gallery) as opened:
            for number in range(sessions * 4):
                session, question = number // 4, number % len(self.asked)
                for hit in opened.search(vectors[question], HITS):
                    alike = dish_of(hit.photo.file) == self.labels[question]
                    right = bool(alike == truth(session, hit.photo.label is not None))
                    asked = (f"{question:064x}", hit.photo.id, right, float(number), model)
                    votes.append(Vote(f"{session}", *asked, vectors[question], "photo"))
        return votes


def dish_of(file: str) -> int:
    return NAMES.index(file.partition("/")[0])


def honest(wrong: float = 0.2) -> Truth:
    rng = np.random.default_rng(3)
    return lambda session, labelled: rng.random() >= wrong


def liar(session: int, labelled: bool) -> bool:
    return False


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("learning")
    base = Embedder(open_model(write_tiny_model(root / "base", pool=16)), LIMITS, precision="f32")
    photos = write_dishes(root / "photos", EACH)
    with (photos / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label"])
        for name in NAMES:
            for number in range(EACH):
                rows.writerow([f"{name}/{number:05d}.jpg", name if number % 2 else ""])
    build(photos, root / "gallery", base)
    asked, labels = [], []
    for number, colour in enumerate(DISH_COLOURS.values()):
        for seed in range(VISITORS):
            path = root / "asked.png"
            dish(colour, 1000 * number + 500 + seed).save(path)
            asked.append(path.read_bytes())
            labels.append(number)
    order = np.random.default_rng(0).permutation(len(asked))
    return World(
        root / "gallery", base, tuple(asked[one] for one in order), np.array(labels)[order]
    )


def vote(gallery: Path, votes: Sequence[Vote]) -> None:
    with Feedback.open(gallery, create=True) as feedback:
        feedback.add(votes)


def found_by(world: World, gallery: Path) -> float:
    """The mAP of visitors' photos among all of the gallery's, by what they really show."""
    embedder = Embedder(gallery_model(gallery), LIMITS, precision="f32")
    with LocalGallery.open(gallery) as opened:
        photos, vectors, rows = opened.photos()
        really = np.array([dish_of(photo.file) for photo in photos])
        found = measure(world.embed(embedder), world.labels, vectors.take(rows), really)
    return float(np.nanmean(found.metrics["mAP"]))


def state(gallery: Path) -> tuple[bytes, set[str]]:
    """All that a learned generation would change."""
    return (gallery / "manifest.json").read_bytes(), {path.name for path in gallery.iterdir()}


@dataclass(frozen=True)
class Learned:
    gallery: Path
    report: LearnReport
    before: bytes


@pytest.fixture(scope="module")
def learned(world: World, tmp_path_factory: pytest.TempPathFactory) -> Learned:
    """A gallery after a week of sessions of which one vote in five is wrong."""
    gallery = world.copy(tmp_path_factory.mktemp("learned"))
    vote(gallery, world.votes(gallery, 130, honest()))
    before = (gallery / "manifest.json").read_bytes()
    return Learned(gallery, learn_gallery(gallery), before)


# ---- honest votes ----


def test_answers_are_better_after_a_week_of_votes(world: World, learned: Learned) -> None:
    report = learned.report
    assert report.refused is None
    assert report.renewed is not None
    assert report.heard.sessions == 130
    assert report.heard.trusted > 90
    assert report.heard.questions > 20
    assert report.heard.photos > 10
    assert report.compared["mAP"].is_significant
    assert report.by_votes is not None
    assert report.by_votes.after > 0.5
    assert report.judging_sessions >= 10
    assert report.by_votes.interval is not None
    assert not any("too few sessions" in note for note in report.notes)
    before, after = (found_by(world, one) for one in (world.gallery, learned.gallery))
    assert after > before + 0.05


def test_the_new_generation_is_what_its_model_makes_of_the_photos(learned: Learned) -> None:
    """Its vectors were made from those before, without a photo."""
    model = gallery_model(learned.gallery)
    embedder = Embedder(model, LIMITS, precision="f32")
    with LocalGallery.open(learned.gallery, model) as opened:
        assert opened.manifest.model_name == "tiny-learned"
        assert opened.manifest.generation == 2
        assert opened.count == EACH * len(NAMES)
        for photo in opened.sample(10, 0):
            wanted = embedder.embed(opened.read(photo))
            assert np.allclose(opened.vector(photo.id), wanted, atol=1e-5)
    assert list(problems_of(Place.parse(learned.gallery), load_settings(), quiet=True)) == []


def test_the_model_says_what_it_learned_from(learned: Learned) -> None:
    model, report = gallery_model(learned.gallery), learned.report
    assert set(model.manifest.labels) == set(NAMES)
    record = dict(model.manifest.training)
    assert record["method"] == "learn"
    assert record["heard"] == vars(report.heard)
    assert len(model.trained_on) == report.train_photos
    card = (model.folder / "README.md").read_text(encoding="utf-8")
    assert f"from votes of {report.heard.trusted} sessions" in " ".join(card.split())


def test_what_was_learned_is_undone_and_learned_again(
    world: World, learned: Learned, tmp_path: Path
) -> None:
    gallery = shutil.copytree(learned.gallery, tmp_path / "gallery")
    with pytest.raises(DatasetError, match=r"from \([\d,]+ votes on answers of another Model"):
        learn(gallery, quiet=True)
    rollback(gallery, lambda model: world.base, quiet=True)
    was = json.loads(learned.before)
    now = json.loads((gallery / "manifest.json").read_bytes())
    assert now["generation"] == was["generation"]
    assert now["model_fingerprint"] == world.base.model.fingerprint
    assert found_by(world, gallery) == found_by(world, world.gallery)
    again = learn(gallery, compare=True, quiet=True)
    assert again == replace(learned.report, renewed=None)
    rollback(gallery, lambda model: world.base, quiet=True)
    assert found_by(world, gallery) == found_by(world, learned.gallery)


# ---- votes that must change nothing ----


def test_votes_that_are_all_wrong_change_nothing(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    vote(gallery, world.votes(gallery, 40, liar))
    before = state(gallery)
    for even_if_worse in (False, True):
        report = learn(gallery, even_if_worse=even_if_worse, quiet=True)
        assert report.heard.trusted == 0
        assert "no more often than by chance" in (report.refused or "")
        assert report.renewed is None
        assert state(gallery) == before


def test_liars_among_honest_people(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    by_chance = honest()
    votes = world.votes(gallery, 60, lambda who, _: who >= 12 and by_chance(who, True))
    vote(gallery, votes)
    report = learn(gallery, quiet=True)
    assert report.heard.trusted <= 48
    assert report.refused is None
    assert found_by(world, gallery) > found_by(world, world.gallery) + 0.05


def test_votes_that_contradict_each_other(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    votes = world.votes(gallery, 10, honest(0))
    vote(gallery, votes)
    vote(
        gallery, [replace(one, session=f"{one.session} not", right=not one.right) for one in votes]
    )
    before = state(gallery)
    report = learn(gallery, quiet=True)
    assert report.refused is not None
    assert state(gallery) == before


def test_votes_of_which_none_is_left_to_learn_from(world: World, tmp_path: Path) -> None:
    """With this seed, all four sessions are held out."""
    gallery = world.copy(tmp_path)
    vote(gallery, world.votes(gallery, 4, honest(0)))
    before = state(gallery)
    report = learn(gallery, seed=22, val_share=0.3, even_if_worse=True, quiet=True)
    assert report.heard.trusted == 4
    assert report.refused == (
        "nothing is learned: 144 votes cannot say surely enough what any question or "
        "unlabelled photo shows; more of them will"
    )
    assert state(gallery) == before


def test_a_model_that_is_not_certainly_better_is_taken_where_that_is_wanted(
    world: World, tmp_path: Path
) -> None:
    """Of four photos that are held out, nothing is certain."""
    gallery = world.copy(tmp_path)
    vote(gallery, world.votes(gallery, 4, honest(0)))
    before = state(gallery)
    refused = learn(gallery, val_share=0.05, quiet=True)
    reason, _, way_out = (refused.refused or "").partition("; ")
    assert "not certainly better" in reason
    assert "--even-if-worse" in way_out
    assert reason not in refused.notes
    assert state(gallery) == before
    taken = learn(gallery, val_share=0.05, even_if_worse=True, quiet=True)
    assert taken == replace(
        refused, refused=None, notes=(*refused.notes, reason), renewed=taken.renewed
    )
    assert taken.renewed is not None
    record = gallery_model(gallery).manifest.training
    assert record["notes"][-1] == reason


def test_no_votes(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    with pytest.raises(ArtifactMissingError, match="nobody has voted yet"):
        learn(gallery, quiet=True)
    (one, *_) = world.votes(gallery, 1, honest(0))
    vote(gallery, [replace(one, vector=None, kind="words")])
    vote(gallery, [replace(one, question="f" * 64, hit="0" * 20)])
    with pytest.raises(DatasetError, match="no votes to learn from") as caught:
        learn(gallery, quiet=True)
    assert "1 vote for questions in words" in str(caught.value)
    assert "1 vote on photos that the gallery no longer has" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_votes_on_removed_photos_and_a_label_that_exists_once(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    votes = world.votes(gallery, 20, honest())
    vote(gallery, votes)
    gone = sorted({one.hit for one in votes})[:5]
    with LocalGallery.open(gallery) as opened:
        labelled = [one for one in opened.photos()[0] if one.label and one.id not in gone]
    with LocalWriter.open(gallery) as writer:
        writer.remove(gone)
        writer.update(labelled[0].id, label="one alone")
    count = sum(one.hit in gone for one in votes)
    report = learn(gallery, compare=True, quiet=True)
    assert f"{count} votes on photos that the gallery no longer has: left out" in report.notes
    assert report.heard.votes == len(votes) - count
    assert "one alone" in report.labels


def test_a_gallery_whose_photos_all_have_one_label(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    vote(gallery, world.votes(gallery, 2, honest()))
    with LocalGallery.open(gallery) as opened:
        labelled = [photo.id for photo in opened.photos()[0] if photo.label]
    with LocalWriter.open(gallery) as writer:
        for photo in labelled:
            writer.update(photo, label="the same")
    with pytest.raises(DatasetError, match="has 1 label, and two or more are needed"):
        learn(gallery, quiet=True)


def changed(before: float, after: float, spread: float = 0.01) -> BeforeAfter:
    difference = after - before
    return BeforeAfter(before, after, difference, (difference - spread, difference + spread))


def test_why_a_model_is_not_taken(learned: Learned) -> None:
    better, equal, worse = changed(0.5, 0.6), changed(0.5, 0.505), changed(0.5, 0.4)
    report = replace(learned.report, compared={"mAP": better}, by_labels={}, by_votes=None, lost=())
    assert why_not(report) == ""
    assert why_not(replace(report, compared={"mAP": equal}, by_votes=better)) == ""
    assert "not certainly better" in why_not(replace(report, compared={"mAP": equal}))
    assert "worse on held-out photos: mAP" in why_not(replace(report, compared={"mAP": worse}))
    falls = {"mAP": better, "precision@1": worse}
    assert "photos: precision@1" in why_not(replace(report, compared=falls))
    assert "into a worse order: 0.400" in why_not(replace(report, by_votes=worse))
    assert "than the labels alone do: recall@5" in why_not(
        replace(report, by_labels={"mAP": changed(0.5, 0.495), "recall@5": worse})
    )


def test_a_model_that_has_learned_from_all_photos_cannot_be_judged(
    world: World, tmp_path: Path
) -> None:
    photos = world.gallery.parent / "photos"
    model = trained_copy(
        tmp_path / "model", world.base.model.folder, photos.rglob("*.jpg"), name="tiny"
    )
    build(photos, tmp_path / "gallery", Embedder(open_model(model), LIMITS, precision="f32"))
    vote(tmp_path / "gallery", world.votes(tmp_path / "gallery", 5, honest()))
    with pytest.raises(DatasetError, match="no labelled photos to judge by"):
        learn(tmp_path / "gallery", quiet=True)


def test_an_unfinished_reembed_is_left_alone(
    world: World, learned: Learned, tmp_path: Path
) -> None:
    gallery = world.copy(tmp_path)
    vote(gallery, world.votes(gallery, 5, honest()))
    model = shutil.copytree(gallery_model(learned.gallery).folder, tmp_path / "other")
    embedder = Embedder(open_model(model), LIMITS, precision="f32")
    reembed(gallery, embedder, swap=False, quiet=True)
    with pytest.raises(ArtifactBusyError, match="--discard"):
        learn(gallery, quiet=True)
    assert (gallery / "renewing").is_dir()


# ---- what is held out ----


def table_of(votes: Sequence[Vote]) -> FeedbackTable:
    """As feedback reads them."""
    vectors = {one.question: one.vector for one in votes}
    rows = {question: row for row, question in enumerate(vectors)}
    return FeedbackTable(
        sessions=[one.session for one in votes],
        questions=[one.question for one in votes],
        hits=[one.hit for one in votes],
        right=np.array([bool(one.right) for one in votes]),
        at=np.array([one.at for one in votes]),
        models=[one.model for one in votes],
        kinds=[one.kind for one in votes],
        vectors=np.stack([vectors[one] for one in rows]).astype(np.float32),
        question_of=np.array([rows[one.question] for one in votes]),
    )


def test_what_is_held_out_is_whole_and_stays(world: World) -> None:
    table = table_of(world.votes(world.gallery, 40, honest()))
    with LocalGallery.open(world.gallery) as gallery:
        material = gather(gallery, table, [], seed=0)
    seen = frozenset(material.ids[::3])
    held = hold_out(material, seen, 0.2, seed=0)
    votes_of = material.votes
    train, judging = (one(votes_of) for one in (held.learned_from, held.judged_by))
    assert train.sum() > judging.sum() > 0
    for number in (votes_of.session, votes_of.question):
        assert not set(number[train]) & set(number[judging])
    ids = {one for one, is_held in zip(material.ids, held.photos, strict=True) if is_held}
    assert len(ids) > 5
    assert not ids & seen
    fewer = hold_out(replace(material, ids=material.ids), seen, 0.1, seed=0)
    assert (held.photos | ~fewer.photos).all()
    assert (hold_out(material, seen, 0.2, seed=1).photos != held.photos).any()


def test_the_newest_votes_are_used_and_photos_of_each_label(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where there is more than can be learned from at once."""
    votes = world.votes(world.gallery, 8, honest())
    with LocalGallery.open(world.gallery) as gallery:
        monkeypatch.setattr("deepfood.train.material._MOST_PHOTOS", 10)
        monkeypatch.setattr("deepfood.train.material._MOST_VOTES", 2 * HITS)
        notes = ["before"]
        material = gather(gallery, table_of(votes), notes, seed=0)
    assert notes == [
        "before",
        "10 of the 60 labelled photos are used, drawn",
        "the newest 18 of 288 votes are used",
    ]
    assert material.notes == tuple(notes)
    used = material.votes
    said = {
        (material.session_ids[who], material.question_ids[asked], material.ids[hit], bool(right))
        for who, asked, hit, right in zip(
            used.session, used.question, used.photo, used.right, strict=True
        )
    }
    newest = votes[-2 * HITS :]
    assert said == {(one.session, one.question, one.hit, one.right) for one in newest}
    voted = {hit for _, _, hit, _ in said}
    drawn = [
        material.names[label]
        for photo, label in zip(material.ids, material.labels, strict=True)
        if label >= 0 and photo not in voted
    ]
    assert set(drawn) == set(NAMES)
    assert max(map(drawn.count, NAMES)) <= 3


def test_a_question_that_is_a_held_out_photo_is_held_out(world: World) -> None:
    with LocalGallery.open(world.gallery) as gallery:
        photos, vectors, rows = gallery.photos()
        own = vectors.take(rows)
        table = FeedbackTable(
            sessions=["a"] * len(photos),
            questions=[photo.id for photo in photos],
            hits=[photo.id for photo in photos],
            right=np.ones(len(photos), np.bool_),
            at=np.zeros(len(photos)),
            models=["m"] * len(photos),
            kinds=["photo"] * len(photos),
            vectors=own,
            question_of=np.arange(len(photos)),
        )
        material = gather(gallery, table, [], seed=0)
    held = hold_out(material, frozenset(), 0.2, seed=0)
    assert not held.sessions.any()
    names = [one for one, is_held in zip(material.ids, held.photos, strict=True) if is_held]
    places = [material.question_ids.index(one) for one in names]
    assert len(places) > 5
    assert held.questions[places].all()
    assert not held.questions.all()


def test_held_out_votes_judge_the_order_of_hits() -> None:
    """The first session asks two questions, of which one has only right hits; the third only it."""
    photos = np.array([[1, 0], [0.8, 0.6], [0, 1]], np.float32)
    questions = np.array([[1, 0], [0, 1]], np.float32)
    votes = CastVotes(
        np.array([0, 0, 0, 0, 1, 1, 2]),
        np.array([0, 0, 0, 1, 1, 1, 1]),
        np.array([0, 1, 2, 2, 0, 2, 2]),
        np.array([False, True, False, True, True, False, True]),
    )
    order = order_by_session(votes, questions, photos)
    assert order[:2].tolist() == [0.5, 0.0]
    assert np.isnan(order[2])
    assert judge_by_votes(order, np.array([1.0, 1.0, 1.0]), seed=0) == (
        BeforeAfter(0.25, 1.0, 0.75, None),
        2,
    )
    assert judge_by_votes(np.array([np.nan]), np.array([np.nan]), seed=0) is None


def test_vectors_are_mapped_from_those_of_the_right_model_only(
    world: World, learned: Learned, tmp_path: Path
) -> None:
    gallery = world.copy(tmp_path)
    before = state(gallery)[0]
    other, model = gallery_model(learned.gallery), gallery_model(learned.gallery)
    with pytest.raises(ModelMismatchError, match="was made with the Model tiny "):
        remap(gallery, other, model, lambda some: some, quiet=True)
    assert (gallery / "manifest.json").read_bytes() == before
    assert LocalManifest.read(gallery).generation == 1


# ---- the command ----


def test_the_command(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    votes = world.votes(gallery, 60, honest())
    vote(gallery, [one for one in votes if one.right])
    before = state(gallery)
    done = deepfood_here("learn", gallery, "--compare")
    assert done.returncode == 0, done.stderr
    assert "of 60 sessions, " in done.stdout
    assert "note: too few sessions are held out to judge by their votes: 0\n" in done.stdout
    assert "order of hits by votes" not in done.stdout
    assert "mapped now" not in done.stdout
    assert state(gallery) == before
    vote(gallery, [one for one in votes if not one.right])
    done = deepfood_here("learn", gallery, "--json")
    assert done.returncode == 0, done.stderr
    about = json.loads(done.stdout)
    assert about["renewed"]["swapped"] is True
    assert about["renewed"]["generation"] == 2
    assert about["compared"]["mAP"]["after"] > about["compared"]["mAP"]["before"]
    done = deepfood_here("rollback", gallery, "--json")
    assert json.loads(done.stdout)["generation"] == 1
    done = deepfood_here("learn", gallery)
    assert done.returncode == 0, done.stderr
    for name, one in (("mAP", about["compared"]["mAP"]), ("order of hits", about["by_votes"])):
        figures = rf"{one['before']:.3f} +{one['after']:.3f} "
        assert re.search(rf"^  {name}\D* {figures}", done.stdout, re.MULTILINE)
    photos = EACH * len(NAMES)
    assert f"{gallery}: {photos} photos, {photos} mapped now, " in done.stdout
    assert re.search(r" s; generation [23] of the Model .* is the gallery\n", done.stdout)


def test_the_command_refuses_in_one_line(world: World, tmp_path: Path) -> None:
    gallery = world.copy(tmp_path)
    done = deepfood_here("learn", gallery)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "nobody has voted yet" in done.stderr
    vote(gallery, world.votes(gallery, 20, liar))
    done = deepfood_here("learn", gallery, "--json")
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    about = json.loads(done.stdout)
    assert about["renewed"] is None
    assert about["refused"] in done.stderr
    again = deepfood_here("learn", gallery)
    assert (again.returncode, again.stderr) == (1, done.stderr)
    assert again.stdout.startswith(f"{about['heard']['votes']} votes of 20 sessions, 0 of them ")
    assert again.stdout.count("\n") == 1, "nothing was compared"


def test_galleries_that_are_not_in_a_folder() -> None:
    for place in ("milvus://localhost:19530/dishes", "s3://bucket/dishes"):
        with pytest.raises(SettingError) as caught:
            learn_gallery(place)
        assert "\n" not in str(caught.value)
