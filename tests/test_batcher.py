"""Calls of many threads become batches, and each gets its own result."""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from deepfood.batcher import Batcher


class Slow:
    """Doubles numbers, as many at once as it is given, and not before it is let go."""

    def __init__(self, *, open_at_once: bool = False) -> None:
        self.let_go = threading.Event()
        self.batches: list[list[int]] = []
        if open_at_once:
            self.let_go.set()

    def __call__(self, items: list[int]) -> Sequence[int]:
        self.batches.append(items)
        assert self.let_go.wait(30)
        if any(item < 0 for item in items):
            raise ValueError("below zero")
        return [2 * item for item in items]


def until_waiting(batcher: Batcher[int, int], count: int) -> None:
    end = time.monotonic() + 30
    while batcher.waiting < count:
        assert time.monotonic() < end
        time.sleep(0.001)


def test_what_waits_is_one_batch_and_no_more_than_the_most() -> None:
    slow = Slow()
    batcher = Batcher(slow, most=4)
    with ThreadPoolExecutor(13) as pool:
        first = [pool.submit(batcher, number) for number in (1, 2)]
        end = time.monotonic() + 30
        while len(slow.batches) < 2:
            assert time.monotonic() < end
            time.sleep(0.001)
        rest = []
        for number in range(3, 14):
            rest.append(pool.submit(batcher, number))
            until_waiting(batcher, len(rest))
        slow.let_go.set()
        assert [one.result() for one in first + rest] == [2 * number for number in range(1, 14)]
    assert sorted(slow.batches[:2]) == [[1], [2]]  # nobody waits for more to come
    # First come, first served.
    assert sorted(slow.batches[2:]) == [[3, 4, 5, 6], [7, 8, 9, 10], [11, 12, 13]]


def test_every_caller_gets_its_own_from_many_threads() -> None:
    slow = Slow(open_at_once=True)
    batcher = Batcher(slow, most=5)
    numbers = list(range(2000))
    with ThreadPoolExecutor(32) as pool:
        assert list(pool.map(batcher, numbers)) == [2 * number for number in numbers]
    assert sorted(number for batch in slow.batches for number in batch) == numbers
    assert max(map(len, slow.batches)) <= 5


def test_an_error_is_for_its_own_batch_alone() -> None:
    batcher = Batcher(Slow(open_at_once=True), most=1)
    with pytest.raises(ValueError, match="below zero"):
        batcher(-1)
    assert batcher(4) == 8


def test_who_has_a_result_keeps_it_when_another_is_lost() -> None:
    slow = Slow()
    batcher = Batcher[int, int](lambda items: slow(items)[:1], most=4)
    with ThreadPoolExecutor(5) as pool:
        alone = [pool.submit(batcher, number) for number in (1, 2)]
        end = time.monotonic() + 30
        while len(slow.batches) < 2:
            assert time.monotonic() < end
            time.sleep(0.001)
        batch = []
        for number in (3, 4):
            batch.append(pool.submit(batcher, number))
            until_waiting(batcher, len(batch))
        slow.let_go.set()
        assert [one.result() for one in (*alone, batch[0])] == [2, 4, 6]
        with pytest.raises(ValueError, match="shorter"):
            batch[1].result()


def test_what_is_no_error_of_the_work_ends_its_thread_too() -> None:
    def interrupted(items: list[int]) -> list[int]:
        raise KeyboardInterrupt

    batcher = Batcher(interrupted, most=1)
    with pytest.raises(KeyboardInterrupt):
        batcher(1)


def test_work_that_loses_a_result_is_an_error_and_nobody_waits_for_ever() -> None:
    def loses(items: list[int]) -> list[int]:
        return items[1:]

    batcher = Batcher(loses, most=3)
    for _ in range(3):
        with pytest.raises(ValueError, match="shorter"):
            batcher(1)
