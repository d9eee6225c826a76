"""How much an example of a search counts, and which part of a photo does."""

import math
from dataclasses import dataclass
from numbers import Real
from typing import Generic, TypeVar

from deepfood_client.errors import QueryError

T = TypeVar("T")


@dataclass(frozen=True)
class Weighted(Generic[T]):
    """A photo, id or words to search with, and how much it counts; without a weight it counts 1.

    `box` is the part of a photo that counts: left, top, width and height as shares of it.

    Of what is wanted, weights count relative to each other: an example of weight 2 counts as if it
    was given twice. What is unwanted is avoided the more the larger its weight. Raises QueryError
    for a weight that is not a finite number above 0.
    """

    value: T
    weight: float = 1.0
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        check_weight(self.weight)


def check_weight(weight: object) -> float:
    """A weight as a float. Raises QueryError where it is not a finite number above 0."""
    if isinstance(weight, Real) and not isinstance(weight, bool):
        try:
            number = float(weight)
        except OverflowError:  # an int of more than 308 digits
            number = math.inf
        if 0 < number < math.inf:
            return number
        weight = number
    raise QueryError(
        f"weight {repr(weight)[:40]}: give a finite number above 0; what hits should be unlike is "
        "given as not_photo, not_id or not_words"
    )
