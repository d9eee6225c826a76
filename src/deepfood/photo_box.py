"""A region of a photo that a user has drawn, and its place in the file, before rotation."""

import math
from dataclasses import dataclass
from typing import TypeVar

from deepfood.errors import QueryError

Number = TypeVar("Number", int, float)

#: How far a box may reach beyond the photo, as shares are rounded.
_SLACK = 1e-6


@dataclass(frozen=True)
class Box:
    """A region of the upright photo: left, top, width and height as shares of it, 0 to 1.

    Raises QueryError for a box that is empty or reaches beyond the photo.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        sides = ((self.x, self.width), (self.y, self.height))
        if not all(at >= 0 and side > 0 and at + side <= 1 + _SLACK for at, side in sides):
            raise QueryError(
                f"the box {self.x:g},{self.y:g},{self.width:g},{self.height:g} is not inside the "
                "photo: left, top, width and height are shares of it, 0 to 1",
                "box",
            )

    def pixels(self, size: tuple[int, int], orientation: int) -> tuple[int, int, int, int]:
        """Left, top, width and height in the stored picture, in whole pixels, at least one.

        `orientation` is EXIF's, 1 to 8: how the stored picture is rotated for display.
        """
        x, y, width, height = self._stored(orientation)
        left, top = min(round(x * size[0]), size[0] - 1), min(round(y * size[1]), size[1] - 1)
        right = min(max(round((x + width) * size[0]), left + 1), size[0])
        bottom = min(max(round((y + height) * size[1]), top + 1), size[1])
        return left, top, right - left, bottom - top

    def whole_shorter(self, shorter: float, size: tuple[int, int], orientation: int) -> int:
        """The shorter side that the whole picture needs for the region to keep `shorter` pixels."""
        _, _, width, height = self._stored(orientation)
        needed = shorter * min(size) / min(width * size[0], height * size[1])
        return math.ceil(min(needed, *size))

    def _stored(self, orientation: int) -> tuple[float, float, float, float]:
        region = (self.x, self.y, self.width, self.height)
        return along_stored(region, (1.0, 1.0), orientation)


def along_stored(
    region: tuple[Number, Number, Number, Number], whole: tuple[Number, Number], orientation: int
) -> tuple[Number, Number, Number, Number]:
    """A region of the upright picture in the coordinates of the stored one.

    Regions are left, top, width and height; `whole` is width and height of the upright picture, and
    `orientation` EXIF's, 1 to 8.
    """
    x, y, width, height = region
    right, below = max(0, whole[0] - x - width), max(0, whole[1] - y - height)
    return {
        2: (right, y, width, height),
        3: (right, below, width, height),
        4: (x, below, width, height),
        5: (y, x, height, width),
        6: (y, right, height, width),
        7: (below, right, height, width),
        8: (below, x, height, width),
    }.get(orientation, (x, y, width, height))
