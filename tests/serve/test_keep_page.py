"""What the page keeps on this device, saves and shares, and how photos get to the server."""

import base64
import csv
import io
import ipaddress
import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from held import held_server
from playwright.sync_api import Browser, BrowserContext, Download, Page, expect

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
from deepfood.photo import Limits
from deepfood.serve.api.url_fetcher import Fetcher
from http_thread import QuietHandler, QuietServer, http_server
from live import SmallGallery
from pages import *  # noqa: F403
from plates import jpeg

pytestmark = needs_browser

UNKNOWN_ID = "0123456789abcdef0123"
LOOPBACK = [ipaddress.ip_network("127.0.0.0/8"), ipaddress.ip_network("::1")]


def ask(page: Page, words: str) -> None:
    page.locator("#words").fill(words)
    page.keyboard.press("Enter")
    expect(page.locator("#keep")).to_be_visible()


def go_home(page: Page) -> None:
    page.locator("#home").click()
    expect(page.locator("#start")).to_be_visible()


def recent(page: Page) -> list[str]:
    return page.locator("#recent-list .name").all_inner_texts()


def downloaded(download: Download) -> str:
    return Path(download.path()).read_bytes().decode("utf-8")


# Recent questions


def test_a_question_that_is_kept_late_is_shown(page: Page, small_gallery: SmallGallery) -> None:
    """The small picture of a photo takes time, and the visitor is back at the start by then."""
    page.evaluate(
        "() => { const make = createImageBitmap;"
        "window.createImageBitmap = (photo, said) => said ? make(photo, said) :"  # to send it
        "new Promise((done) => {"
        "window.finish = () => done(make(photo)); }); }"
    )
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    go_home(page)
    expect(page.locator("#recent")).to_be_hidden()
    page.evaluate("() => window.finish()")
    expect(page.locator("#recent-list .name")).to_have_text(["Your photo"])


def test_recent_questions_survive_and_are_asked_again(
    page: Page, context: BrowserContext, small_gallery: SmallGallery
) -> None:
    expect(page.locator("#recent")).to_be_hidden()
    ask(page, "curry")
    page.goto("/?words=curry&where=label+%3D+%22Curries%22")  # narrows it: the same question
    expect(page.locator("#keep")).to_be_visible()
    page.goto("/")
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    go_home(page)
    row = page.get_by_role("region", name="Recent questions")
    expect(row.get_by_role("listitem")).to_have_count(2)
    assert recent(page) == ["Your photo", "“curry”"]
    expect(row).to_contain_text("on this device only")
    expect(row.get_by_role("listitem").nth(1)).to_contain_text('label = "Curries"')
    own = row.get_by_role("img").or_(row.locator(".pictures img")).first
    expect(own).to_have_attribute("src", re.compile("^data:image/jpeg"))

    other = context.new_page()  # has nothing but what the browser keeps
    other.goto("/")
    expect(other.locator("#recent-list li")).to_have_count(2)
    other.locator("#recent-list a").first.click()
    expect_hits(other, "Photos like yours")
    expect(other.locator("#hits .name").first).to_have_text("Tomato soup")
    other.reload()
    expect_hits(other, "Photos like yours")
    go_home(other)
    other.locator("#recent-list a").nth(1).click()
    expect(other).to_have_url(re.compile(r"\?words=curry&where="))
    expect(other.locator("#keep")).to_be_visible()
    go_home(other)
    expect(other.locator("#recent-list .name")).to_have_text(["“curry”", "Your photo"])

    expect(page.locator("#recent-list .name")).to_have_text(["“curry”", "Your photo"])  # it heard
    ask(page, "soup")
    ask(other, "salad")
    for one in (page, other):
        go_home(one)
        expect(one.locator("#recent-list li")).to_have_count(4)  # neither lost the other's
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert no_sideways_scroll(page)
    assert axe(page) == ""
    assert small_targets(page) == []
    page.get_by_role("button", name="Take out “salad”").press("Enter")
    expect(page.locator("#recent-list .name")).to_have_text(["“soup”", "“curry”", "Your photo"])
    expect(page.locator("#recent-list a").first).to_be_focused()
    expect(page.get_by_role("status")).to_have_text("“salad” is taken out.")
    expect(other.locator("#recent-list li")).to_have_count(3)
    row.get_by_role("button", name="Clear").click()
    for one in (page, other):
        expect(one.locator("#recent")).to_be_hidden()
    expect(page.locator("#start-title")).to_be_focused()
    assert page.evaluate(STORED, "photos") == 0
    page.reload()
    expect(page.locator("#sample-list .card")).to_have_count(12)
    expect(page.locator("#recent")).to_be_hidden()


STORED = """async (name) => {
    const {resultOf, withStores} = await take('kept');
    return withStores([name], 'readonly', (kept) => resultOf(kept.count()));
}"""


def test_the_oldest_questions_go(page: Page) -> None:
    kept = page.evaluate(
        """async () => {
            const {keepQuestion, showRecent} = await take('recent');
            const {newUpload, uploads} = await take('uploads');
            const rest = {where: '', show: ''};
            const own = async (bytes) => {
                const upload = newUpload(new File([], `${bytes}.heic`));
                uploads.get(upload).blob = new Blob([new Uint8Array(bytes)]);
                await keepQuestion({examples: [{upload}], words: '', ...rest});
            };
            for (let number = 0; number < 9; number++) await own((3 << 20) + number);
            await own(5 << 20);
            await showRecent();
            const large = document.querySelectorAll('#recent-list li').length;
            for (let number = 0; number < 23; number++) {
                await keepQuestion({examples: [], words: `dish ${number}`, ...rest});
            }
            await showRecent();
            return large;
        }"""
    )
    assert kept == 7  # of 3 MB each, and 24 MB together; one of 5 MB is too large
    assert recent(page) == [f"“dish {number}”" for number in range(22, 2, -1)]
    assert page.evaluate(STORED, "photos") == 0


NOTHING = """
    Object.defineProperty(window, 'indexedDB', {get() {throw new DOMException('denied')}});
    window.BroadcastChannel = undefined;"""
FULL = "IDBObjectStore.prototype.put = () => {throw new DOMException('', 'QuotaExceededError')};"


@pytest.mark.parametrize("denied", [NOTHING, FULL], ids=["nothing", "no room"])
def test_a_browser_that_keeps_nothing(context: BrowserContext, watch: Watch, denied: str) -> None:
    context.add_init_script(denied)
    page = context.new_page()
    page.goto("/?words=curry")
    expect(page.locator("#keep")).to_be_visible()
    heart = page.locator("#hits .heart").first
    heart.click()
    expect(page.get_by_role("status")).to_contain_text("keeps nothing")
    expect(heart).to_have_attribute("aria-pressed", "false")
    go_home(page)
    expect(page.locator("#sample-list .card")).to_have_count(12)
    expect(page.locator("#recent")).to_be_hidden()


# Favourites


def test_favourites(page: Page, context: BrowserContext, watch: Watch) -> None:
    page.goto("/?words=curry")
    expect(page.locator("#keep")).to_be_visible()
    hit = page.locator("#hits .card").nth(1)
    name = hit.locator(".name").inner_text()
    heart = hit.get_by_role("button", name=f"Favourite: {name}")
    heart.press("Enter")
    expect(heart).to_have_attribute("aria-pressed", "true")
    page.goto("/?browse=name")
    expect(page.locator(".tile")).to_have_count(24)
    tile = page.locator(".tile", has_text="Tomato soup")
    tile.hover()
    tile.get_by_role("button", name="Favourite: Tomato soup").click()
    expect(page.locator(".tile .heart[aria-pressed=true]")).to_have_count(2)
    page.locator(".tile a", has_text="Борщ").click()
    page.get_by_role("dialog").get_by_role("button", name="Favourite", exact=True).click()
    expect(page.locator("#detail-heart")).to_have_attribute("aria-pressed", "true")
    page.keyboard.press("Escape")

    page.get_by_role("link", name="Favourites").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Favourites")
    expect(page.locator("#favourites-title")).to_be_focused()
    expect(page).to_have_title("Favourites · deepfood")
    expect(page).to_have_url(re.compile(r"/\?favourites$"))
    tiles = page.locator("#favourites-list .tile")
    expect(tiles.locator(".name")).to_have_text(["Борщ", "Tomato soup", name])
    expect(page.locator("#favourites-summary")).to_contain_text("3 photos, kept on this device")
    tiles.nth(1).locator("a").click()
    expect(page.locator("#detail-place")).to_have_text("2 of 3")
    expect(page).to_have_url(re.compile(r"\?favourites&photo="))
    page.go_back()
    expect(page.locator("#detail")).to_be_hidden()
    page.go_back()
    expect(page.locator("#browse-title")).to_be_visible()
    page.go_forward()
    expect(tiles).to_have_count(3)

    watch.expect("404")
    lost = {"id": UNKNOWN_ID, "at": 5, "name": "Lost soup", "label": None}
    page.evaluate("async (one) => (await take('hearts')).keepAgain([one])", lost)
    expect(tiles.nth(3)).to_contain_text("Lost soup")
    page.reload()
    expect(tiles.nth(3)).to_contain_text("No longer in this gallery")
    expect(tiles.nth(3).get_by_role("link")).to_have_count(0)
    with page.expect_download() as download:
        page.locator("#favourites-save summary").press("Enter")
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(io.StringIO(downloaded(download.value).removeprefix("\ufeff"))))
    assert [(row["name"], row["gone"]) for row in rows] == [
        ("Борщ", "false"),
        ("Tomato soup", "false"),
        (name, "false"),
        ("Lost soup", "true"),
    ]
    for width in (1280, 390, 320):
        page.set_viewport_size({"width": width, "height": 800})
        assert no_sideways_scroll(page)
    assert axe(page) == ""
    assert small_targets(page) == []
    other = context.new_page()
    other.goto("/?favourites")
    expect(other.locator("#favourites-list .tile")).to_have_count(4)
    tiles.nth(3).locator(".heart").click()  # can be given back as long as the list is there
    expect(page.locator("#favourites-summary")).to_contain_text("3 photos")
    expect(tiles).to_have_count(4)
    expect(other.locator("#favourites-summary")).to_contain_text("3 photos")
    page.get_by_role("button", name="Remove all").click()
    expect(tiles).to_have_count(0)
    expect(page.get_by_role("status")).to_have_text("All favourites are removed.")
    expect(page.get_by_role("button", name="Undo")).to_be_focused()
    assert axe(page) == ""
    page.keyboard.press("Enter")
    expect(tiles).to_have_count(3)
    expect(page.locator("#favourites-title")).to_be_focused()


# Saving and sharing


def test_results_as_csv_and_json(page: Page, small_gallery: SmallGallery, server_url: str) -> None:
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    saved: dict[str, str] = {}
    for kind in ("CSV", "JSON"):
        page.locator("#save summary").press("Enter")
        with page.expect_download() as download:
            page.get_by_role("button", name=kind).press("Enter")
        assert re.fullmatch(
            rf"deepfood-\d{{4}}-\d\d-\d\d\.{kind.lower()}", download.value.suggested_filename
        )
        expect(page.locator("#save summary")).to_be_focused()
        saved[kind] = downloaded(download.value)
    assert saved["CSV"].startswith("\ufeffrank,id,name,label,score,same_dish,nearly_the_same,")
    rows = list(csv.DictReader(io.StringIO(saved["CSV"].removeprefix("\ufeff"), newline="")))
    shown = page.locator("#hits .name").all_inner_texts()
    assert [int(row["rank"]) for row in rows] == list(range(1, 10))
    about = json.loads(saved["JSON"])
    assert (about["shown"], about["total"], about["own_photos"]) == (9, 24, 1)
    assert about["question"] == {"group_duplicates": True}
    for row, hit, name in zip(rows, about["hits"], shown, strict=True):
        assert row["name"] == (hit["name"] or "")
        assert name == (hit["name"] or hit["label"] or f"Photo {hit['id'][:6]}")
        assert float(row["score"]) == hit["score"]
        assert row["link"] == hit["link"] == f"{server_url}/?photo={hit['id']}"
        assert page.request.get(row["original"]).ok
    page.locator("#save summary").click()
    assert axe(page) == ""
    page.keyboard.press("Escape")
    expect(page.locator("#save")).not_to_have_attribute("open", "")

    page.goto(f"/?id={about['hits'][0]['id']}&words=curry&where=label+%3D+%22Curries%22")
    expect(page.locator("#keep")).to_be_visible()
    page.locator("#save summary").click()
    with page.expect_download() as download:
        page.get_by_role("button", name="JSON").click()
    again = json.loads(downloaded(download.value))
    answer = page.request.post("/api/v1/search", data=again["question"]).json()
    assert [hit["id"] for hit in answer["hits"]] == [hit["id"] for hit in again["hits"]]
    assert (again["own_photos"], again["link"]) == (0, page.url)


def test_no_cell_is_a_formula_and_all_are_read_back(page: Page) -> None:
    texts = ["=1+1", "+1", "-1", "@sum", "\tx", "\rx", 'a "b"', "a,b", "a;b", "a\nb", " a", "", "ж"]
    values: list[object] = [*texts, -1.5, True, None, [], ["egg", "nut"], ["a;b", "c"]]
    text = page.evaluate("async (row) => (await take('table')).csvOf(['a'], [row])", values)
    assert text.endswith("\r\n")
    (head, row) = csv.reader(io.StringIO(text.removeprefix("\ufeff"), newline=""))
    assert head == ["a"]
    assert row[:6] == [f"'{one}" for one in texts[:6]]
    assert row[6 : len(texts)] == texts[6:]
    assert row[len(texts) :] == ["-1.5", "true", "", "[]", "egg; nut", '["a;b","c"]']


def test_a_link_restores_all_but_the_upload(
    page: Page, context: BrowserContext, small_gallery: SmallGallery
) -> None:
    context.grant_permissions(["clipboard-read", "clipboard-write"])
    context.add_init_script("navigator.share = async (what) => {window.given = what}")
    photos = page.request.get("/api/v1/photos?limit=2").json()["photos"]
    wanted, unwanted = (photo["id"] for photo in photos)
    page.goto(f"/?id={wanted}~0,0,0.5,0.5&not={unwanted}&words=curry&group_duplicates=false")
    expect(page.locator("#keep")).to_be_visible()
    with page.expect_file_chooser() as chosen:
        page.locator("#add").click()
    chosen.value.set_files(small_gallery.photos[0])
    expect(page.locator("#chips button")).to_have_count(3)
    expect(page.locator("#keep")).to_be_visible()
    page.get_by_role("button", name="Copy link").click()
    said = page.locator("#share-said")
    expect(said).to_contain_text("The link is copied. It carries everything but your own photo")
    link = page.evaluate("navigator.clipboard.readText()")
    assert parse_qs(urlsplit(link).query) == {
        "id": [f"{wanted}~0,0,0.5,0.5"],
        "not": [unwanted],
        "words": ["curry"],
        "group_duplicates": ["false"],
    }
    assert axe(page) == ""
    page.get_by_role("button", name="Share").click()
    assert page.evaluate("window.given.url") == link
    page.goto(link)
    expect(page.locator("#chips button")).to_have_count(2)
    expect(page.locator("#keep")).to_be_visible()
    expect(page.locator("#show")).to_have_value("single")
    expect(said).to_be_hidden()
    page.evaluate("() => {navigator.clipboard.writeText = async () => {throw new Error()}}")
    page.get_by_role("button", name="Copy link").click()
    expect(said).to_have_text("Copy the link from here.")
    expect(page.get_by_label("Link to this answer")).to_have_value(link)
    ask(page, "soup")
    expect(page.get_by_label("Link to this answer")).to_be_hidden()


# On the way to the server


def test_a_slow_upload_says_how_far_it_is(page: Page, small_gallery: SmallGallery) -> None:
    noise: dict[str, object] = {
        "name": "n.heic",
        "mimeType": "image/heic",
        "buffer": bytes(range(256)) * 2000,
    }
    line = page.context.new_cdp_session(page)
    slow = {"offline": False, "latency": 0, "downloadThroughput": -1, "uploadThroughput": 50_000}
    line.send("Network.enable")
    line.send("Network.emulateNetworkConditions", slow)
    choose(page, noise)
    expect(page.locator("#summary")).to_have_text(re.compile(r"^Sending your photo: \d+%$"))
    expect(page.get_by_role("progressbar", name="Sending")).to_be_visible()
    expect(page.get_by_role("status")).to_have_text("Sending your photo.")
    assert axe(page) == ""
    go_home(page)  # and it is given up
    expect(page.locator("#sending")).to_be_hidden()
    line.send("Network.emulateNetworkConditions", {**slow, "uploadThroughput": -1})
    choose(page, small_gallery.photos[0])
    expect_hits(page, "Photos like yours")
    expect(page.locator("#summary")).to_have_text("9 of 24 photos, the most alike first")


def test_a_quick_upload_shows_no_progress(page: Page) -> None:
    page.clock.install()
    shown = """() => [document.getElementById('sending').hidden ? '' : 'shown',
        ...['summary', 'status'].map((id) => document.getElementById(id).textContent)]"""
    page.evaluate(
        """async () => {
            const {sending} = await take('sending');
            document.getElementById('summary').textContent = 'Looking';
            document.getElementById('status').textContent = '';
            sending((sent) => new Promise((ended) => Object.assign(window, {sent, ended})));
            sent(0);
        }"""
    )
    page.clock.run_for(250)
    assert page.evaluate(shown) == ["", "Looking", ""]
    page.clock.run_for(100)
    assert page.evaluate(shown) == ["shown", "Sending your photo: 0%", "Sending your photo."]
    page.evaluate("sent(0.456)")
    assert page.evaluate(shown) == ["shown", "Sending your photo: 46%", "Sending your photo."]
    page.evaluate("sent(1)")
    assert page.evaluate(shown) == ["", "Looking", "Your photo is sent."]


class Elsewhere(QuietHandler, BaseHTTPRequestHandler):
    """Another site, with a photo."""

    def do_GET(self) -> None:
        body = jpeg(5)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def elsewhere(tiny_gallery: Path) -> Iterator[tuple[str, str]]:
    """A page that fetches photos by their addresses, and the address of one."""
    with http_server(Elsewhere, QuietServer) as site:
        port = urlsplit(site).port
        assert port
        local = Fetcher(["http://localhost"], Limits(10**6, 10**7), inside=LOOPBACK, ports=[port])
        with held_server(tiny_gallery, local, query_url_hosts="http://localhost") as (serves, _):
            yield f"http://127.0.0.1:{serves}", f"http://localhost:{port}/a/soup.jpg?b=1&c"


GIVE = """async ({event, data, file}) => {
    const transfer = new DataTransfer();
    for (const [type, text] of Object.entries(data)) transfer.setData(type, text);
    if (file) {
        const bytes = Uint8Array.from(atob(file), (letter) => letter.charCodeAt(0));
        transfer.items.add(new File([bytes], 'dish.jpg', {type: 'image/jpeg'}));
    }
    const [at, of] = event === 'paste'
        ? [document.getElementById('words'), {clipboardData: transfer}]
        : [document.body, {dataTransfer: transfer}];
    const made = event === 'paste' ? ClipboardEvent : DragEvent;
    return at.dispatchEvent(new made(event, {bubbles: true, cancelable: true, ...of}));
}"""


def test_the_address_of_a_photo(
    browser: Browser, elsewhere: tuple[str, str], small_gallery: SmallGallery
) -> None:
    origin, url = elsewhere
    with browser.new_context(base_url=origin, locale="en-GB") as context:
        context.set_default_timeout(WAIT_MS)
        watch = Watch(context, origin)
        page = context.new_page()
        page.goto("/")
        expect(page.locator("#hint-address")).to_be_visible()
        title = page.locator("#title")
        short = f"localhost:{urlsplit(url).port}/…/soup.jpg"

        def expect_found() -> None:
            expect(title).to_have_text(f"Photos like {short}")
            expect(page.locator("#keep")).to_be_visible()
            assert parse_qs(urlsplit(page.url).query)["url"] == [url]

        html = f'<a href="https://other.example"><img src="{url.replace("&", "&amp;")}"></a>'
        page.evaluate("document.body.dispatchEvent(new DragEvent('dragstart', {bubbles: true}))")
        dropped = {"event": "drop", "data": {"text/uri-list": url}}
        assert page.evaluate(GIVE, dropped), "a link of this page is left alone"
        page.evaluate("document.body.dispatchEvent(new DragEvent('dragend', {bubbles: true}))")
        data = {"text/uri-list": "https://other.example", "text/html": html}
        page.evaluate(GIVE, {"event": "drop", "data": data})
        expect_found()
        found = page.locator("#hits .name").all_inner_texts()
        page.reload()
        expect_found()
        assert page.locator("#hits .name").all_inner_texts() == found
        expect(page.locator("#hits .ask")).to_have_count(0)  # the page has no such photo
        expect(page.locator("#query-look")).to_be_hidden()
        assert axe(page) == ""

        with page.expect_file_chooser() as chosen:
            page.locator("#add").click()
        chosen.value.set_files(small_gallery.photos[0])
        expect(page.locator("#chips button")).to_have_count(2)
        expect(title).to_have_text("Photos like these 2")
        expect(page.locator("#keep")).to_be_visible()

        page.goto("/")
        page.evaluate(GIVE, {"event": "paste", "data": {"text/plain": f" {url}\n"}})
        expect_found()
        file = base64.b64encode(small_gallery.photos[0].read_bytes()).decode()
        page.evaluate(GIVE, {**dropped, "file": file})
        expect(title).to_have_text("Photos like yours")
        watch.expect("422")
        page.locator("#words").fill("https://other.example/soup.jpg")
        page.keyboard.press("Enter")
        expect(page.locator("#problem-text")).to_contain_text("not of a host")
        expect(page.locator("#words")).to_have_value("")
        page.go_back()
        expect(title).to_have_text("Photos like yours")
        assert watch.faults == []
