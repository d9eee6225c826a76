"""Votes of sessions that are right, wrong, or lie: who is trusted, and what is believed then."""

from dataclasses import dataclass

import numpy as np
import pytest

from deepfood.gallery.crowd import (
    CastVotes,
    infer_labels,
    neighbour_beliefs,
    trust_of,
    with_labels,
)
from deepfood.gallery.vote import Floats, Labels

LABELS = 4


@dataclass(frozen=True)
class World:
    """Photos and questions of four dishes; `given` are the labels that the gallery knows."""

    given: Labels
    of_photos: Labels
    of_questions: Labels
    photos: Floats
    questions: Floats

    def votes(self, sessions: int, wrong: float | Floats, seed: int = 0) -> CastVotes:
        """Each session asks five questions, and votes on eight photos for each."""
        rng = np.random.default_rng(seed)
        session = np.repeat(np.arange(sessions), 5 * 8)
        question = np.repeat(rng.integers(0, len(self.of_questions), sessions * 5), 8)
        photo = rng.integers(0, len(self.of_photos), len(session))
        alike = self.of_questions[question] == self.of_photos[photo]
        false = rng.random(len(session)) < np.broadcast_to(wrong, sessions)[session]
        return CastVotes(session, question, photo, alike ^ false)


@pytest.fixture(scope="module")
def world() -> World:
    """300 photos, two of three with a label, and 100 questions: points about four middles."""
    rng = np.random.default_rng(0)
    middles = rng.normal(0, 1, (LABELS, 16))

    def draw(count: int) -> tuple[Labels, np.ndarray]:
        labels = np.arange(count) % LABELS
        vectors = middles[labels] + rng.normal(0, 1.2, (count, 16))
        return labels, (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    of_photos, photos = draw(300)
    of_questions, questions = draw(100)
    given = np.where(np.arange(300) % 3 > 0, of_photos, -1)
    known = np.flatnonzero(given >= 0)
    beliefs = [
        neighbour_beliefs(one, photos[known], given[known], LABELS) for one in (photos, questions)
    ]
    return World(given, of_photos, of_questions, with_labels(beliefs[0], given), beliefs[1])


def test_beliefs_before_any_vote_are_as_sure_as_they_are_right(world: World) -> None:
    for beliefs in (world.photos, world.questions):
        assert np.allclose(beliefs.sum(axis=1), 1)
    right = world.questions.argmax(axis=1) == world.of_questions
    assert 0.5 < right.mean() < 0.98  # there is something to learn from votes
    assert abs(right.mean() - world.questions.max(axis=1).mean()) < 0.15
    known = world.given >= 0
    assert (world.photos[known].argmax(axis=1) == world.given[known]).all()


def test_a_photo_does_not_say_what_it_is_itself() -> None:
    """Its label is the only one of its kind, so the neighbours know nothing of it."""
    vectors = np.eye(3, dtype=np.float32)
    vectors[1] = [0.6, 0.8, 0]
    beliefs = neighbour_beliefs(vectors, vectors, np.array([0, 1, 1]), 2)
    assert beliefs[0].argmax() == 1


def test_honest_sessions_are_trusted_and_liars_are_not(world: World) -> None:
    for liars in (1, 3, 6):
        wrong = np.where(np.arange(20) < liars, 1.0, 0.2)
        votes = world.votes(20, wrong)
        trust = trust_of(votes, world.questions, world.photos, 20)
        assert (trust[:liars] == 0.5).all(), liars
        assert np.median(trust[liars:]) > 0.55
    mostly_liars = world.votes(20, np.where(np.arange(20) < 14, 1.0, 0.2))
    assert (trust_of(mostly_liars, world.questions, world.photos, 20) == 0.5).all()
    by_chance = world.votes(20, 0.5)
    assert np.median(trust_of(by_chance, world.questions, world.photos, 20)) < 0.55


def test_who_votes_once_is_taken_to_be_like_the_others(world: World) -> None:
    votes = [world.votes(40, wrong) for wrong in (0.1, 0.9)]
    once = np.unique(votes[0].session * 1000 + votes[0].question, return_index=True)[1]
    honest, lying = (
        CastVotes(np.arange(len(once)), one.question[once], one.photo[once], one.right[once])
        for one in votes
    )
    assert trust_of(honest, world.questions, world.photos, len(once)).mean() > 0.65
    assert trust_of(lying, world.questions, world.photos, len(once)).max() < 0.55


def test_votes_with_one_in_five_wrong_tell_more_than_the_neighbours(world: World) -> None:
    votes = world.votes(60, 0.2)
    trust = trust_of(votes, world.questions, world.photos, 60)
    questions, photos = infer_labels(votes, world.questions, world.photos, trust)
    assert np.allclose(questions.sum(axis=1), 1)
    asked = np.unique(votes.question)
    before, after = (
        (one[asked].argmax(axis=1) == world.of_questions[asked]).mean()
        for one in (world.questions, questions)
    )
    assert after > before + 0.02
    sure = asked[questions[asked].max(axis=1) > 0.7]
    assert len(sure) > 0.7 * len(asked)
    assert (questions[sure].argmax(axis=1) == world.of_questions[sure]).mean() > 0.95
    bare = world.given < 0
    was, now = (
        (one[bare].argmax(axis=1) == world.of_photos[bare]).mean() for one in (world.photos, photos)
    )
    assert now > was


def test_liars_change_nothing(world: World) -> None:
    votes = world.votes(60, 1.0)
    trust = trust_of(votes, world.questions, world.photos, 60)
    questions, photos = infer_labels(votes, world.questions, world.photos, trust)
    assert np.allclose(questions, world.questions)
    assert np.allclose(photos, world.photos)


def one_question(labels: list[int], votes: list[tuple[int, int, bool]], trust: float) -> Floats:
    """What is believed of a question of which nothing was known, after (session, photo, right)."""
    session, photo, right = (np.array(one) for one in zip(*votes, strict=True))
    photos = with_labels(np.full((len(labels), 2), 0.5), np.array(labels))
    cast = CastVotes(session, np.zeros(len(session), np.int64), photo, right)
    every = np.full(int(session.max()) + 1, trust)
    found: Floats = infer_labels(cast, np.full((1, 2), 0.5), photos, every)[0][0]
    return found


def test_votes_that_contradict_each_other_leave_all_as_it_was() -> None:
    assert one_question([0], [(0, 0, True), (1, 0, False)], 0.8) == pytest.approx([0.5, 0.5])
    one = one_question([0], [(0, 0, True)], 0.8)[0]
    two = one_question([0], [(0, 0, True), (1, 0, True)], 0.8)[0]
    most = one_question([0], [(0, 0, True), (1, 0, True), (2, 0, False)], 0.8)[0]
    assert 0.5 < one < two
    assert most == pytest.approx(one)


def test_one_session_does_not_outvote_two() -> None:
    """Whatever it votes on, and however often."""
    loud = [(0, photo, True) for photo in range(1, 30)]
    others = [(session, 0, True) for session in (1, 2)]
    believed = one_question([0] + [1] * 29, [*loud, *others], 0.9)
    alone = one_question([1] * 30, loud, 0.9)
    assert alone[1] <= 0.95 + 1e-9
    assert believed[0] > 0.5


def test_no_votes() -> None:
    nobody = np.empty(0, np.int64)
    none = CastVotes(nobody, nobody, nobody, np.empty(0, np.bool_))
    beliefs = np.full((2, 3), 1 / 3)
    assert len(trust_of(none, beliefs, beliefs, 0)) == 0
    assert all((one == beliefs).all() for one in infer_labels(none, beliefs, beliefs, np.empty(0)))
