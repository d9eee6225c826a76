"""Several photos on the page, wanted and unwanted, and the parts of them that count."""

import base64
import json
import math
import re
from itertools import product
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from browser import (
    Watch,
    axe,
    choose,
    expect_hits,
    needs_browser,
    no_sideways_scroll,
    small_targets,
)
from deepfood.photo import Preprocess
from deepfood.photo.fit import Resize
from deepfood.photo_box import Box
from deepfood.serve.question import MAX_EXAMPLES
from live import SmallGallery
from pages import *  # noqa: F403

pytestmark = needs_browser

UNKNOWN_ID = "0123456789abcdef0123"


def shown(page: Page, count: int = 9) -> None:
    """Wait for an answer."""
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(count)
    expect(page.locator("#hits")).not_to_have_attribute("aria-busy", "true")


def said(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def mark(page: Page, kind: str, place: int) -> tuple[str, str]:
    """Mark a hit; its id and name."""
    card = page.locator("#hits .card").nth(place)
    name = card.locator(".name").inner_text()
    photo = card.locator(".like").get_attribute("data-id")
    card.get_by_role("button", name=f"{kind} like this: {name}").click()
    assert photo is not None
    return photo, name


def chips(page: Page) -> list[str]:
    labels = page.locator("#chips button").evaluate_all("all => all.map((one) => one.ariaLabel)")
    return [str(label) for label in labels]


def drop(page: Page, photos: list[bytes]) -> None:
    page.evaluate(
        """(photos) => {
            const dataTransfer = new DataTransfer();
            photos.forEach((data, at) => {
                const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
                dataTransfer.items.add(new File([bytes], `dish${at}.jpg`, {type: 'image/jpeg'}));
            });
            document.body.dispatchEvent(
                new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer}));
        }""",
        [base64.b64encode(data).decode() for data in photos],
    )


def test_marks_become_chips_and_an_address(
    page: Page, context: BrowserContext, watch: Watch
) -> None:
    page.locator("#sample-list .like").first.click()
    shown(page)
    (first,) = said(page)["id"]
    name = page.locator("#query-name").inner_text()
    # Marks wait in the tray; a photo has one of both, and is searched with when that is asked for.
    tray = page.get_by_role("group", name="Photos to search with")
    liked, second = mark(page, "Less", 2)
    mark(page, "More", 2)
    expect(tray.get_by_role("button", name=f"Take back “more like {second}”")).to_be_visible()
    disliked, other = mark(page, "Less", 4)
    expect(page.locator("#status")).to_have_text("2 photos are marked to search with")
    mark(page, "More", 5)
    expect(tray.get_by_role("listitem")).to_have_count(3)
    mark(page, "More", 5)
    expect(tray.get_by_role("listitem")).to_have_count(2)
    page.locator("#hits .pick").first.click()  # in the same tray
    assert said(page) == {"id": [first]}
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    page.reload()
    shown(page)
    expect(page.locator("#hits .mark[aria-pressed=true]")).to_have_count(2)
    visits = page.evaluate("history.length")
    tray.get_by_role("button", name="Search with these").click()
    expect_hits(page, f"Photos like these 2, unlike {other}")
    assert page.evaluate("history.length") == visits + 1
    expect(tray).to_be_hidden()
    expect(page.locator("#title")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("those most like these 2 photos")
    page.get_by_role("button", name="Clear").click()
    expect(page.locator("#tray")).to_be_hidden()
    assert said(page) == {"id": [first, liked], "not": [disliked]}
    assert chips(page)[0] == f"Take out {name} (like this)"
    assert chips(page)[2] == f"Take out {other} (not like this)"
    expect(page.locator("#chips .unlike")).to_have_count(1)
    of_hits = page.locator("#hits .like").evaluate_all("all => all.map((one) => one.dataset.id)")
    assert not {first, liked, disliked} & set(of_hits)
    page.locator("#words").fill("soup")
    with page.expect_request("**/api/v1/search") as asked:
        page.keyboard.press("Enter")
    question = asked.value.post_data_json
    sent = {"id": [first, liked], "not_id": [disliked], "words": "soup", "k": 9}
    assert question == {**sent, "group_duplicates": True}
    expect_hits(page, f"Photos like these 2 and “soup”, unlike {other}")
    link = context.new_page()
    link.goto(page.url)
    expect_hits(link, f"Photos like these 2 and “soup”, unlike {other}")
    assert chips(link) == chips(page)
    link.close()
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    page.go_back()
    page.go_back()
    expect_hits(page, f"Photos like {name}")
    # Where they were searched from, the marks wait again; one taken back here stays so.
    expect(tray.get_by_role("listitem")).to_have_count(2)
    expect(page.locator("#hits .mark[aria-pressed=true]")).to_have_count(2)
    mark(page, "Less", 4)
    page.go_forward()
    expect_hits(page, f"Photos like these 2, unlike {other}")
    expect(tray).to_be_hidden()
    page.go_back()
    expect(tray.get_by_role("button", name=f"Take back “more like {second}”")).to_be_visible()
    expect(tray.get_by_role("listitem")).to_have_count(1)
    page.go_forward()
    page.go_forward()
    expect_hits(page, f"Photos like these 2 and “soup”, unlike {other}")
    # Each is taken out by itself, and the next one has the focus.
    page.get_by_role("button", name=f"Take out {name} (").click()
    shown(page)
    assert said(page) == {"id": [liked], "not": [disliked], "words": ["soup"]}
    expect(page.locator("#chips button").first).to_be_focused()
    page.locator("#words").fill("")
    page.keyboard.press("Enter")
    shown(page)
    page.locator("#chips button").first.click()
    expect(page.locator("#notice")).to_contain_text("what the photos should be like")
    expect(page.locator("#chips button")).to_have_count(1)
    page.locator("#words").fill("curry")  # and that is what they should be like
    page.keyboard.press("Enter")
    expect_hits(page, f"Photos of “curry”, unlike {other}")
    # A photo that is gone is named, and can be taken out.
    watch.expect("status of 404")
    page.goto(f"/?id={liked}&id={UNKNOWN_ID}")
    expect(page.locator("#problem-text")).to_contain_text(UNKNOWN_ID)
    expect(page.locator("#problem-text")).to_contain_text(
        "in this gallery. Take it out of the search field to search with the others."
    )
    assert axe(page) == ""
    page.get_by_role("button", name="not in this gallery").click()
    shown(page)
    assert said(page) == {"id": [liked]}


def test_several_photos_are_given_at_once(page: Page, small_gallery: SmallGallery) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    photos = [path.read_bytes() for path in small_gallery.photos]
    drop(page, photos[:3])
    expect_hits(page, "Photos like these 3")
    assert said(page) == {}
    expect(page.locator("#link-hint")).to_have_text(
        "A link to this page carries everything but your own photos."
    )
    with page.expect_file_chooser() as chosen:
        page.get_by_role("button", name="Add a photo").click()
    chosen.value.set_files(small_gallery.photos[3:5])
    expect_hits(page, "Photos like these 5")
    mark(page, "Less", 1)
    page.locator("#tray-search").click()
    expect(page.locator("#chips button")).to_have_count(6)
    shown(page)
    names = page.locator("#hits .name").all_inner_texts()
    page.reload()
    shown(page)
    assert page.locator("#hits .name").all_inner_texts() == names
    assert chips(page)[1] == "Take out Your photo dish1.jpg (like this)"
    page.locator("#picks button").nth(1).click()
    expect(page.locator("#query-label")).to_have_text("dish1.jpg")
    assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    drop(page, photos[:10])  # in place of what was there
    expect_hits(page, f"Photos like these {MAX_EXAMPLES}")
    expect(page.locator("#said")).to_contain_text("2 of yours were left out")
    mark(page, "More", 0)
    expect(page.locator("#said")).to_contain_text("Take one out first")
    expect(page.locator("#chips button")).to_have_count(MAX_EXAMPLES)
    page.get_by_role("button", name="Take out").last.click()
    expect_hits(page, f"Photos like these {MAX_EXAMPLES - 1}")
    expect(page.locator("#said")).to_be_hidden()


def dragged(page: Page, start: tuple[float, float], by: tuple[float, float]) -> Any:
    """Drag on the page and give the question that is asked."""
    page.mouse.move(*start)
    page.mouse.down()
    page.mouse.move(start[0] + by[0], start[1] + by[1], steps=4)
    with page.expect_request("**/api/v1/search") as asked:
        page.mouse.up()
    shown(page)
    return asked.value.post_data_json


@pytest.mark.parametrize("width", [1280, 390])
def test_the_part_that_counts_is_dragged(
    page: Page, small_gallery: SmallGallery, width: int
) -> None:
    page.set_viewport_size({"width": width, "height": 1000})
    page.locator("#sample-list .like", has_text=re.compile("Curry")).first.click()
    shown(page)
    whole = page.url
    if width < 896:
        page.get_by_role("button", name="Choose the part that counts").click()
    part, frame = page.locator("#query-seen"), page.locator("#query .frame").bounding_box()
    assert frame is not None
    box = part.bounding_box()
    assert box is not None
    corner = box["x"] + box["width"] - 1, box["y"] + box["height"] - 1
    question = dragged(page, corner, (-box["width"] / 2, -box["height"] / 2))
    ((left, top, wide, high),) = [one["box"] for one in question["id"]]
    assert wide * 4 == pytest.approx(high * 3, abs=0.01)  # a square of a photo of 640 x 480
    assert high == pytest.approx(0.5, abs=0.02)
    expect(page.locator("#query-part")).to_have_text("Only the square is compared.")
    smaller = part.bounding_box()
    assert smaller is not None
    middle = smaller["x"] + smaller["width"] / 2, smaller["y"] + smaller["height"] / 2
    question = dragged(page, middle, (frame["width"] / 4, 0))
    moved = question["id"][0]["box"]
    assert moved == pytest.approx([left + 0.25, top, wide, high], abs=0.01)
    assert said(page)["id"] == [f"{question['id'][0]['id']}~{','.join(map(str, moved))}"]
    with page.expect_request("**/api/v1/explain") as asked:  # why follows
        page.locator("#hits .ask").first.click()
    assert f'name="box"\r\n\r\n{",".join(map(str, moved))}\r\n' in (asked.value.post_data or "")
    expect(page.locator("#why-sum")).not_to_be_empty()
    page.keyboard.press("Escape")
    names = page.locator("#hits .name").all_inner_texts()
    left_edge = str(part.get_attribute("style")).partition(";")[0]
    page.reload()
    shown(page)
    assert page.locator("#hits .name").all_inner_texts() == names
    expect(part).to_have_attribute("style", re.compile(re.escape(left_edge)))
    page.go_back()
    page.go_back()
    expect(page).to_have_url(whole)
    shown(page)
    if width < 896:
        page.get_by_role("button", name="Choose the part that counts").click()
    expect(page.get_by_role("button", name="Whole photo")).to_have_attribute("aria-pressed", "true")
    page.get_by_role("button", name="Middle").click()
    expect(page).to_have_url(re.compile("~"))
    shown(page)
    expect(page.get_by_role("button", name="Middle")).to_have_attribute("aria-pressed", "true")
    assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    page.get_by_role("button", name="Whole photo").click()
    expect(page).to_have_url(whole)
    # The part of an upload, beside another photo.
    choose(page, small_gallery.photos[10])
    expect_hits(page, "Photos like yours")
    mark(page, "More", 3)
    page.locator("#tray-search").click()
    expect_hits(page, "Photos like these 2")
    if not page.get_by_role("button", name="Middle").is_visible():
        page.get_by_role("button", name="Choose the part that counts").click()
    page.get_by_role("button", name="Middle").click()
    expect(page.get_by_role("button", name="Middle")).to_have_attribute("aria-pressed", "true")
    shown(page)
    photo, other = page.evaluate("history.state.examples")
    file = {"name": "a.jpg", "mimeType": "image/jpeg"}
    asked_for = {
        "photo": {**file, "buffer": small_gallery.photos[10].read_bytes()},
        "id": other["id"],
        "boxes": json.dumps({"photo": [photo["box"]]}),
    }
    hits = page.request.post("/api/v1/search", multipart=asked_for).json()["hits"]
    expect(page.locator("#hits .like").first).to_have_attribute("data-id", hits[0]["id"])
    assert page.locator("#hits .percent").all_inner_texts() == [
        f"{max(0, math.floor(hit['score'] * 100 + 0.5))}%" for hit in hits
    ]


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    page.locator("#sample-list .like").first.press("Enter")
    shown(page)
    page.locator("#hits .mark.more").first.press("Enter")
    page.locator("#hits .mark.less").nth(1).press(" ")
    page.locator("#hits .mark.less").nth(2).press(" ")
    page.locator("#tray-marked button").last.press("Enter")
    expect(page.locator("#tray-marked button").last).to_be_focused()
    page.locator("#tray-search").press("Enter")
    expect(page.locator("#title")).to_contain_text("Photos like these 2, unlike")
    shown(page)
    expect(page.locator("#chips .unlike")).to_have_count(1)
    page.locator("#title").focus()
    for _ in range(2):
        page.keyboard.press("Shift+Tab")
    page.locator("#picks button").nth(1).press("Enter")
    expect(page.locator("#picks button").nth(1)).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#picks button").nth(1)).to_be_focused()
    part = page.get_by_role("application", name="The part that counts")
    expect(part).to_have_accessible_description("Arrow keys move it. With Shift they resize it.")
    page.locator("#part-middle").press("Enter")
    shown(page)
    before = said(page)["id"][1].partition("~")[2].split(",")
    for key in ("ArrowRight", "ArrowRight", "ArrowUp", "Shift+ArrowUp"):
        part.press(key)
    expect(page.locator("#status")).to_contain_text("% from the left")
    expect(page.locator("#part-middle")).to_have_attribute("aria-pressed", "false")
    with page.expect_request("**/api/v1/search"):
        page.keyboard.press("Tab")  # which does not wait for more keys
    shown(page)
    after = said(page)["id"][1].partition("~")[2].split(",")
    assert float(after[0]) > float(before[0])
    assert float(after[1]) < float(before[1])
    assert float(after[2]) < float(before[2])
    page.locator("#chips button").last.press("Enter")
    expect(page.locator("#chips button")).to_have_count(2)
    expect(page.locator("#chips button").last).to_be_focused()
    expect(page.locator("#chips .unlike")).to_have_count(0)


def test_the_page_draws_what_the_server_sees(page: Page) -> None:
    boxes = [(0.0, 0.0, 1.0, 1.0), (0.1, 0.2, 0.375, 0.5), (0.5, 0.05, 0.2, 0.9)]
    kinds: tuple[Resize, ...] = ("square", "shortest", "squash", "pad")
    for resize, crop, size in product(kinds, (1.0, 0.8), ((640, 480), (300, 900))):
        drawn, again = page.evaluate(
            """async ({fit, size, boxes}) => {
                const {gallery} = await take('gallery');
                const {boxFor, seenOf} = await take('fit');
                gallery.fit = fit;
                const photo = {width: size[0], height: size[1]};
                const drawn = boxes.map((box) => seenOf(box, photo));
                return [drawn, drawn.map((seen) => seenOf(boxFor(seen, photo), photo))];
            }""",
            {"fit": {"resize": resize, "crop": crop}, "size": size, "boxes": boxes},
        )
        preprocess = Preprocess(
            size=224,
            crop=crop,
            interpolation="bilinear",
            resize=resize,
            mean=(0,) * 3,
            std=(1,) * 3,
        )
        for box, seen in zip(boxes, drawn, strict=True):
            left, top, wide, high = preprocess.visible_shares(*size, Box(*box))
            right, bottom = min(left + wide, box[0] + box[2]), min(top + high, box[1] + box[3])
            left, top = max(left, box[0]), max(top, box[1])
            there = (left, top, right - left, bottom - top)
            assert seen == pytest.approx(there, abs=0.01), json.dumps([resize, crop, size, box])
        # The box of a region is one of which the Model sees that region.
        for seen, seen_again in zip(drawn, again, strict=True):
            assert seen_again == pytest.approx(seen, abs=0.003), json.dumps([resize, crop, size])
