"""The page's detail view and browsing, in a real browser."""

import csv
import json
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Locator, Page, Route, expect

import pages
from browser import (
    WAIT_MS,
    Watch,
    axe,
    choose,
    expect_hits,
    needs_browser,
    no_sideways_scroll,
    small_targets,
)
from live import run_deepfood, without_plates
from plates import write_conv_model, write_photos
from served import serving_here

pytestmark = needs_browser

browser, watch = pages.browser, pages.watch  # the fixtures

COUNT = 150
ARABIC = "حمص بطحينة"
UNKNOWN_ID = "0123456789abcdef0123"


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """150 plates: `Dish 000` to `Dish 149` at falling prices, each third a soup."""
    root = tmp_path_factory.mktemp("views")
    write_conv_model(root / "model")
    photos = sorted(write_photos(root / "photos", COUNT).glob("*.jpg"))
    with (root / "photos" / "photos.csv").open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["photo", "label", "name"])
        for number, path in enumerate(photos):
            label = "tomato_soup" if number % 3 == 0 else "Curries"
            rows.writerow([path.name, label, ARABIC if number == 1 else f"Dish {number:03}"])
    with without_plates():
        run_deepfood("build", root / "photos", "--out", root / "gallery", "--model", root / "model")
    about = [
        {
            "file": path.name,
            "url": f"https://example.org/dishes/{number}",
            "vegan": True,
            "price": COUNT - number,
            "ingredients": ["rice", "mint"],
            "origin": None if number else "Lyon",
            "allergens": [None, [], ["peanut", "egg"]][number % 3],
            "halal": True,
        }
        for number, path in enumerate(photos)
    ]
    (root / "about.jsonl").write_text("\n".join(map(json.dumps, about)))
    run_deepfood("attributes", root / "gallery", root / "about.jsonl", "--safety", "halal")
    return root / "gallery"


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    with serving_here(gallery) as url:
        yield url


@pytest.fixture(scope="module")
def ids(url: str) -> dict[str, str]:
    """The id of each name."""
    found = httpx.get(f"{url}/api/v1/photos?limit=500").json()["photos"]
    return {photo["name"]: photo["id"] for photo in found}


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    yield context
    context.close()


@pytest.fixture(scope="module")
def server_url(url: str) -> str:
    """The server of the page's fixtures."""
    return url


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    return context.new_page()


def tiles(page: Page) -> Locator:
    return page.locator("#browse-list .tile a")


def expect_photo(page: Page, name: str, place: str) -> None:
    expect(page.locator("#detail-name")).to_have_text(name)
    expect(page.locator("#detail-place")).to_have_text(place)
    expect(page).to_have_title(f"{name} · deepfood")


def in_window(page: Page, link: Locator) -> float:
    """How far below the upper edge of the window a card is, which must be in it."""
    expect(link).to_be_in_viewport()
    box = link.bounding_box()
    assert box is not None
    return box["y"]


def test_browse_by_label_and_order(page: Page, ids: dict[str, str]) -> None:
    page.goto("/")
    page.get_by_role("link", name="Browse", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("All photos")
    expect(page.locator("#browse-title")).to_be_focused()
    expect(page.locator("#browse-summary")).to_have_text("150 photos")
    expect(page).to_have_title("All photos · deepfood")
    expect(page).to_have_url(re.compile(r"/\?browse=newest$"))
    labels = page.get_by_role("navigation", name="Labels").get_by_role("link")
    expect(labels).to_have_text(["All photos 150", "Curries 100", "tomato soup 50"])
    expect(tiles(page)).to_have_count(60)
    expect(page.get_by_role("status")).to_have_text("All photos. 150 photos")

    order = page.get_by_label("Order")
    order.focus()
    order.select_option("price, lowest first")
    expect(page).to_have_url(re.compile(r"\?browse=price$"))
    expect(tiles(page).first.locator(".name")).to_have_text("Dish 149")
    expect(page.locator(".tile .label").first).to_have_text("price: 1")
    expect(order).to_be_focused()
    labels.nth(2).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("tomato soup")
    expect(tiles(page)).to_have_count(50)
    expect(tiles(page).first.locator(".name")).to_have_text("Dish 147")
    expect(labels.nth(2)).to_have_attribute("aria-current", "true")
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()
    order.select_option("by name, A to Z")
    expect(tiles(page).first.locator(".name")).to_have_text("Dish 000")
    page.go_back()
    expect(tiles(page).first.locator(".name")).to_have_text("Dish 147")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("All photos")
    expect(tiles(page)).to_have_count(60)
    page.go_back()
    page.go_back()
    expect(page.locator("#start-title")).to_be_focused()
    page.go_forward()
    expect(tiles(page)).to_have_count(60)

    page.get_by_label("Find a label").wait_for(state="hidden")  # of two, none need be searched
    page.goto("/?browse=name&where=price+%3E+140")
    expect(page.locator("#browse-summary")).to_have_text("10 photos")
    expect(page.locator("#browse-where")).to_contain_text("price > 140")
    page.get_by_role("link", name="Without the filter").click()
    expect(page.locator("#browse-summary")).to_have_text("150 photos")


def test_back_returns_to_the_place(page: Page, ids: dict[str, str]) -> None:
    page.goto("/?browse=name")
    expect(tiles(page)).to_have_count(60)
    more = page.get_by_role("button", name="Show more")
    more.focus()
    page.keyboard.press("Enter")
    expect(tiles(page).nth(60)).to_be_focused()
    page.mouse.move(700, 400)
    page.mouse.wheel(0, 100_000)  # which asks for the rest by itself
    expect(tiles(page)).to_have_count(COUNT)
    expect(more).to_be_hidden()
    link = page.locator(f'.tile a[data-look="{ids["Dish 090"]}"]')
    link.scroll_into_view_if_needed()
    before = in_window(page, link)
    link.click()
    expect_photo(page, "Dish 090", "90 of 150")  # the Arabic one is after all others
    for _ in range(2):
        page.keyboard.press("ArrowRight")
    expect_photo(page, "Dish 092", "92 of 150")
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator(f'.tile a[data-look="{ids["Dish 092"]}"]')).to_be_focused()
    assert in_window(page, link) == pytest.approx(before, abs=2)

    page.go_forward()
    expect_photo(page, "Dish 092", "92 of 150")
    page.get_by_role("link", name="More like this").click()
    expect_hits(page, "Photos like Dish 092")
    page.go_back()
    expect_photo(page, "Dish 092", "92 of 150")
    page.reload()  # with nothing but what the history has
    expect_photo(page, "Dish 092", "92 of 150")
    page.get_by_role("button", name="Close").click()
    expect(page).to_have_title("All photos · deepfood")
    expect(page.locator(f'.tile a[data-look="{ids["Dish 092"]}"]')).to_be_focused()
    at = in_window(page, link)
    page.reload()
    assert in_window(page, link) == pytest.approx(at, abs=2)
    expect(page.locator("#browse-summary")).to_have_text("150 photos")
    assert page.evaluate("scrollY") > 1000


def test_a_link_into_the_middle_of_a_list(page: Page, watch: Watch, ids: dict[str, str]) -> None:
    watch.expect("status of 422")
    page.goto(f"/?browse=name&photo={ids['Dish 062']}")  # the first page has 60
    expect_photo(page, "Dish 062", "62 of 150")
    page.keyboard.press("ArrowRight")
    expect_photo(page, "Dish 063", "63 of 150")
    for number in range(62, 58, -1):  # and on through the page that the list begins with
        page.keyboard.press("ArrowLeft")
        expect_photo(page, f"Dish {number:03}", f"{number} of 150")
    page.goto(f"/?browse=name&photo={ids['Dish 093']}")
    expect_photo(page, "Dish 093", "93 of 150")
    page.keyboard.press("Escape")
    expect(page).to_have_title("All photos · deepfood")
    expect(tiles(page)).to_have_count(60)
    # Of a list that it is not in, a photo is shown alone.
    page.goto(f"/?browse=name&where=price+%3C+9&photo={ids['Dish 093']}")
    expect(page.locator("#detail-name")).to_have_text("Dish 093")
    expect(page.locator("#browse-summary")).to_have_text("8 photos")
    expect(page.locator("#detail-place")).to_have_text("")


def test_all_that_is_known_of_a_photo(page: Page, gallery: Path, ids: dict[str, str]) -> None:
    photo_id = ids["Dish 003"]
    page.goto(f"/?id={ids['Dish 002']}&photo={photo_id}")
    expect(page.get_by_role("dialog", name="Dish 003")).to_be_visible()
    expect(page.locator("#detail-name")).to_be_focused()
    rows = page.locator("#detail-known > div")
    expect(rows.filter(has_text="ingredients")).to_have_text(re.compile("rice, mint"))
    assert rows.all_inner_texts() == [
        "url\nexample.org/dishes/3",
        "vegan\nyes",
        "price\n147",
        "ingredients\nrice, mint",
        "size\n96 \u00d7 72 pixels",
    ]
    link = page.get_by_role("link", name="example.org/dishes/3")
    expect(link).to_have_attribute("href", "https://example.org/dishes/3")
    expect(link).to_have_attribute("rel", "noopener noreferrer")
    expect(page.locator("#detail-unknown")).to_have_text("Not known: origin")
    safety = page.get_by_role("region", name="Safety")
    assert safety.locator("dl > div").all_inner_texts() == ["allergens\nunknown", "halal\nyes"]
    expect(safety).to_contain_text("Unknown is not none")
    picture = page.locator("#detail-photo")
    expect(picture).to_have_attribute("src", re.compile(f"photos/{photo_id}$"))  # not the small one
    original = next((gallery.parent / "photos").glob("*00003.jpg")).read_bytes()
    with page.expect_download() as download:
        page.get_by_role("link", name="Download").click()
    assert Path(download.value.path()).read_bytes() == original
    assert download.value.suggested_filename.startswith("Dish 003")
    opens = page.get_by_role("link", name="Open the original in a new tab")
    expect(opens).to_have_attribute("href", f"photos/{photo_id}")
    page.locator("#detail").get_by_role("button", name="Copy link").click()
    expect(page.locator("#detail-hint")).to_have_text("The link is copied.")
    copied = page.evaluate("navigator.clipboard.readText()")
    assert copied == f"{page.url.split('?')[0]}?photo={photo_id}"
    assert axe(page) == ""

    page.get_by_role("link", name="tomato soup").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("tomato soup")
    expect(page.locator("#detail")).to_be_hidden()
    page.goto(copied)
    expect(page.get_by_role("dialog", name="Dish 003")).to_be_visible()
    page.keyboard.press("Escape")  # where the visit began, nothing lies behind in the history
    expect(page.locator("#detail")).to_be_hidden()
    expect(page.locator("#start")).to_be_visible()
    expect(page).to_have_url(re.compile("/$"))
    page.go_back()
    expect(page.get_by_role("dialog", name="Dish 003")).to_be_visible()


def test_what_was_found_is_looked_at_with_the_keyboard(page: Page, ids: dict[str, str]) -> None:
    page.goto(f"/?id={ids['Dish 009']}")
    expect_hits(page, "Photos like Dish 009")
    names = page.locator("#hits .name").all_inner_texts()
    looks = page.locator("#hits .look")
    expect(looks.nth(1)).to_have_accessible_name(f"Details of {names[1]}")
    looks.nth(1).focus()
    page.keyboard.press("Enter")
    expect_photo(page, names[1], "2 of 9")
    expect(page.locator("#detail-name")).to_be_focused()
    page.keyboard.press("ArrowLeft")
    expect_photo(page, names[0], "1 of 9")
    expect(page.locator("#detail-status")).to_have_text(f"{names[0]}, 1 of 9")
    before, after = (
        page.get_by_role("button", name=name) for name in ("Photo before", "Next photo")
    )
    expect(before).to_have_attribute("aria-disabled", "true")
    page.keyboard.press("ArrowLeft")
    expect_photo(page, names[0], "1 of 9")
    after.focus()
    for place in range(2, 10):
        page.keyboard.press("Enter")
        expect_photo(page, names[place - 1], f"{place} of 9")
    expect(after).to_be_focused()
    expect(after).to_have_attribute("aria-disabled", "true")
    why = page.locator("#detail").get_by_role("button", name="Why this one?")
    why.press("Enter")
    expect(page.locator("#why-legend")).to_be_visible()
    expect(page.locator("#why-hit-name")).to_have_text(names[8])
    assert axe(page) == ""
    page.keyboard.press("Escape")
    expect(page.locator("#why")).to_be_hidden()
    expect(why).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#detail")).to_be_hidden()
    expect(looks.nth(8)).to_be_focused()
    expect(page).to_have_title("Photos like Dish 009 · deepfood")
    assert page.locator("#hits .name").all_inner_texts() == names
    page.go_forward()
    expect_photo(page, names[8], "9 of 9")
    page.go_back()
    page.get_by_role("button", name="Details", exact=True).click()  # of what is searched with
    expect(page.locator("#detail-name")).to_have_text("Dish 009")
    expect(why).to_be_hidden()
    expect(page.get_by_role("button", name="Next photo")).to_be_hidden()


def test_on_a_phone(browser: Browser, url: str, gallery: Path, ids: dict[str, str]) -> None:
    with browser.new_context(
        base_url=url,
        viewport={"width": 390, "height": 800},
        is_mobile=True,
        has_touch=True,
        color_scheme="dark",
        reduced_motion="reduce",
    ) as context:
        context.set_default_timeout(WAIT_MS)
        watch = Watch(context, url)
        page = context.new_page()
        page.goto("/?browse=-name")
        expect(tiles(page)).to_have_count(60)
        expect(page.locator("#labels")).not_to_have_attribute("open", "")
        faults = {"browse": axe(page)}
        page.locator("#labels summary").tap()
        expect(page.get_by_role("link", name="Curries 100")).to_be_visible()
        faults["labels"] = axe(page)
        assert small_targets(page) == []
        assert no_sideways_scroll(page)
        expect(tiles(page).first.locator(".name")).to_have_text(ARABIC)
        tiles(page).first.tap()
        expect_photo(page, ARABIC, "1 of 150")
        expect(page.locator("#detail-actions")).to_be_visible()
        heading = page.locator("#detail-name")
        assert heading.evaluate("e => getComputedStyle(e).direction") == "rtl"
        faults["detail"] = axe(page)
        assert small_targets(page) == []
        assert no_sideways_scroll(page)
        swipe(page, -150)
        expect_photo(page, "Dish 149", "2 of 150")
        swipe(page, 150)
        expect_photo(page, ARABIC, "1 of 150")
        swipe(page, -20)  # too short
        expect_photo(page, ARABIC, "1 of 150")

        page.get_by_role("button", name="Close").tap()
        mine = gallery.parent / "photos" / "plate-00000.jpg"
        choose(page, mine)
        expect_hits(page, "Photos like yours")
        page.get_by_role("button", name="Details", exact=True).tap()
        own = page.get_by_role("dialog", name="Your photo")
        expect(own).to_contain_text("there is no link to it")
        expect(own).to_contain_text("96 \u00d7 72 pixels")
        expect(own.get_by_role("button", name="Copy link")).to_be_hidden()
        faults["own"] = axe(page)
        assert "photo=" not in page.url
        page.reload()
        expect(own).to_contain_text("96 \u00d7 72 pixels")
        page.go_back()
        expect_hits(page, "Photos like yours")
        page.set_viewport_size({"width": 320, "height": 640})
        for address in ("/?browse=name", f"/?browse=name&photo={ids['Dish 003']}", "/"):
            page.goto(address)
            expect(page.locator(".tile, #sample-list .card").first).to_be_attached()
            assert no_sideways_scroll(page), address
        assert faults == dict.fromkeys(faults, "")
        assert watch.faults == []


def swipe(page: Page, by: int) -> None:
    """Move a finger over the photo."""
    page.locator("#detail-stage").evaluate(
        """(stage, by) => {
            const finger = {identifier: 1, target: stage, clientY: 200};
            const at = (clientX) => new Touch({...finger, clientX});
            const one = {bubbles: true, cancelable: true};
            const [from, to] = [at(200), at(200 + by)];
            stage.dispatchEvent(new TouchEvent('touchstart', {...one, touches: [from]}));
            stage.dispatchEvent(new TouchEvent('touchend', {...one, changedTouches: [to]}));
        }""",
        by,
    )


def test_what_is_gone_or_not_offered_is_told(page: Page, watch: Watch, ids: dict[str, str]) -> None:
    watch.expect("status of 404")
    watch.expect("status of 422")
    page.goto(f"/?browse=name&photo={UNKNOWN_ID}")
    gone = page.get_by_role("dialog", name="This photo is gone")
    expect(gone.get_by_role("alert")).to_contain_text("no longer in this gallery")
    assert axe(page) == ""
    gone.get_by_role("button", name="Back to the photos").click()
    expect(page).to_have_url(re.compile(r"\?browse=name$"))
    expect(tiles(page)).to_have_count(60)

    page.goto("/?browse=name&label=Pies")
    expect(page.locator("#browse-empty")).to_contain_text("No photo is listed here")
    page.locator("#browse-empty").get_by_role("link", name="All photos").click()
    expect(tiles(page)).to_have_count(60)
    page.goto("/?browse=weight")
    expect(page.locator("#browse-problem")).to_contain_text("cannot be sorted by 'weight'")
    page.locator("#browse-problem").get_by_role("link", name="All photos").click()
    expect(tiles(page)).to_have_count(60)

    # A place in a list of a gallery that was made anew since
    page.evaluate(
        """() => {
            const {place} = history.state ?? {};
            const cursors = [null, 'AAAA'];
            const made = {...place, cursors, known: 100, at: 70, shift: 50};
            history.replaceState({...history.state, place: made}, '');
        }"""
    )
    page.reload()
    expect(page.locator("#status")).to_contain_text("this is the beginning of the list")
    expect(tiles(page)).to_have_count(60)

    # An engine that does not group
    def part(route: Route) -> None:
        route.fulfill(json={"total": 90_000, "counted": 16_384, "facets": [], "notes": []})

    page.route("**/api/v1/facets*", part)
    page.reload()
    expect(page.locator("#labels-part")).to_contain_text("of 16,384 of 90,000 photos")
    empty = {"photos": [], "total": 0, "next": None, "notes": []}
    page.route("**/api/v1/photos?*", lambda route: route.fulfill(json=empty))
    page.goto("/?browse=newest")
    expect(page.locator("#browse-empty")).to_contain_text("no photos in this gallery yet")
    expect(page.locator("#browse-empty")).to_contain_text("deepfood add")
    assert axe(page) == ""


def test_a_long_list_keeps_few_cards(page: Page, url: str) -> None:
    some = httpx.get(f"{url}/api/v1/photos?limit=60").json()["photos"]
    total = 60 * 1000

    def fulfil(route: Route) -> None:
        said = parse_qs(urlsplit(route.request.url).query)
        start = int(said.get("cursor", ["0"])[0])
        photos = [{**one, "name": f"Photo {start + at}"} for at, one in enumerate(some)]
        answer = {"photos": photos, "total": total, "next": str(start + 60), "notes": []}
        route.fulfill(body=json.dumps(answer), content_type="application/json")

    page.route("**/api/v1/photos?*", fulfil)
    page.goto("/?browse=newest")
    expect(tiles(page)).to_have_count(60)
    for number in range(2, 12):
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        expect(page.locator("#browse-list .page").nth(number - 1)).to_be_attached()
    last = page.locator(".tile", has_text=re.compile("Photo 600$"))
    expect(last).to_be_attached()
    expect(last).to_have_attribute("aria-posinset", "601")
    expect(last).to_have_attribute("aria-setsize", str(total))
    assert page.locator(".tile").count() <= 8 * 60
    first = page.locator(".tile", has_text=re.compile("Photo 0$"))
    expect(first).to_have_count(0)
    heights = page.locator(".page").evaluate_all("all => all.map((e) => e.offsetHeight)")
    assert len(set(heights[:-1])) == 1  # with cards and without
    page.evaluate("scrollTo(0, 0)")
    expect(first).to_be_in_viewport()
    assert page.locator(".tile").count() <= 8 * 60


def test_two_to_four_photos_are_compared(page: Page, watch: Watch, ids: dict[str, str]) -> None:
    watch.expect("status of 404")
    page.goto("/?browse=name")
    first = page.get_by_role("button", name="Compare Dish 000", exact=True)
    first.click()
    tray = page.get_by_role("complementary", name="Chosen photos")
    expect(tray).to_contain_text("Choose one more to compare")
    expect(first).to_have_attribute("aria-pressed", "true")
    expect(page.locator("#status")).to_have_text("1 photo to compare")
    page.reload()  # the tab keeps what is chosen
    expect(tray).to_be_visible()
    tiles(page).nth(1).click()
    expect_photo(page, "Dish 002", "2 of 150")
    page.locator("#detail").get_by_role("button", name="Compare").click()
    page.locator("#detail").get_by_role("link", name="Compare 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 photos")
    expect(page).to_have_title("Compare 2 photos · deepfood")
    expect(page.locator("#compare-title")).to_be_focused()
    chosen = [ids["Dish 000"], ids["Dish 002"]]
    expect(page).to_have_url(re.compile(rf"/\?compare={','.join(chosen)}$"))

    def row(name: str) -> Locator:
        header = page.get_by_role("rowheader", name=name, exact=True)
        return page.get_by_role("row").filter(has=header)

    expect(row("price").locator("strong")).to_have_text(["150", "148"])
    expect(row("allergens").locator("strong")).to_have_text(["unknown", "peanut, egg"])
    expect(row("label").locator("strong")).to_have_text(["tomato soup", "Curries"])
    expect(row("vegan")).to_have_text(re.compile("yes.*yes"))
    expect(row("vegan").locator("strong")).to_have_count(0)
    expect(page.get_by_role("columnheader")).to_have_count(2)
    assert axe(page) == ""
    page.get_by_role("button", name="Why alike?").click()
    expect(page.locator("#why-legend")).to_be_visible()
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Dish 002", exact=True).click()
    expect_photo(page, "Dish 002", "2 of 2")
    page.go_back()
    expect(page.get_by_role("link", name="Dish 002", exact=True)).to_be_focused()
    for width in (390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert no_sideways_scroll(page)
        assert small_targets(page) == []
    page.get_by_role("link", name="Remove Dish 002").click()
    expect(page.locator("#compare-summary")).to_contain_text("Choose two to four photos")
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 photos")
    page.go_back()
    expect_photo(page, "Dish 002", "2 of 150")
    page.get_by_role("button", name="Close").click()
    for name in ("Dish 003", "Dish 004"):
        page.get_by_role("button", name=f"Compare {name}", exact=True).click()
    expect(tray.get_by_role("listitem")).to_have_count(4)
    expect(page.locator(f'[data-pick="{ids["Dish 005"]}"]')).to_be_disabled()
    assert no_sideways_scroll(page)
    tray.get_by_role("button", name="Do not compare Dish 003").click()
    expect(tray.get_by_role("listitem")).to_have_count(3)
    expect(page.locator(f'[data-pick="{ids["Dish 005"]}"]')).to_be_enabled()
    tray.get_by_role("button", name="Clear").click()
    expect(tray).to_be_hidden()
    page.goto(f"/?compare={ids['Dish 000']},{UNKNOWN_ID}")
    expect(page.locator("#compare-summary")).to_contain_text("no longer in this gallery")
    page.get_by_role("link", name="Browse all").click()
    expect(tiles(page)).to_have_count(60)
