"""Confusions against a count by hand, and with more labels than a matrix could hold."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deepfood.data.root import Folder
from deepfood.evaluate.classes import confusion_matrix, confusions, most_confused
from deepfood.evaluate.metrics import Retrieval
from deepfood.evaluate.trial import LabelledVectors, Trial


def trial_of(asked: list[int], guesses: list[int], labels: int) -> tuple[Trial, Retrieval]:
    """Queries of the labels `asked`, whose neighbours voted for `guesses`, -1 for none."""
    names = tuple(f"{number:06}" for number in range(labels))

    def photos(own: list[int]) -> LabelledVectors:
        ids = tuple(str(row) for row in range(len(own)))
        vectors = np.zeros((len(own), 1), np.float32)
        return LabelledVectors(
            Folder(Path("photos")), ids, ids, tuple(names[label] for label in own), vectors
        )

    nobody = np.full(len(asked), -1)
    empty = np.empty((len(asked), 0))
    return (
        Trial(photos([0]), photos(asked), photos([]), nobody, names, "all", ()),
        Retrieval(
            {}, np.array(guesses)[:, np.newaxis], empty.astype(int), empty, empty, empty, empty
        ),
    )


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(-1, 4)), min_size=1), st.integers(1, 7))
def test_the_matrix_and_the_pairs_are_a_count_by_hand(
    pairs: list[tuple[int, int]], most: int
) -> None:
    trial, retrieval = trial_of([a for a, _ in pairs], [b for _, b in pairs], 5)
    wrong = {pair: pairs.count(pair) for pair in pairs if pair[1] not in (-1, pair[0])}
    assert {(int(c.label), int(c.guess)): c.count for c in confusions(trial, retrieval)} == wrong

    chosen = most_confused(trial, retrieval, most).tolist()
    times = [sum(n for pair, n in wrong.items() if label in pair) for label in range(5)]
    assert chosen == sorted(chosen)
    assert (
        sorted((times[label] for label in chosen), reverse=True)
        == (sorted(times, reverse=True)[:most])
    )
    shares = confusion_matrix(trial, retrieval, np.array(chosen))
    for row, label in enumerate(chosen):
        asked = sum(own == label for own, _ in pairs)
        for column, guess in enumerate(chosen):
            assert shares[row, column] == pairs.count((label, guess)) / max(1, asked)


def test_a_label_a_photo_needs_no_matrix_of_all_labels() -> None:
    count = 200_000  # squared, 320 GB
    asked = list(range(0, count, 1000))
    trial, retrieval = trial_of(asked, [(label + 1) % count for label in asked], count)
    chosen = most_confused(trial, retrieval, 60)
    assert confusion_matrix(trial, retrieval, chosen).shape == (60, 60)
