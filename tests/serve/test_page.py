"""The web page in a real browser, against a real server."""

import base64
import io
import re
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Literal

import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Page,
    Route,
    ViewportSize,
    expect,
)

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
from live import DISHES, LONG_NAME, SmallGallery, serving
from pages import *  # noqa: F403
from plates import plate
from samples import encode, not_photos, turned

UNKNOWN_ID = "0123456789abcdef0123"

pytestmark = needs_browser


def give(page: Page, event: str, data: bytes, name: str = "dish.jpg") -> None:
    """Paste or drop a file, as the browser would tell the page of it."""
    page.evaluate(
        """async ({event, data, name}) => {
            const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
            const transfer = new DataTransfer();
            transfer.items.add(new File([bytes], name, {type: 'image/jpeg'}));
            const options = {bubbles: true, cancelable: true};
            const at = document.elementFromPoint(200, 200);
            if (event === 'paste') {
                at.dispatchEvent(new ClipboardEvent(event, {...options, clipboardData: transfer}));
                return;
            }
            at.dispatchEvent(new DragEvent(event, {...options, dataTransfer: transfer}));
        }""",
        {"event": event, "data": base64.b64encode(data).decode(), "name": name},
    )


def hit_names(page: Page) -> list[str]:
    return page.locator("#hits .name").all_inner_texts()


def sample(page: Page, name: str) -> str:
    """The id of the gallery's photo of that name."""
    photos = page.request.get("/api/v1/samples?k=48").json()
    return next(str(photo["id"]) for photo in photos if photo["name"] == name)


# What visitors do


def test_a_chosen_photo_finds_itself_first(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    first = page.locator("#hits .card").first
    expect(first.locator(".name")).to_have_text("Tomato soup")
    expect(first.locator(".label")).to_have_text("Soups")
    expect(first.locator(".similarity")).to_have_text("100% alike")
    percents = [
        int(text.removesuffix("%")) for text in page.locator("#hits .percent").all_inner_texts()
    ]
    assert percents == sorted(percents, reverse=True)
    assert first.locator(".bar").evaluate("e => getComputedStyle(e).backgroundSize") == "100% 100%"
    expect(page.get_by_role("status")).to_have_text("9 of 24 photos, those most like your photo.")
    expect(page.locator("#summary")).to_have_text("9 of 24 photos, the most alike first")
    expect(page.locator("#title")).to_be_focused()
    assert page.locator("#query-photo").evaluate("e => e.naturalWidth") == 640
    page.wait_for_function(
        "[...document.querySelectorAll('#hits img')].slice(0, 3).every((e) => e.naturalWidth)"
    )


def test_a_pasted_photo_is_searched(page: Page, small_gallery: SmallGallery) -> None:
    give(page, "paste", small_gallery.photos[1].read_bytes())
    expect_hits(page, "Photos like yours")
    assert hit_names(page)[0] == "Crème brûlée"


def test_a_photo_dropped_anywhere_is_searched(page: Page, small_gallery: SmallGallery) -> None:
    data = small_gallery.photos[2].read_bytes()
    give(page, "dragenter", data)
    expect(page.locator("#veil")).to_be_visible()
    give(page, "dragleave", data)
    expect(page.locator("#veil")).to_be_hidden()
    give(page, "dragenter", data)
    give(page, "drop", data)
    expect_hits(page, "Photos like yours")
    expect(page.locator("#veil")).to_be_hidden()
    assert hit_names(page)[0] == "麻婆豆腐"


def test_a_sample_is_searched_and_leaves_itself_out(page: Page) -> None:
    link = page.locator("#sample-list .like", has_text=re.compile("Curry")).first
    name = link.locator(".name").inner_text()
    link.click()
    expect_hits(page, f"Photos like {name}")
    assert name not in hit_names(page)
    expect(page.locator("#query-label")).to_have_text("Curries")


def test_other_samples_can_be_asked_for(page: Page) -> None:
    before = page.locator("#sample-list .name").all_inner_texts()
    page.get_by_role("button", name="Show others").click()
    expect(page.locator("#sample-list .name")).not_to_have_text(before)


def test_back_and_forward_walk_through_the_searches(
    page: Page, small_gallery: SmallGallery
) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    uploaded = hit_names(page)
    page.locator("#hits .like").nth(2).click()
    expect_hits(page, f"Photos like {uploaded[2]}")
    assert re.search(r"/\?id=[0-9a-f]{20}$", page.url)
    alike = hit_names(page)
    assert alike != uploaded

    page.go_back()
    expect_hits(page, "Photos like yours")
    assert hit_names(page) == uploaded
    assert "id=" not in page.url
    page.go_forward()
    expect_hits(page, f"Photos like {uploaded[2]}")
    assert hit_names(page) == alike
    page.go_back()
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_have_text(re.compile("Find food"))
    expect(page.locator("#start-title")).to_be_focused()


def test_two_uploads_are_kept_apart(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    choose(page, small_gallery.photos[10])
    expect(page.locator("#hits .name").first).to_have_text("Curry no. 2")
    page.go_back()
    expect(page.locator("#hits .name").first).to_have_text("Tomato soup")


def test_a_search_survives_reload_and_can_be_shared(page: Page, context: BrowserContext) -> None:
    photo_id = sample(page, "Борщ")
    page.goto(f"/?id={photo_id}")
    expect_hits(page, "Photos like Борщ")
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like Борщ", count=len(DISHES) - 1)
    names = hit_names(page)
    page.reload()
    expect_hits(page, "Photos like Борщ", count=len(DISHES) - 1)
    assert hit_names(page) == names

    other = context.new_page()
    other.goto(page.url)
    expect_hits(other, "Photos like Борщ")
    assert hit_names(other) == names[:9]


def test_show_more_goes_on_where_the_reader_was(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    before = hit_names(page)
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=len(DISHES))
    assert hit_names(page)[:9] == before
    expect(page.locator("#hits .like").nth(9)).to_be_focused()
    expect(page.get_by_role("button", name="Show more")).to_be_hidden()


def test_an_upload_stays_in_this_tab(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=len(DISHES))
    names = hit_names(page)
    choose(page, small_gallery.photos[10])
    expect(page.locator("#hits .name").first).to_have_text("Curry no. 2")
    page.reload()
    expect_hits(page, "Photos like yours")
    expect(page.locator("#hits .name").first).to_have_text("Curry no. 2")
    expect(page.locator("#query-label")).to_have_text(small_gallery.photos[10].name)
    assert (
        page.locator("#query-photo").evaluate("e => e.decode().then(() => e.naturalWidth)") == 640
    )
    page.locator("#show").evaluate("e => { e.closest('details').open = true }")
    page.locator("#show").select_option("varied")  # the same photo, in another place of the history
    expect(page).to_have_url(re.compile("diversity="))
    expect_hits(page, "Photos like yours")
    page.reload()
    expect_hits(page, "Photos like yours")
    expect(page.locator("#show")).to_have_value("varied")
    page.go_back()
    page.go_back()
    expect_hits(page, "Photos like yours", count=len(DISHES))
    assert hit_names(page) == names
    ask_why(page)
    expect(page.locator("#why-legend")).to_be_visible()


def test_an_upload_that_is_too_large_to_keep_leads_to_the_start(page: Page) -> None:
    heavy = Image.effect_noise((1000, 900), 90).convert("RGB")  # the browser cannot make it smaller
    heic = encode(heavy, "HEIF", quality=95)
    assert len(heic) > 2**20
    choose(page, upload("a.heic", "image/heic", heic))
    expect_hits(page, "Photos like yours")
    page.reload()
    expect(page.get_by_role("status")).to_contain_text("choose it once more")
    expect(page.locator("#sample-list .card")).to_have_count(12)


def test_the_original_photo_opens_in_a_tab_of_its_own(
    page: Page, context: BrowserContext, watch: Watch, small_gallery: SmallGallery
) -> None:
    watch.expect("status of 404")  # the browser looks for /favicon.ico beside a bare picture
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    page.get_by_role("link", name="Details of Tomato soup").click()
    with context.expect_page() as opened:
        page.get_by_role("link", name="Open the original in a new tab").click()
    opened.value.wait_for_load_state()
    answer = page.request.get(opened.value.url)
    assert answer.body() == small_gallery.photos[0].read_bytes()
    assert opened.value.evaluate("opener") is None


def test_missing_and_odd_names_are_shown_as_text(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=len(DISHES))
    names = hit_names(page)
    assert LONG_NAME in page.locator("#hits .name").all_text_contents()
    assert "<b>Fish & chips</b>" in names
    assert "Salads" in names  # a label where there is no name
    assert any(re.fullmatch("Photo [0-9a-f]{6}", name) for name in names)
    assert no_sideways_scroll(page)


def test_the_latest_search_wins(page: Page, small_gallery: SmallGallery) -> None:
    held: list[Route] = []
    # The first search gets no answer.
    page.route("**/api/v1/search", lambda route: held.append(route), times=1)
    choose(page, small_gallery.photos[0])
    expect(page.locator("#hits")).to_have_attribute("aria-busy", "true")
    expect(page.locator("#hits .blank")).to_have_count(9)
    page.wait_for_function("document.getElementById('query-photo').naturalWidth > 0")
    choose(page, small_gallery.photos[1])
    expect_hits(page, "Photos like yours")
    assert [route.request.failure for route in held] == ["net::ERR_ABORTED"]
    expect(page.locator("#hits .name").first).to_have_text("Crème brûlée")


@pytest.mark.parametrize(
    ("size", "said"), [((640, 480), True), ((300, 640), True), ((500, 500), False)]
)
def test_what_the_model_sees_is_drawn_on_the_photo(
    page: Page, size: tuple[int, int], said: bool
) -> None:
    crop = page.request.get("/api/v1/gallery").json()["crop"]
    assert crop == 0.875
    choose(page, upload("a.png", "image/png", encode(plate(5, size), "PNG")))
    expect_hits(page, "Photos like yours")
    expect(page.locator("#query-seen")).to_be_visible()
    frame, seen = (page.locator(at).bounding_box() for at in ("#query .frame", "#query-seen"))
    scale = min(frame["width"] / size[0], frame["height"] / size[1])
    sides: tuple[tuple[Literal["width", "height"], Literal["x", "y"]], ...]
    sides = (("width", "x"), ("height", "y"))
    for side, start in sides:
        assert seen[side] == pytest.approx(crop * min(size) * scale, abs=1.5)
        middle = frame[start] + frame[side] / 2
        assert seen[start] + seen[side] / 2 == pytest.approx(middle, abs=1.5)
    expect(page.locator("#query-part")).to_be_visible(visible=said)
    assert axe(page) == ""


@pytest.mark.parametrize(
    ("resize", "crop", "wide", "high", "said"),
    # Of a photo of 640 x 480.
    [
        ("shortest", 0.875, 420, 420, True),
        ("squash", 1.0, 640, 480, False),
        ("squash", 0.9, 576, 432, False),
        ("pad", 1.0, 640, 480, False),
    ],
)
def test_what_other_models_see_is_drawn(
    page: Page, resize: str, crop: float, wide: float, high: float, said: bool
) -> None:
    facts = page.request.get("/api/v1/gallery").json()
    assert facts["resize"] == "square"
    facts |= {"resize": resize, "crop": crop}
    page.route("**/api/v1/gallery", lambda route: route.fulfill(json=facts))
    page.reload()
    choose(page, upload("a.png", "image/png", encode(plate(5, (640, 480)), "PNG")))
    expect_hits(page, "Photos like yours")
    expect(page.locator("#query-seen")).to_be_visible()
    frame, seen = (page.locator(at).bounding_box() for at in ("#query .frame", "#query-seen"))
    scale = min(frame["width"] / 640, frame["height"] / 480)
    assert seen["width"] == pytest.approx(wide * scale, abs=1.5)
    assert seen["height"] == pytest.approx(high * scale, abs=1.5)
    expect(page.locator("#query-part")).to_be_visible(visible=said)


# Why this one?


def ask_why(page: Page, place: int = 0) -> str:
    """Press the button of the hit at `place`; its name."""
    button = page.locator("#hits .ask").nth(place)
    name = page.locator("#hits .name").nth(place).inner_text()
    expect(button).to_have_accessible_name(f"Why this one? {name}")
    button.click()
    expect(page.get_by_role("dialog", name="Why this one?")).to_be_visible()
    return name


def test_why_a_photo_was_found_is_shown_for_an_upload(
    page: Page, small_gallery: SmallGallery
) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    name = ask_why(page, 1)
    expect(page.locator("#why-legend")).to_be_visible()
    expect(page.locator("#why-query-name")).to_have_text("Your photo")
    expect(page.locator("#why-hit-name")).to_have_text(name)
    for side, of in (("query", "Your photo"), ("hit", name)):
        image = page.locator(f"#why-{side}")
        expect(image).to_have_attribute("src", re.compile("^data:image/jpeg;base64,"))
        expect(image).to_have_attribute("alt", re.compile(f"^{of}: most of the likeness is at the"))
        assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") == 640
    expect(page.locator("#why-sum")).to_have_text(
        re.compile(r"They are \d+% alike, and a quarter of the found photo makes up \d+% of that\.")
    )
    page.get_by_role("button", name="Show the photos alone").click()
    expect(page.locator("#why-query")).to_have_attribute("src", re.compile("^blob:"))
    expect(page.locator("#why-hit")).to_have_attribute("src", re.compile("thumbnails/"))
    page.get_by_role("button", name="Show the heat").click()
    expect(page.locator("#why-hit")).to_have_attribute("src", re.compile("^data:"))


def test_why_works_for_a_photo_of_the_gallery_with_the_keyboard(page: Page) -> None:
    page.goto(f"/?id={sample(page, 'Tomato soup')}")
    expect_hits(page, "Photos like Tomato soup")
    button = page.locator("#hits .ask").first
    button.focus()
    page.keyboard.press("Enter")
    expect(page.locator("#why-title")).to_be_focused()
    expect(page.locator("#why-legend")).to_be_visible()
    expect(page.locator("#why-query-name")).to_have_text("Tomato soup")
    for name in ("Close", "Show the photos alone"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#why")).to_be_hidden()
    expect(button).to_be_focused()

    ask_why(page, 1)
    page.mouse.click(5, 5)  # beside the dialog
    expect(page.locator("#why")).to_be_hidden()
    ask_why(page, 1)
    page.go_back()
    expect(page.locator("#why")).to_be_hidden()


def test_why_of_a_photo_that_the_browser_cannot_show(page: Page) -> None:
    heic = encode(plate(7, (900, 700)), "HEIF", quality=80)
    choose(page, upload("a.heic", "image/heic", heic))
    expect_hits(page, "Photos like yours")
    ask_why(page)
    picture = page.locator("#why-query")
    expect(picture).to_have_attribute("src", re.compile("^data:"))
    expect(picture).to_be_visible()
    page.get_by_role("button", name="Show the photos alone").click()
    expect(picture).to_be_hidden()
    page.get_by_role("button", name="Show the heat").click()
    expect(picture).to_be_visible()


def test_why_that_fails_is_told_kindly_and_can_be_asked_again(page: Page, watch: Watch) -> None:
    watch.expect("status of 422")
    watch.expect("net::ERR_FAILED")
    page.goto(f"/?id={sample(page, 'Tomato soup')}")
    expect_hits(page, "Photos like Tomato soup")
    said = {"type": "about:blank", "title": "x", "status": 422, "detail": "the Model has no map"}
    page.route("**/api/v1/explain", lambda route: route.fulfill(status=422, json=said), times=1)
    ask_why(page)
    expect(page.get_by_role("alert")).to_contain_text("The Model has no map")
    expect(page.locator("#why-retry")).to_be_hidden()
    page.get_by_role("button", name="Close").click()

    page.route("**/api/v1/explain", lambda route: route.abort(), times=1)
    ask_why(page)
    expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    page.get_by_role("button", name="Try again").click()
    expect(page.locator("#why-legend")).to_be_visible()
    expect(page.locator("#why-problem")).to_be_hidden()


def test_an_answer_that_comes_too_late_is_not_shown(page: Page) -> None:
    page.goto(f"/?id={sample(page, 'Tomato soup')}")
    expect_hits(page, "Photos like Tomato soup")
    held: list[Route] = []
    page.route("**/api/v1/explain", lambda route: held.append(route), times=1)
    ask_why(page)
    expect(page.locator("#why")).to_have_attribute("aria-busy", "true")
    page.get_by_role("button", name="Close").click()
    name = ask_why(page, 2)
    expect(page.locator("#why-hit")).to_have_attribute("alt", re.compile(f"^{re.escape(name)}:"))
    assert [route.request.failure for route in held] == ["net::ERR_ABORTED"]


@pytest.mark.parametrize("width", [360, 1280])
def test_why_fits_the_screen(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 740})
    page.goto(f"/?id={sample(page, 'Tomato soup')}")
    expect_hits(page, "Photos like Tomato soup")
    ask_why(page)
    expect(page.locator("#why-legend")).to_be_visible()
    box = page.locator("#why").bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["x"] + box["width"] <= width
    assert box["y"] + box["height"] <= 740
    assert page.locator("#why").evaluate("e => e.scrollWidth <= e.clientWidth")
    assert no_sideways_scroll(page)
    assert small_targets(page) == []


# What goes wrong


def test_an_unknown_photo_in_the_address_is_told_kindly(page: Page, watch: Watch) -> None:
    watch.expect("status of 404")
    page.goto(f"/?id={UNKNOWN_ID}")
    expect(page.get_by_role("heading", level=1)).to_have_text("That did not work")
    expect(page.locator("#problem-text")).to_contain_text(UNKNOWN_ID)
    expect(page.get_by_role("status")).to_contain_text(UNKNOWN_ID)
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()
    page.get_by_role("link", name="Start over").click()
    expect(page.locator("#sample-list .card")).to_have_count(12)


def test_a_file_that_is_no_photo_gets_the_servers_answer(
    page: Page, watch: Watch, small_gallery: SmallGallery
) -> None:
    watch.expect("status of 415")
    text = {"name": "recipe.txt", "mimeType": "text/plain", "buffer": not_photos()["text"]}
    choose(page, text)  # type: ignore[arg-type]
    expect(page.locator("#problem-text")).to_contain_text("The photo is not JPEG, PNG")
    expect(page.locator("#query-label")).to_have_text("recipe.txt")
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    expect(page.locator("#problem")).to_be_hidden()


def test_without_the_network_the_page_stays_usable(
    page: Page, context: BrowserContext, watch: Watch, small_gallery: SmallGallery
) -> None:
    watch.expect("net::ERR_INTERNET_DISCONNECTED")
    context.set_offline(True)
    choose(page, small_gallery.photos[0])
    expect(page.locator("#problem-text")).to_contain_text("You seem to be offline")
    context.set_offline(False)
    page.get_by_role("button", name="Try again").click()
    expect_hits(page, "Photos like yours")


def test_the_page_opens_without_a_network_and_says_so(
    page: Page, context: BrowserContext, watch: Watch
) -> None:
    watch.expect("net::ERR_INTERNET_DISCONNECTED")
    page.evaluate("navigator.serviceWorker.ready")
    page.reload()  # from here on it serves the page
    expect(page.locator("#sample-list .like")).to_have_count(12)
    context.set_offline(True)
    page.goto("/?words=soup")
    expect(page.locator("#problem-text")).to_contain_text("You seem to be offline")
    page.goto("/")
    expect(page.locator("#notice")).to_contain_text("You seem to be offline")
    context.set_offline(False)
    page.goto("/?words=soup")
    expect(page.locator("#hits .card:not(.blank)").first).to_be_visible()


def test_a_server_that_is_gone_is_told(browser: Browser, small_gallery: SmallGallery) -> None:
    with browser.new_context() as context, serving(small_gallery.folder) as server:
        page = context.new_page()
        page.goto(server.url)
        page.locator("#sample-list .like").first.click()
        expect(page.locator("#hits .percent")).to_have_count(9)
        names = hit_names(page)
        server.process.terminate()
        server.process.wait(timeout=300)
        page.get_by_role("button", name="Show more").click()
        expect(page.locator("#problem-text")).to_contain_text("The server cannot be reached")
        assert hit_names(page) == names  # what was there stays
        expect(page.get_by_role("button", name="Show more")).to_be_visible()
        page.locator("#hits .like").first.click()
        expect(page.get_by_role("heading", level=1)).to_have_text("That did not work")
        page.go_back()
        expect(page.locator("#hits .percent")).to_have_count(9)
        assert hit_names(page) == names


def test_a_fault_that_is_not_json_is_told(
    page: Page, watch: Watch, small_gallery: SmallGallery
) -> None:
    watch.expect("status of 502")
    page.route(
        "**/api/v1/search", lambda route: route.fulfill(status=502, body="<h1>Bad</h1>"), times=1
    )
    choose(page, small_gallery.photos[0])
    expect(page.locator("#problem-text")).to_have_text("The server answered with status 502")
    page.get_by_role("button", name="Try again").click()
    expect_hits(page, "Photos like yours")


def test_the_start_page_is_seen_before_its_scripts(browser: Browser, server_url: str) -> None:
    with browser.new_context(base_url=server_url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        page.goto("/?words=soup")
        expect(page.get_by_role("heading", level=1)).to_have_count(0)


def test_a_refusal_says_what_to_do(page: Page, watch: Watch, small_gallery: SmallGallery) -> None:
    watch.expect("status of 429")
    watch.expect("status of 413")
    too_many = {"detail": "more than 60 requests a minute: try again later"}
    wait = {"Retry-After": "7"}
    page.route(
        "**/api/v1/search",
        lambda route: route.fulfill(status=429, json=too_many, headers=wait),
        times=1,
    )
    choose(page, small_gallery.photos[0])
    text = page.locator("#problem-text")
    expect(text).to_have_text(re.compile("more than 60 .* It will work again in 7 seconds", re.I))
    page.route(
        "**/api/v1/search",
        lambda route: route.fulfill(status=413, json={"detail": "over the limit"}),
        times=1,
    )
    page.get_by_role("button", name="Try again").click()
    expect(text).to_contain_text("Please choose a smaller photo")
    expect(page.get_by_role("button", name="Try again")).to_be_hidden()


def test_the_start_page_asks_again_and_shows_a_plate_for_a_broken_picture(
    page: Page, watch: Watch
) -> None:
    watch.expect("status of 503")
    watch.expect("status of 404")
    busy = {"detail": "the server is busy"}
    page.route("**/api/v1/samples*", lambda route: route.fulfill(status=503, json=busy), times=1)
    page.route("**/thumbnails/*", lambda route: route.fulfill(status=404), times=1)
    page.reload()
    expect(page.locator("#notice")).to_have_text("The server is busy")
    expect(page.locator("#sample-list .like")).to_have_count(12)
    expect(page.locator("#notice")).to_be_hidden()
    expect(page.locator("#sample-list .broken")).to_have_count(1)


def test_an_empty_gallery_says_so(page: Page) -> None:
    nothing = {"photos": 0, "labels": 0, "index": "exact", "model": "m", "dimension": 9}
    said = {**nothing, "attributes": []}
    page.route("**/api/v1/gallery", lambda route: route.fulfill(json=said))
    page.route("**/api/v1/samples*", lambda route: route.fulfill(json=[]))
    page.reload()
    expect(page.locator("#notice")).to_contain_text("no photos in this gallery yet. Add some with")
    expect(page.locator("#samples")).to_be_hidden()


# What is sent


def sent_photo(page: Page, file: dict[str, object]) -> bytes:
    """The photo in the multipart body that choosing `file` makes the browser send."""
    # Chromium does not tell Playwright the bytes of a body with files in it, but the page knows.
    page.evaluate(
        """() => {
            const really = XMLHttpRequest.prototype.send;
            XMLHttpRequest.prototype.send = async function (body) {
                const request = new Request(location, {method: 'POST', body});
                window.sent = [request.headers.get('Content-Type')];
                for (const byte of new Uint8Array(await request.arrayBuffer())) sent.push(byte);
                really.call(this, body);
            };
        }"""
    )
    choose(page, file)
    expect_hits(page, "Photos like yours")
    kind, *body = page.evaluate("window.sent")
    head = f"Content-Type: {kind}\r\n\r\n".encode()
    parts = message_from_bytes(head + bytes(body)).get_payload()
    by_name = {part.get_param("name", header="content-disposition"): part for part in parts}
    assert by_name["k"].get_payload() == "9"
    return bytes(by_name["photo"].get_payload(decode=True))


def upload(name: str, kind: str, data: bytes) -> dict[str, object]:
    return {"name": name, "mimeType": kind, "buffer": data}


def test_a_large_photo_is_shrunk_and_keeps_its_shape(page: Page) -> None:
    large = encode(plate(7, (3000, 1700)), "JPEG", quality=95)
    with Image.open(io.BytesIO(sent_photo(page, upload("a.jpg", "image/jpeg", large)))) as image:
        assert image.format == "JPEG"
        assert max(image.size) == 1024
        assert image.width / image.height == pytest.approx(3000 / 1700, rel=0.01)


def test_a_turned_photo_is_sent_and_shown_upright(page: Page) -> None:
    upright = plate(7, (1500, 2000))
    upright.paste((250, 20, 20), (0, 0, 1500, 400))  # red on top
    data = turned(upright, 6, "JPEG", quality=95)
    with Image.open(io.BytesIO(data)) as stored:
        assert stored.size == (2000, 1500)
    with Image.open(io.BytesIO(sent_photo(page, upload("a.jpg", "image/jpeg", data)))) as image:
        assert image.size == (768, 1024)
        assert image.getexif().get(0x0112, 1) == 1
        red, green, blue = image.getpixel((384, 100))
        assert red > 200 > 100 > green + blue
    assert page.locator("#query-photo").evaluate("e => [e.naturalWidth, e.naturalHeight]") == [
        768,
        1024,
    ]


def test_what_is_transparent_is_sent_over_white(page: Page) -> None:
    image = plate(7, (1600, 1600)).convert("RGBA")
    image.paste((0, 0, 0, 0), (0, 0, 1600, 800))
    data = encode(image, "PNG")
    with Image.open(io.BytesIO(sent_photo(page, upload("a.png", "image/png", data)))) as sent:
        assert min(sent.getpixel((512, 200))) > 245  # type: ignore[arg-type]


def test_a_small_photo_and_one_the_browser_cannot_read_are_sent_as_they_are(page: Page) -> None:
    small = encode(plate(7, (800, 600)), "PNG")
    assert sent_photo(page, upload("a.png", "image/png", small)) == small
    heic = encode(plate(7, (1600, 1200)), "HEIF", quality=80)
    assert sent_photo(page, upload("a.heic", "image/heic", heic)) == heic
    expect(page.locator("#query")).to_have_class("without-photo")


# For everybody


def test_the_keyboard_alone_is_enough(page: Page) -> None:
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#main")).to_be_focused()
    for name in ("Choose a photo", "Show others"):
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name=name)).to_be_focused()
        assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Browse all")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#sample-list .like").first).to_be_focused()
    first = page.locator("#sample-list .name").first.text_content()
    page.keyboard.press("Enter")
    expect_hits(page, f"Photos like {first}")
    expect(page.locator("#title")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#refine summary")).to_be_focused()
    page.keyboard.press("Tab")
    expect(page.locator("#hits .like").first).to_be_focused()
    second = page.locator("#hits .name").first.text_content()
    page.keyboard.press("Tab")
    expect(page.locator("#hits .pick").first).to_be_focused()
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Enter")
    expect_hits(page, f"Photos like {second}")
    page.go_back()  # the browser's own key for it does not reach a headless one
    expect_hits(page, f"Photos like {first}")
    expect(page.locator("#title")).to_be_focused()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing(page: Page, watch: Watch, scheme: str) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")  # type: ignore[arg-type]
    dark = sum(map(int, re.findall(r"\d+", background(page))[:3])) < 120
    assert dark == (scheme == "dark")
    faults = {"start": axe(page)}
    page.locator("#sample-list .like").first.click()
    expect(page.locator("#hits .percent")).to_have_count(9)
    faults["results"] = axe(page)
    ask_why(page)
    expect(page.locator("#why-legend")).to_be_visible()
    faults["why"] = axe(page)
    watch.expect("status of 404")
    page.goto(f"/?id={UNKNOWN_ID}")
    expect(page.locator("#problem")).to_be_visible()
    faults["problem"] = axe(page)
    page.goto("/docs")
    expect(page.locator(".operation")).not_to_have_count(0)
    for summary in page.locator(".operation summary").all():
        summary.click()
    faults["docs"] = axe(page)
    page.goto("/nothing/here")
    faults["error page"] = axe(page)
    assert faults == dict.fromkeys(faults, "")


def background(page: Page) -> str:
    return str(page.evaluate("getComputedStyle(document.body).backgroundColor"))


@pytest.mark.parametrize("width", [360, 768, 1280])
def test_nothing_scrolls_sideways(page: Page, watch: Watch, width: int) -> None:
    watch.expect("status of 404")
    page.set_viewport_size({"width": width, "height": 800})
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    long = page.locator("#sample-list .like", has_text="Grandmother")
    page.goto(f"/?id={sample(page, LONG_NAME)}")
    expect(page.locator("#hits .percent")).to_have_count(9)
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    assert long.count() == 0
    for path in (f"/?id={UNKNOWN_ID}", "/docs", "/nothing/" + "here" * 100):
        page.goto(path)
        expect(page.locator("h1:visible")).to_have_count(1)
        assert no_sideways_scroll(page), path


def test_photos_of_any_shape_fill_equal_cells(page: Page) -> None:
    page.goto(f"/?id={sample(page, 'Tomato soup')}")
    page.get_by_role("button", name="Show more").click()
    expect(page.locator("#hits .percent")).to_have_count(len(DISHES) - 1)
    sizes = page.evaluate(
        """[...document.querySelectorAll('#hits .frame')].map((e) => {
            const fit = getComputedStyle(e.firstElementChild).objectFit;
            return [e.clientWidth, e.clientHeight, fit];
        })"""
    )
    assert len({tuple(size) for size in sizes}) == 1
    assert sizes[0][2] == "cover"


def test_phones_are_offered_the_camera(browser: Browser, server_url: str) -> None:
    phone: ViewportSize = {"width": 390, "height": 800}
    with browser.new_context(
        base_url=server_url,
        viewport=phone,
        is_mobile=True,
        has_touch=True,
    ) as context:
        page = context.new_page()
        page.goto("/")
        expect(page.get_by_role("button", name="Take a photo")).to_be_visible()
        expect(page.locator("#start .hint.mouse")).to_be_hidden()
        with page.expect_file_chooser() as chosen:
            page.get_by_role("button", name="Take a photo").tap()
        assert chosen.value.element.get_attribute("capture") == "environment"


def test_on_a_computer_the_camera_button_is_not_shown(page: Page) -> None:
    expect(page.get_by_role("button", name="Take a photo")).to_be_hidden()


def test_motion_is_left_out_for_those_who_ask(page: Page) -> None:
    page.emulate_media(reduced_motion="reduce")
    durations = page.locator("#sample-list img").first.evaluate(
        "e => getComputedStyle(e).transitionProperty + getComputedStyle(e).animationName"
    )
    assert durations == "nonenone"


# The other pages


def test_the_header_says_what_is_searched(page: Page) -> None:
    expect(page.locator("#counts")).to_have_text(re.compile(r"24 photos\s*8 labels"))


def test_the_api_page_shows_working_examples_and_every_operation(page: Page) -> None:
    page.get_by_role("link", name="API").click()
    expect(page).to_have_title("The API · deepfood")
    operations = page.request.get("/openapi.json").json()["paths"]
    count = sum(len(verbs) for verbs in operations.values())
    expect(page.locator(".operation")).to_have_count(count)
    # It also waits for the photo that the examples name: before, PHOTO_ID stands in its place.
    expect(page.locator("main")).not_to_contain_text("PHOTO_ID")
    expect(page.locator("#example")).to_contain_text("thumbnail_url")
    examples = page.locator("pre").all_inner_texts()
    assert sum(f"curl {page.url.removesuffix('/docs')}/" in example for example in examples) == 9
    assert "ORIGIN" not in "".join(examples)
    page.locator(".operation summary").first.click()
    expect(page.locator(".operation").first).to_contain_text("multipart/form-data")


def test_a_wrong_address_leads_back_to_the_search(page: Page, watch: Watch) -> None:
    watch.expect("status of 404")
    answer = page.goto("/no/<such>/page")
    assert answer is not None
    assert answer.status == 404
    expect(page.locator("main")).to_contain_text("there is nothing at /no/<such>/page")
    page.get_by_role("link", name="Back to the photo search").click()
    expect(page.locator("#sample-list .card")).to_have_count(12)


# What it thinks of a photo, where the gallery can tell


@pytest.fixture
def dish_page(browser: Browser, dish_url: str) -> Iterator[Page]:
    """The start page of a calibrated gallery, of whose plates many are near-duplicates."""
    context = browser.new_context(base_url=dish_url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    watch = Watch(context, dish_url)
    page = context.new_page()
    page.goto("/?group_duplicates=false")
    expect(page.locator("#sample-list .card")).to_have_count(12)
    yield page
    context.close()
    assert watch.faults == []


def test_a_dish_it_knows_is_named(dish_page: Page, dish_gallery: Path) -> None:
    page = dish_page
    choose(page, dish_gallery.parent / "new/crème brûlée/00501.jpg")
    expect_hits(page, "Photos like yours")
    verdict = page.locator("#verdict")
    expect(verdict).to_have_text("Looks like crème brûlée.")
    expect(page.get_by_role("status")).to_have_text(
        "Looks like crème brûlée. 9 of 90 photos, those most like your photo."
    )
    first = page.locator("#hits .similarity").first
    expect(first).to_have_text(re.compile(r"^\d\d% alike$"))
    expect(page.locator("#hits .same-dish").first).to_have_text("likely the same dish")
    shown = page.locator("#hits .percent").first.inner_text()
    assert first.locator(".bar").evaluate("e => e.style.getPropertyValue('--filled')") == shown
    assert axe(page) == ""
    sentence = verdict.inner_text()
    page.get_by_role("button", name="Show more").click()
    expect_hits(page, "Photos like yours", count=27)
    expect(verdict).to_have_text(sentence)  # however many photos are shown
    orders = (("varied", "&diversity=", 9), ("single", "group_duplicates=false$", 27))
    for show, address, count in orders:
        page.locator("#show").select_option(show)  # and whichever are
        expect(page).to_have_url(re.compile(address))
        expect_hits(page, "Photos like yours", count=count)
        expect(verdict).to_have_text(sentence)
        expect(page.locator("#hits .same-dish").first).to_have_text("likely the same dish")
        percents = [int(p[:-1]) for p in page.locator("#hits .percent").all_inner_texts()]
        assert percents == sorted(percents, reverse=True)


def test_a_dish_it_is_not_sure_of_is_a_guess(dish_page: Page, dish_gallery: Path) -> None:
    choose(dish_page, dish_gallery.parent / "new/tomato soup/00505.jpg")
    expect(dish_page.locator("#verdict")).to_have_text("Perhaps tomato soup.")


def noise() -> bytes:
    """Nothing like any plate."""
    return encode(Image.effect_noise((96, 72), 120).convert("RGB"), "PNG")


def test_a_photo_like_none_is_told_and_the_nearest_are_shown(dish_page: Page) -> None:
    choose(dish_page, upload("noise.png", "image/png", noise()))
    expect_hits(dish_page, "Photos like yours")
    expect(dish_page.locator("#verdict")).to_have_text(
        "Probably nothing like it in this gallery: the nearest photos are shown anyway."
    )
    words = dish_page.locator("#hits .same-dish").all_inner_texts()
    assert set(words) == {"probably another dish"}


def test_nothing_is_guessed_of_a_photo_whose_label_is_known(dish_page: Page) -> None:
    link = dish_page.locator("#sample-list .like").first
    label = link.locator(".name").inner_text()
    link.click()
    expect_hits(dish_page, f"Photos like {label}")
    expect(dish_page.locator("#verdict")).to_be_hidden()
    expect(dish_page.locator("#hits .same-dish").first).to_be_hidden()
    expect(dish_page.locator("#query-name")).not_to_contain_text("_")
    dish_page.go_back()
    expect(dish_page.locator("#answer")).to_be_hidden()


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_verdict_fits_and_no_percentage_wraps(
    dish_page: Page, dish_gallery: Path, width: int
) -> None:
    page = dish_page
    page.set_viewport_size({"width": width, "height": 800})
    choose(page, dish_gallery.parent / "new/crème brûlée/00501.jpg")
    expect(page.locator("#hits .percent")).to_have_count(9)
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    lines = page.locator("#hits .similarity").evaluate_all(
        "all => all.map((e) => e.lastElementChild.getClientRects().length)"
    )
    assert set(lines) == {1}


def test_the_first_hit_is_seen_without_scrolling(dish_page: Page, dish_gallery: Path) -> None:
    page = dish_page
    for width, height in ((320, 568), (568, 320), (390, 664)):
        page.set_viewport_size({"width": width, "height": height})
        page.goto("/")
        choose(page, dish_gallery.parent / "new/crème brûlée/00501.jpg")
        expect_hits(page, "Photos like yours")
        expect(page.locator("#verdict")).to_be_visible()
        assert page.evaluate("scrollY") == 0
        box = page.locator("#hits .frame").first.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] / 2 <= height, (width, height, box)
        assert (axe(page), small_targets(page), no_sideways_scroll(page)) == ("", [], True)


def test_without_calibration_nothing_is_claimed(page: Page, small_gallery: SmallGallery) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    expect(page.locator("#verdict")).to_be_hidden()
