"""The dishes on one photo of a table: where they are, and a picture of what was found for each."""

from deepfood.plate.boxes import INSET, MOST_PARTS, Part, PlateFinder, inner, iou, thinned
from deepfood.plate.draw import DRAWN_HITS, DrawnPart, draw_plate

__all__ = [
    "DRAWN_HITS",
    "INSET",
    "MOST_PARTS",
    "DrawnPart",
    "Part",
    "PlateFinder",
    "draw_plate",
    "inner",
    "iou",
    "thinned",
]
