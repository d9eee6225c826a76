"""Finished work is handed on in batches, and none of it is lost when the work ends early."""

from collections.abc import Iterator

import pytest

from deepfood.gallery.embedding import batched_in_time

LONG_S = 3600.0


def nothing() -> None:
    pass


def test_a_batch_has_at_most_so_many_items() -> None:
    assert list(batched_in_time(range(7), 3, LONG_S, nothing)) == [[0, 1, 2], [3, 4, 5], [6]]
    assert list(batched_in_time([], 3, LONG_S, nothing)) == []


def test_a_batch_ends_when_its_first_item_has_waited_long_enough() -> None:
    waited_already = -1.0
    assert list(batched_in_time("abc", 3, waited_already, nothing)) == [["a"], ["b"], ["c"]]


def test_each_item_counts_as_progress_before_its_batch_is_full() -> None:
    seen: list[int] = []
    batches = batched_in_time(range(5), 3, LONG_S, lambda: seen.append(1))
    next(batches)
    assert len(seen) == 3
    list(batches)
    assert len(seen) == 5


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_what_is_finished_comes_before_the_error(error: type[BaseException]) -> None:
    def work() -> Iterator[int]:
        yield from range(4)
        raise error

    done: list[int] = []

    def consume() -> None:
        for batch in batched_in_time(work(), 3, LONG_S, nothing):
            done.extend(batch)

    with pytest.raises(error):
        consume()
    assert done == [0, 1, 2, 3]
