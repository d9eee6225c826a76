"""Looking after the gallery on the page: a key, adding, editing, deleting, and five lists."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image
from playwright.sync_api import (
    Browser,
    BrowserContext,
    Dialog,
    Locator,
    Page,
    Request,
    Route,
    expect,
)

import pages
from browser import WAIT_MS, Watch, axe, needs_browser, no_sideways_scroll, small_targets
from deepfood.serve.api.keys import new_key
from live import run_deepfood
from plates import plate, write_dishes
from served import serving_here

pytestmark = needs_browser

browser = pages.browser  # the fixture

KEY, HASH = new_key()
BEARER = {"authorization": f"Bearer {KEY}"}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """36 dishes of 3 labels; 2 of them have another's label, and one is there in two sizes.

    Two photos have no label: one is like a dish, and one is noise.
    """
    root = tmp_path_factory.mktemp("tended")
    photos = write_dishes(root / "photos", 12, labels=3)
    first, second, third = sorted(folder for folder in photos.iterdir())
    for one in sorted(first.iterdir())[3:5]:
        shutil.move(one, second / f"moved-{one.name}")
    plate(7, (640, 480)).save(third / "large.jpg", quality=95)
    plate(7, (640, 480)).resize((320, 240), Image.Resampling.LANCZOS).save(third / "small.jpg")
    plate(8, (320, 240)).save(photos / "plain.jpg")
    noise = np.random.default_rng(0).integers(0, 255, (96, 96, 3), np.uint8)
    Image.fromarray(noise).save(photos / "noise.png")
    run_deepfood("build", photos, "--out", root / "gallery")
    columns = ["price=number", "vegan=boolean", "diet=list", "origin=text"]
    run_deepfood("attributes", root / "gallery", *(f"--declare={one}" for one in columns))
    return root / "gallery"


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    with serving_here(gallery, api_key_hashes=HASH) as url:
        yield url


@pytest.fixture
def context(browser: Browser, url: str) -> Iterator[BrowserContext]:
    context = browser.new_context(base_url=url, viewport={"width": 1280, "height": 800})
    context.set_default_timeout(WAIT_MS)
    yield context
    context.close()


@pytest.fixture
def watch(context: BrowserContext, url: str) -> Iterator[Watch]:
    watch = Watch(context, url)
    yield watch
    assert watch.faults == []


@pytest.fixture
def page(context: BrowserContext, watch: Watch) -> Page:
    return context.new_page()


def enter(page: Page, address: str = "/?look-after") -> None:
    """Open a part of the view, and give the key where it is asked for."""
    page.goto(address)
    expect(page.locator("#look-after-title")).not_to_be_empty()
    if page.locator("#key-form").is_visible():
        page.get_by_label("Key", exact=True).fill(KEY)
        page.keyboard.press("Enter")
    expect(page.locator("#look-after-parts")).to_be_visible()


def is_good(page: Page) -> None:
    """A state that everybody can use: on a small phone, and by axe."""
    page.set_viewport_size({"width": 320, "height": 640})
    assert no_sideways_scroll(page)
    assert small_targets(page) == []
    page.emulate_media(color_scheme="dark")
    assert axe(page) == ""
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 1280, "height": 800})


def facts(url: str, photo_id: str) -> dict[str, Any]:
    return dict(httpx.get(f"{url}/api/v1/photos/{photo_id}").json())


def drop(page: Page, files: list[Path]) -> None:
    """Drop files onto the page, as a person would."""
    page.evaluate(
        "document.body.append(Object.assign(document.createElement('input'), "
        "{type: 'file', multiple: true, id: 'dropped-files'}))"
    )
    page.locator("#dropped-files").set_input_files(files)
    data = page.evaluate_handle(
        """() => { const data = new DataTransfer();
        const input = document.getElementById('dropped-files');
        for (const file of input.files) data.items.add(file); input.remove(); return data; }"""
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": data})
    expect(page.locator("#veil")).to_have_text("Drop photos to add them to the gallery")
    page.dispatch_event("#veil", "drop", {"dataTransfer": data})


def test_a_key_opens_it_and_stays_in_the_tab(page: Page, watch: Watch, server_url: str) -> None:
    watch.expect("401")
    page.goto("/")
    page.get_by_role("link", name="Look after").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Look after the gallery")
    expect(page.locator("#look-after-title")).to_be_focused()
    expect(page).to_have_url(re.compile(r"/\?look-after$"))
    field = page.get_by_label("Key", exact=True)
    expect(field).to_have_attribute("autocomplete", "off")
    for wrong, says in ((f"{KEY}x", "does not know this key"), ("two words", "letters, digits")):
        field.fill(wrong)
        page.keyboard.press("Enter")
        expect(page.locator("#key-fault")).to_contain_text(says)
        expect(field).to_be_focused()
    is_good(page)
    field.fill(f" {KEY} ")
    page.get_by_role("button", name="Use the key").click()
    expect(page.locator("#look-after-title")).to_be_focused()
    expect(page).to_have_title("Add photos · deepfood")
    is_good(page)
    page.reload()
    expect(page.locator("#adding")).to_be_visible()
    kept = page.evaluate(
        """async () => [location.href, JSON.stringify(history.state), JSON.stringify(localStorage),
        document.cookie, document.documentElement.outerHTML, ...(await Promise.all(
          (await caches.keys()).map(async (name) =>
            (await (await caches.open(name)).keys()).map(({ url }) => url).join())))].join()"""
    )
    assert KEY not in kept
    page.get_by_role("button", name="Forget the key").click()
    expect(page.locator("#key-form")).to_be_visible()
    assert KEY not in page.evaluate("JSON.stringify(sessionStorage)")

    reader = page.context.browser.new_page()  # type: ignore[union-attr]
    reader.goto(f"{server_url}/?look-after")
    expect(reader.locator("#look-after-problem")).to_contain_text("cannot be changed here")
    expect(reader.get_by_role("link", name="Look after")).to_be_hidden()
    reader.close()


def test_photos_are_added_by_dropping(page: Page, watch: Watch, url: str, tmp_path: Path) -> None:
    for status in ("412", "415", "503", "ERR_FAILED"):
        watch.expect(status)
    files = [tmp_path / name for name in ("Leek_soup.jpg", "IMG_2041.jpg", "notes.jpg", "b.jpg")]
    for seed, file in enumerate(files[:2]):
        plate(900 + seed, (640, 480)).save(file, quality=95)
    files[2].write_bytes(b"no photo")
    there = httpx.get(f"{url}/api/v1/photos?limit=1").json()["photos"][0]
    files[3].write_bytes(httpx.get(f"{url}/photos/{there['id']}").content)
    tries: list[str] = []

    def first_fails(route: Route) -> None:
        """The first answer gets lost, after the server has added the photo; the next is a 503."""
        tries.append(route.request.method)
        if len(tries) == 1:
            route.fetch()
            route.abort("failed")
        elif len(tries) == 2:
            problem = '{"detail": "busy", "status": 503}'
            route.fulfill(status=503, headers={"retry-after": "1"}, body=problem)
        else:
            route.continue_()

    enter(page, "/?look-after=labels")
    page.route("**/api/v1/photos", first_fails)
    drop(page, files)
    expect(page).to_have_url(re.compile(r"\?look-after$"))
    expect(page.locator("#adding-count")).to_have_text("4 photos to be added")
    assert tries == []  # nothing is sent before it is asked for
    names = page.locator("#adding-chosen .name")
    expect(names).to_have_text(["Leek soup", "IMG_2041.jpg", "notes", "b"])
    label = page.get_by_label("Label of all of them")
    expect(label).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.locator("#adding-labels [role=option]")).to_have_count(3)
    is_good(page)
    label.fill("Soups")
    page.keyboard.press("Enter")
    said = page.locator("#queue-said")
    state = page.locator("#queue-list .state")
    expect(said).to_have_text("1 of 4 added. 1 was there already. 2 could not be added.")
    expect(state.nth(2)).to_have_text(
        "The photo is not JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
    )
    expect(state.nth(3)).to_have_text("The gallery has this photo already")
    is_good(page)
    again = page.locator("#queue-list").get_by_role("button", name="Try again")
    expect(again).to_have_count(1)  # what is no photo will never be one
    again.click()
    expect(said).to_have_text("2 of 4 added. 1 was there already. 1 could not be added.")
    assert len(tries) == 6
    found = {photo["name"]: photo for photo in photos_of(url, "Soups")}
    assert found.keys() == {None, "Leek soup"}
    assert httpx.get(f"{url}/photos/{found['Leek soup']['id']}").content == files[0].read_bytes()
    assert facts(url, there["id"]) == there
    page.locator("#queue-list").get_by_role("link", name="Leek soup").click()
    expect(page.locator("#detail-name")).to_have_text("Leek soup")


def photos_of(url: str, label: str) -> list[dict[str, Any]]:
    return list(httpx.get(f"{url}/api/v1/photos", params={"label": label}).json()["photos"])


def open_first(page: Page, address: str) -> str:
    """Open the first photo of a list, by its button; its id."""
    page.goto(address)
    link = page.locator(".tile a").first
    photo_id = link.get_attribute("data-look")
    link.click()
    expect(page.locator("#detail-edit")).to_be_visible()
    assert photo_id
    return photo_id


def test_a_photo_is_edited(page: Page, watch: Watch, url: str) -> None:
    watch.expect("412")
    watch.expect("422")
    enter(page)
    photo_id = open_first(page, "/?browse=newest&label=tomato soup")
    sent: list[Any] = []

    def seen(request: Request) -> None:
        if request.method == "PATCH":
            sent.append(request.post_data_json)

    page.on("request", seen)
    page.get_by_role("button", name="Edit").click()
    name = page.get_by_label("Name")
    expect(name).to_be_focused()
    name.fill("<b>Bisque</b>")
    page.get_by_label("price").fill("4.5")
    page.get_by_label("vegan").select_option("no")
    diet = page.get_by_label("diet", exact=True)
    expect(diet.locator("option:checked")).to_have_text("unknown")
    diet.select_option("these:")
    page.get_by_label("diet, one in each line").fill("halal\nmaybe")
    is_good(page)
    page.get_by_role("button", name="Close").click()
    page.locator(f'[data-look="{photo_id}"]').click()
    page.get_by_role("button", name="Edit").click()
    expect(name).to_have_value("<b>Bisque</b>")  # what was typed is there again
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".field:has(#detail-editing)")).to_have_count(0)
    fault = page.locator(".safety .fault:visible")
    expect(fault).to_contain_text("'maybe' is not a value")
    expect(diet).to_be_focused()

    meanwhile = {"name": "Theirs", "attributes": {"origin": "Lyon"}}
    at = f"{url}/api/v1/photos/{photo_id}"
    assert httpx.patch(at, json=meanwhile, headers=BEARER).status_code == 200
    diet.select_option("none")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".told")).to_contain_text("changed this photo meanwhile")
    expect(page.get_by_label("origin")).to_have_value("Lyon")  # which the visitor has not touched
    expect(name).to_have_value("<b>Bisque</b>")
    expect(page.locator(".field").first).to_contain_text("Changed meanwhile to: Theirs")
    is_good(page)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("#detail-name")).to_have_text("<b>Bisque</b>")
    expect(page.locator("#detail-name")).to_be_focused()
    expect(page.locator("#detail-safety")).to_contain_text("none")
    attributes = {"price": 4.5, "vegan": False, "diet": []}
    assert sent[-1] == {"name": "<b>Bisque</b>", "attributes": attributes}
    assert facts(url, photo_id)["attributes"] == {**attributes, "origin": "Lyon"}
    page.keyboard.press("Escape")
    expect(tile(page, photo_id)).to_contain_text("<b>Bisque</b>")


def tile(page: Page, photo_id: str) -> Locator:
    return page.locator(f'.tile:has([data-look="{photo_id}"])')


def test_a_photo_is_deleted_and_that_is_undone(page: Page, watch: Watch, url: str) -> None:
    watch.expect("404")
    watch.expect("412")
    deleted: list[str] = []

    def seen(request: Request) -> None:
        if request.method == "DELETE":
            deleted.append(request.url)

    page.on("request", seen)
    page.clock.install()
    enter(page)
    address = "/?browse=newest&label=spinach_curry"
    first = open_first(page, address)

    undo = page.locator("#undo").get_by_role("button", name="Undo")

    def delete(photo_id: str) -> None:
        if not page.locator("#detail").is_visible():
            tile(page, photo_id).locator("a").click()
        page.get_by_role("button", name="Delete").click()
        expect(undo).to_be_visible()
        expect(tile(page, photo_id)).to_be_hidden()

    delete(first)
    expect(undo).to_be_focused()
    is_good(page)
    undo.click()
    expect(tile(page, first)).to_be_visible()
    page.clock.run_for(20_000)
    assert deleted == []

    delete(first)  # and somebody changes it meanwhile
    other = page.locator(".tile:visible a").first.get_attribute("data-look")
    assert other
    expect(page.locator("#undo [aria-busy]")).to_have_count(0)
    at = f"{url}/api/v1/photos/{first}"
    httpx.patch(at, json={"name": "Still needed"}, headers=BEARER)
    page.locator("#browse-title").focus()
    page.clock.run_for(20_000)
    expect(page.locator("#undo")).to_contain_text("somebody has changed it meanwhile")
    expect(tile(page, first)).to_be_visible()
    page.locator("#undo").get_by_role("button", name="Close").click()

    delete(other)
    page.locator("#browse-title").focus()
    page.clock.run_for(20_000)
    expect(page.locator("#undo")).to_be_hidden()
    assert [one.rpartition("/")[2] for one in deleted] == [first, other]
    page.goto(address)
    expect(tile(page, first)).to_be_visible()
    expect(tile(page, other)).to_have_count(0)
    assert httpx.get(f"{url}/api/v1/photos/{other}").status_code == 404

    delete(first)  # the page is left before the time is over: the browser asks, and the photo stays
    dialogs: list[str] = []

    def leave(dialog: Dialog) -> None:
        dialogs.append(dialog.type)
        dialog.accept()

    page.on("dialog", leave)
    page.goto("/docs")
    assert dialogs == ["beforeunload"]
    assert httpx.get(f"{url}/api/v1/photos/{first}").status_code == 200


def test_two_lists_say_what_may_be_wrong(page: Page, watch: Watch, url: str) -> None:
    watch.expect("503")  # until the list is there
    enter(page, "/?look-after=labels")
    expect(page.get_by_role("heading", level=1)).to_have_text("Labels that may be wrong")
    doubts = page.locator(".tended")
    expect(doubts.first).to_be_visible()
    why = doubts.first.inner_text()
    said = re.search(r"Labelled (.+), but (\d+) of its (\d+) neighbours are (.+)\.", why)
    assert said
    assert int(said[2]) > 1
    photo_id = str(doubts.first.locator("a").first.get_attribute("data-look"))
    before = facts(url, photo_id)["label"]
    assert before.replace("_", " ") == said[1]
    is_good(page)
    change = doubts.first.get_by_role("button", name=f"Change to {said[4]}")
    change.focus()
    page.keyboard.press("Enter")
    undo = doubts.first.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    assert facts(url, photo_id)["label"].replace("_", " ") == said[4]
    page.keyboard.press("Enter")
    expect(change).to_be_focused()
    assert facts(url, photo_id)["label"] == before
    doubts.first.get_by_role("button", name=f"Keep {said[1]}").click()
    expect(doubts.first).to_contain_text("is kept")
    page.reload()
    expect(page.locator("#curated-kept")).to_contain_text("1 that you kept on this device")
    expect(doubts.locator(f'[data-look="{photo_id}"]')).to_have_count(0)
    page.get_by_role("button", name="Show them again").click()
    expect(doubts.locator(f'[data-look="{photo_id}"]')).to_have_count(1)

    page.get_by_role("link", name="Near-duplicates").click()
    expect(page).to_have_title("Near-duplicates · deepfood")
    large = next(one for one in photos_of(url, third_label(url)) if one["width"] == 640)
    group = page.locator(f'.near:has([data-look="{large["id"]}"])')
    expect(group).to_contain_text("2 photos, nearly the same")
    expect(group.locator(".copy").first).to_contain_text(re.compile("640 . 480 pixels"))
    is_good(page)
    group.get_by_role("button", name="Delete").nth(1).click()
    expect(group).to_contain_text("1 photo is left")
    expect(group.get_by_role("button", name="Delete")).to_have_count(0)
    page.locator("#undo").get_by_role("button", name="Undo").click()
    expect(group.get_by_role("button", name="Delete")).to_have_count(2)
    group.get_by_role("link", name="Compare").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 photos")


def test_three_lists_say_what_is_missing_or_odd(page: Page, watch: Watch, url: str) -> None:
    watch.expect("503")  # until the list is there
    enter(page, "/?look-after=overlapping")
    expect(page).to_have_title("Labels that look alike · deepfood")
    pair = page.locator(".overlap").first
    expect(pair).to_contain_text("or the other way round")
    is_good(page)
    label = str(httpx.get(f"{url}/api/v1/labels/overlapping").json()["pairs"][0]["labels"][0])
    browse = pair.get_by_role("link", name=f"Photos of {label.replace('_', ' ')}")
    expect(browse).to_have_attribute("href", re.compile(rf"\blabel={label}$"))
    count = page.locator(".overlap").count()
    pair.get_by_role("button", name="Leave it as it is").click()
    expect(page.locator(".overlap")).to_have_count(count - 1)

    page.get_by_role("link", name="Outliers").click()
    expect(page).to_have_title("Outliers · deepfood")
    noise = httpx.get(f"{url}/api/v1/outliers").json()["photos"][0]["id"]
    odd = page.locator(f'.tended:has([data-look="{noise}"])')
    expect(odd).to_contain_text("like even its nearest photos")
    is_good(page)
    odd.get_by_role("button", name="Delete").click()
    expect(odd).to_be_hidden()
    page.locator("#undo").get_by_role("button", name="Undo").click()
    expect(odd).to_be_visible()

    page.get_by_role("link", name="Photos to label").click()
    expect(page).to_have_title("Photos to label · deepfood")
    to_label = httpx.get(f"{url}/api/v1/to-label").json()["photos"]
    photo = next(one for one in to_label if one["id"] != noise)
    item = page.locator(f'.tended:has([data-look="{photo["id"]}"])')
    guess = photo["guess"].replace("_", " ")
    expect(item).to_contain_text(f"Its neighbours suggest {guess}.")
    is_good(page)
    item.get_by_role("button", name=f"Label it {guess}").click()
    undo = item.get_by_role("button", name="Undo")
    expect(undo).to_be_focused()
    assert facts(url, photo["id"])["label"] == photo["guess"]
    undo.click()
    field = item.get_by_role("combobox")
    expect(field).to_be_visible()
    assert facts(url, photo["id"])["label"] is None
    other = third_label(url)
    field.fill(other[:3])
    item.get_by_role("option").filter(has_text=other).click()
    expect(item).to_contain_text(f"The label is {other.replace('_', ' ')} now.")
    assert facts(url, photo["id"])["label"] == other
    undo.click()
    expect(field).to_be_visible()


def third_label(url: str) -> str:
    return str(httpx.get(f"{url}/api/v1/labels").json()["labels"][-1]["label"])
