"""The picture of a plate: boxes, and beside them what was found for each."""

import io

from PIL import Image, ImageChops

from deepfood.photo_box import Box
from deepfood.plate.draw import DrawnPart, draw_plate
from plates import LIMITS, jpeg


def test_a_hit_that_cannot_be_read_leaves_its_place_empty() -> None:
    box = Box(0.1, 0.1, 0.5, 0.5)

    def drawn(*hits: bytes) -> Image.Image:
        part = DrawnPart(box, "soup", hits)
        return Image.open(io.BytesIO(draw_plate(jpeg(1), [part], LIMITS)))

    nothing, second, both = drawn(), drawn(b"", jpeg(2)), drawn(jpeg(2), jpeg(2))
    assert nothing.size == second.size == both.size
    differs = [ImageChops.difference(nothing, one).getbbox() for one in (second, both)]
    assert differs[0]
    assert differs[1]
    assert differs[0][0] > differs[1][0]
    assert differs[0][1:] == differs[1][1:]
