"""The page of labels that are worth a look: whatever a label holds, from a file, in a browser."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from browser import axe, needs_browser, no_sideways_scroll, open_browser
from deepfood.config import Settings
from deepfood.evaluate import labels_page as pages
from deepfood.evaluate.labels_page import labels_page
from deepfood.gallery.curation import Conflict, Curation, DoubtfulLabel, Outlier, Overlap, ToLabel
from deepfood.gallery.notes import Note
from deepfood.local import LocalGallery
from live import DISHES, SmallGallery

ODD = "{{sections}}<script>alert(1)</script>"


def curation(gallery: LocalGallery) -> Curation:
    """One of everything, with the texts that are hardest to show."""
    by_name = {photo.name: photo for photo in gallery.photos()[0]}
    fish, soup, stew = (by_name[DISHES[one][0]] for one in (6, 0, 5))
    return Curation(
        photos=24,
        labelled=22,
        labels=7,
        judged=20,
        copies_from=0.9,
        doubtful=(DoubtfulLabel(fish, ODD, 0.1, 0.9, 8, 9), DoubtfulLabel(soup, "x", 0, 1, 9, 9)),
        overlaps=(Overlap((ODD, "Stews_and_casseroles"), 3, 0.25),),
        outliers=(Outlier(stew, 0.2, 4.5),),
        conflicts=(Conflict((fish, soup), 0.95),),
        to_label=(ToLabel(by_name[None], ODD, 0.9, 0.5), ToLabel(stew, None, 1, 0.5)),
        notes=(Note("labels_once", ODD, 1),),
    )


def drawn(folder: Path, most: int = 9) -> str:
    with LocalGallery.open(folder) as gallery:
        return labels_page(gallery, curation(gallery), most, Settings(), quiet=True)


def test_the_page_shows_texts_as_they_are(small_gallery: SmallGallery) -> None:
    page = drawn(small_gallery.folder)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") >= 4
    assert page.count("data:image/jpeg;base64,") == 7
    assert "Labels that may be wrong (2)" in page
    few = drawn(small_gallery.folder, most=1)
    assert "Labels that may be wrong (2, the first 1)" in few
    assert few.count("data:image/jpeg;base64,") == 5


def test_pictures_stay_within_their_bytes(
    small_gallery: SmallGallery, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_PICTURE_BYTES", 0)
    page = drawn(small_gallery.folder)
    assert "data:image" not in page.replace("img-src data:", "")
    assert "7 photos are shown without a picture" in page


def test_a_list_of_nothing_has_no_heading(small_gallery: SmallGallery) -> None:
    with LocalGallery.open(small_gallery.folder) as gallery:
        every = curation(gallery)
        nothing = replace(
            every, doubtful=(), overlaps=(), outliers=(), conflicts=(), to_label=(), notes=()
        )
        page = labels_page(gallery, nothing, 9, Settings(), quiet=True)
        some = labels_page(
            gallery, replace(nothing, overlaps=every.overlaps), 9, Settings(), quiet=True
        )
    assert "<h2>" not in page
    assert "<table" not in page
    assert re.findall("<h2>(.*?)</h2>", some) == ["Labels that overlap (1)"]


@needs_browser
def test_the_page_is_accessible_wide_and_narrow(
    small_gallery: SmallGallery, tmp_path: Path
) -> None:
    file = tmp_path / "labels.html"
    file.write_text(drawn(small_gallery.folder), encoding="utf-8")
    with open_browser() as browser:
        for width, scheme in ((1280, "light"), (320, "dark")):
            page = browser.new_page(
                viewport={"width": width, "height": 900},
                color_scheme=scheme,  # type: ignore[arg-type]
            )
            page.goto(file.as_uri())
            assert axe(page) == ""
            assert no_sideways_scroll(page)
            page.close()
