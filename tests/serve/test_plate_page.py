"""The dishes of a plate on the page, in a real browser: boxes, rows, a box refined, the address."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Route, expect

import pages
from browser import WAIT_MS, Watch, axe, choose, needs_browser, no_sideways_scroll, small_targets
from deepfood.plate.collage import collage
from live import run_deepfood
from plates import plate
from served import serving_here

pytestmark = [pytest.mark.slow, needs_browser]

browser = pages.browser  # the fixtures
watch = pages.watch
LABELS = ("noodles", "cake", "stew")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gallery of drawn dishes and of a table with one of each; `root/table.jpg` is another."""
    root = tmp_path_factory.mktemp("plate")
    for label, name in enumerate(LABELS):
        (root / "photos" / name).mkdir(parents=True)
        for seed in range(12):
            made = collage([plate(1000 + label, (150, 150))], 100 * label + seed, (480, 480))
            box = made.dishes[0].box
            sides = (box.x, box.y, box.x + box.width, box.y + box.height)
            part = tuple(480 * min(max(side, 0), 1) for side in sides)
            file = root / "photos" / name / f"{seed:02}.jpg"
            made.image.resize((200, 200), box=part).save(file, quality=92)  # type: ignore[arg-type]
    pieces = [plate(1000 + label, (150, 150)) for label in range(len(LABELS))]
    (root / "photos" / "tables").mkdir()
    collage(pieces, 3).image.save(root / "photos" / "tables" / "table.jpg", quality=92)
    collage(pieces, 5).image.save(root / "table.jpg", quality=92)
    run_deepfood("build", root / "photos", "--out", root / "gallery")
    return root


@pytest.fixture(scope="module")
def server_url(root: Path) -> Iterator[str]:
    with serving_here(root / "gallery") as url:
        yield url


@pytest.fixture
def context(browser: Browser, server_url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=server_url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    page = context.new_page()
    page.goto("/")
    return page


def test_each_dish_has_a_box_and_a_row(page: Page, root: Path) -> None:
    choose(page, root / "table.jpg")
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9)
    page.locator("#plate-open").click()
    boxes, rows = page.locator(".plate-box"), page.locator(".plate-row")
    expect(page).to_have_title(re.compile("The dishes on your photo"))
    expect(rows).not_to_have_count(0)
    count = rows.count()
    assert count >= 2
    expect(boxes).to_have_count(count)
    expect(page.locator("#summary")).to_contain_text(f"{count} dishes found: ")
    expect(rows.first.locator(".card")).to_have_count(9)
    expect(page.locator("#notes")).to_be_hidden()  # that the gallery is too small to be calibrated
    # A box leads to its row, and the row's crop back to the box.
    boxes.nth(1).click()
    expect(boxes.nth(1)).to_have_attribute("aria-pressed", "true")
    expect(rows.nth(1)).to_have_class(re.compile("chosen"))
    expect(rows.nth(1).locator(".crop")).to_be_focused()
    page.keyboard.press("Enter")
    expect(boxes.nth(1)).to_be_focused()
    places = [box.bounding_box() for box in boxes.all()]
    leftmost = min(range(count), key=lambda at: (places[at] or {})["x"])
    boxes.nth(leftmost).focus()
    page.keyboard.press("ArrowRight")
    expect(boxes.nth(leftmost)).not_to_be_focused()
    expect(page.locator(".plate-box:focus")).to_have_count(1)
    assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    # Its box can be moved by hand, and be as it was found again.
    before = rows.first.get_attribute("data-box")
    refine = rows.first.get_by_role("button", name="Refine the box")
    refine.click()
    expect(page.locator("#query-seen")).to_be_focused()
    expect(page.locator("#plate-boxes")).to_be_hidden()
    page.keyboard.press("Shift+ArrowLeft")
    expect(rows.first).not_to_have_attribute("data-box", str(before))
    expect(rows.first.locator(".card")).to_have_count(9)
    page.get_by_role("button", name="As found").click()
    expect(rows.first).to_have_attribute("data-box", str(before))
    page.get_by_role("button", name="Done", exact=True).click()
    expect(boxes).to_have_count(count)
    expect(refine).to_be_focused()
    page.set_viewport_size({"width": 320, "height": 640})
    page.emulate_media(color_scheme="dark")
    assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)
    page.get_by_role("button", name="Whole photo").last.click()
    expect(page.locator("#hits .card:not(.blank)")).to_have_count(9)
    expect(boxes.first).to_be_hidden()
    page.go_back()
    expect(rows).to_have_count(count)


def test_a_plate_of_the_gallery_has_an_address(page: Page, server_url: str) -> None:
    found = page.request.get("/api/v1/photos?label=tables").json()["photos"][0]["id"]
    page.goto(f"/?id={found}&plate=true")
    rows = page.locator(".plate-row")
    expect(page.locator("#summary")).to_contain_text("dishes found: ")
    count = rows.count()
    page.reload()
    expect(rows).to_have_count(count)
    one = rows.first.get_by_role("link", name="All results")
    box = rows.first.get_attribute("data-box")
    expect(one).to_have_attribute("href", f"?id={found}~{box}")
    rows.first.locator(".ask").first.click()  # of the dish, not of the whole
    expect(page.locator("#why-sum")).not_to_be_empty()
    page.keyboard.press("Escape")
    page.locator("#plate-open").click()
    expect(page).to_have_url(f"{server_url}/?id={found}")
    expect(rows).to_have_count(0)
    expect(page.locator("#plate-open")).to_have_text(f"{count} dishes found: show each")


@pytest.fixture(scope="module")
def url_with_parts(root: Path) -> Iterator[str]:
    """A gallery with parts, of a photo of each dish and a table of all."""
    for name in (*LABELS, "tables"):
        (root / "few" / name).mkdir(parents=True)
        photo = next((root / "photos" / name).iterdir())
        (root / "few" / name / photo.name).write_bytes(photo.read_bytes())
    run_deepfood("build", root / "few", "--out", root / "with-parts", "--parts")
    with serving_here(root / "with-parts", feedback="true") as url:
        yield url


def test_the_part_that_was_found_has_a_box_on_the_photo(
    browser: Browser, url_with_parts: str, root: Path
) -> None:
    """It lies where the API says, on the whole photo, whatever the shape of card and photo."""
    context = browser.new_context(base_url=url_with_parts, viewport={"width": 900, "height": 800})
    context.set_default_timeout(WAIT_MS)
    watch = Watch(context, url_with_parts)
    page = context.new_page()
    page.goto("/")
    with page.expect_response(re.compile("api/v1/search")) as answer:
        choose(page, root / "photos" / "cake" / "05.jpg")
    hits = answer.value.json()["hits"]
    table = next(hit for hit in hits if hit["label"] == "tables")
    assert [hit["box"] is not None for hit in hits] == [hit is table for hit in hits]
    boxes = page.locator("#hits .boxed")
    expect(boxes).to_have_count(1)
    card = page.locator("#hits .card", has=page.locator(".boxed"))
    expect(card.locator(".alike")).to_contain_text("alike in the box")
    expect(page.locator("#hits .vote")).to_have_count(len(hits) - 1)  # its label is not that part's
    expect(card.locator(".vote")).to_have_count(0)
    for hit in hits:  # the API says the same
        said = {"question": answer.value.json()["question"], "hit": hit["id"], "right": True}
        given = page.request.post("/api/v1/feedback", data=said | {"session": "s" * 16})
        assert given.status == (422 if hit is table else 204)
    assert (
        "found by a dish"
        in page.request.post(
            "/api/v1/feedback", data=said | {"session": "s" * 16, "hit": table["id"]}
        ).text()
    )
    for width in (900, 320):
        page.set_viewport_size({"width": width, "height": 800})
        frame, box = boxes.bounding_box(), boxes.locator(".whole span").bounding_box()
        assert frame
        assert box
        side = min(frame["width"] / table["width"], frame["height"] / table["height"])
        left = frame["x"] + (frame["width"] - side * table["width"]) / 2
        top = frame["y"] + (frame["height"] - side * table["height"]) / 2
        x, y, wide, high = table["box"]
        wanted = (
            left + x * side * table["width"],
            top + y * side * table["height"],
            wide * side * table["width"],
            high * side * table["height"],
        )
        found = (box["x"], box["y"], box["width"], box["height"])
        assert found == pytest.approx(wanted, abs=1.5)
    assert (axe(page), no_sideways_scroll(page)) == ("", True)
    context.close()
    assert watch.faults == []


def altered(page: Page, *, plate: bool, **changes: object) -> None:
    """Have the next answers for plates, or for whole photos, say something else."""

    def alter(route: Route) -> None:
        found = route.fetch()
        said = found.json()
        if (said["parts"] is not None) == plate:
            said |= changes
        route.fulfill(response=found, json=said)

    page.unroute("**/api/v1/search")
    page.route("**/api/v1/search", alter)


def refused(page: Page, status: int, why: str) -> None:
    """Have the next search fail."""
    said = {"type": "about:blank", "title": "x", "status": status, "detail": why}
    page.route("**/api/v1/search", lambda route: route.fulfill(status=status, json=said), times=1)


def test_what_is_offered_stopped_and_said_of_a_plate(page: Page, watch: Watch) -> None:
    opener, notes = page.locator("#plate-open"), page.locator("#notes")
    rows, hits = page.locator(".plate-row"), page.locator("#hits .card:not(.blank)")
    # Behind an answer in doubt dishes are looked for, and the button says how many there are.
    page.clock.set_fixed_time(0)  # every answer is a quick one
    altered(page, plate=False, verdict="none", in_gallery=0.1)
    (table,) = page.request.get("/api/v1/photos?label=tables").json()["photos"]
    page.goto(f"/?id={table['id']}")
    expect(opener).to_have_text(re.compile(r"^[2-8] dishes found: show each$"))
    expect(rows).to_have_count(0)
    opener.click()
    expect(rows).not_to_have_count(0)
    # A box that is refused: the row says why, and keeps what it shows.
    page.unroute("**/api/v1/search")
    watch.expect("status of 422")
    watch.expect("status of 500")
    row, before = rows.first, rows.first.get_attribute("data-box")
    row.get_by_role("button", name="Refine the box").click()
    for status, why in ((422, "the box is too small"), (500, "")):
        refused(page, status, why)
        page.keyboard.press("Shift+ArrowLeft")
        expect(row.locator(".fault")).to_have_text(re.compile(why or "server", re.IGNORECASE))
        expect(row).to_have_attribute("data-box", str(before))
        expect(row).not_to_have_attribute("aria-busy", "true")
    page.keyboard.press("Shift+ArrowLeft")
    expect(row).not_to_have_attribute("data-box", str(before))
    expect(row.locator(".fault")).to_be_hidden()
    page.get_by_role("button", name="Done", exact=True).click()
    # "Stop looking" leads to the ordinary answer.
    ids = [one["id"] for one in page.request.get("/api/v1/photos?label=stew").json()["photos"]]
    held: list[Route] = []
    page.route("**/api/v1/search", lambda route: held.append(route), times=1)
    page.goto(f"/?id={ids[0]}&plate=true")
    expect(opener).to_have_text("Stop looking")
    expect(page.locator("#summary")).to_contain_text("Looking for every dish")
    opener.click()
    expect(hits).to_have_count(9)
    expect(opener).to_have_text("Find every dish")
    assert [route.request.failure for route in held] == ["net::ERR_ABORTED"]
    # One dish, none, and a Model that cannot tell where dishes are.
    whole = {"box": [0, 0, 1, 1], "verdict": None, "in_gallery": None, "probability": None}
    lacks = {"code": "no_feature_map", "text": "quarters and halves of the photo were tried"}
    for one, changes, sentence in (
        (1, {"parts": [whole | {"label": None, "hits": []}]}, "One dish was found"),
        (2, {"parts": []}, "No dish was found that this gallery knows"),
        (3, {"parts": [], "notes": [lacks]}, "Model cannot tell where dishes are"),
    ):
        altered(page, plate=True, **changes)
        page.goto(f"/?id={ids[one]}&plate=true")
        expect(hits).to_have_count(9)
        expect(notes).to_contain_text(sentence)
        expect(opener).to_have_text("Whole photo")
