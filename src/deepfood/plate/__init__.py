"""The dishes on one photo of a table: where they are, and a picture of what was found for each."""

from deepfood.plate.boxes import MOST_PARTS, Part, PlateFinder, iou, thinned
from deepfood.plate.draw import DRAWN_HITS, DrawnPart, draw_plate

__all__ = [
    "DRAWN_HITS",
    "MOST_PARTS",
    "DrawnPart",
    "Part",
    "PlateFinder",
    "draw_plate",
    "iou",
    "thinned",
]
