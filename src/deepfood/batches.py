"""Many things, some at a time."""

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def batches(things: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` things each, in order; the last one may be shorter."""
    each = iter(things)
    while some := list(islice(each, size)):
        yield some
