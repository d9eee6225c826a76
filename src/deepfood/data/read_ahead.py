"""Map over many items in a thread pool, in order, with extra threads that wait for slow reads."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@contextmanager
def reading_ahead(
    function: Callable[[Item], Result], items: Iterable[Item], *, workers: int, reading: int
) -> Iterator[Iterator[Result]]:
    """Like `map`, in `workers` + `reading` threads, with a bounded number of items under way.

    `reading` is a Root's `reads_ahead`. `function` itself must let only `workers` compute at a
    time.
    """
    if workers + reading == 1:  # handing items to another thread would cost more than it saves
        yield map(function, items)
        return
    pool = ThreadPoolExecutor(workers + reading, thread_name_prefix="photo")
    try:
        yield in_order(pool, function, items, ahead=8 * workers + reading)
    finally:
        pool.shutdown(cancel_futures=True)


def in_order(
    pool: ThreadPoolExecutor,
    function: Callable[[Item], Result],
    items: Iterable[Item],
    ahead: int,
) -> Iterator[Result]:
    """Like `pool.map`, but with at most `ahead` items under way, however many there are."""
    waiting: deque[Future[Result]] = deque()
    for item in items:
        waiting.append(pool.submit(function, item))
        if len(waiting) >= ahead:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
