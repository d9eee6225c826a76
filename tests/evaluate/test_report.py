"""The report of `deepfood evaluate` in a browser, opened as a file: it shows, and needs nothing."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect

from browser import WAIT_MS, axe, needs_browser, no_sideways_scroll, open_browser
from live import run_here
from plates import write_dishes, write_tiny_model

#: A folder's name, so a label, that would run a script if it were taken for HTML.
ODD = "<img src=x onerror=alert(1)> & 'sauce' {{7*7}}"
EACH = 10
QUERIES_EACH = 5
TOP = 9


@dataclass(frozen=True)
class Reports:
    alone: Path
    compared: Path


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    root = tmp_path_factory.mktemp("report")
    fine = write_tiny_model(root / "fine")
    coarse = write_tiny_model(root / "coarse", name="coarse", pool=64)
    for folder, each, start in (("photos", EACH, 0), ("new", QUERIES_EACH, 500)):
        write_dishes(root / folder, each, start=start)
        (root / folder / "tomato soup").rename(root / folder / ODD)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DEEPFOOD_CACHE", str(root / "cache"))
        built = ["build", root / "photos", "--out", root / "gallery", "--model", coarse]
        assert run_here(*built) == 0
        asked = ["evaluate", root / "gallery", root / "new", "--model", coarse]
        assert run_here(*asked, "--report", root / "alone") == 0
        assert run_here(*asked, "--compare", fine, "--report", root / "compared") == 0
    assert [path.name for path in (root / "alone").iterdir()] == ["report.html"]
    return Reports(root / "alone/report.html", root / "compared/report.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with open_browser() as browser:
        yield browser


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page that may ask for nothing but files and what is in itself, and may say nothing."""
    faults: list[str] = []
    with browser.new_context(viewport={"width": 1280, "height": 900}) as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.on("console", lambda one: faults.append(one.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("dialog", lambda one: (faults.append(one.message), one.dismiss()))  # type: ignore[call-overload, func-returns-value]
        page.on(  # type: ignore[call-overload]
            "request",
            lambda one: (
                one.url.endswith("/report.html")
                or one.url.startswith(("data:", "blob:"))
                or faults.append(one.url)  # type: ignore[func-returns-value]
            ),
        )
        yield page
    assert faults == []


def opened(page: Page, report: Path) -> Page:
    page.goto(report.as_uri())
    expect(page.locator("#map-canvas .main-svg").first).to_be_visible()
    return page


@needs_browser
def test_queries_are_shown_with_their_neighbours_right_and_wrong(
    page: Page, reports: Reports
) -> None:
    opened(page, reports.alone)
    rows = page.locator("article.asked")
    assert rows.count() > 10
    pictures = page.locator("article.asked img")
    assert pictures.count() == rows.count() * (1 + TOP)
    assert pictures.evaluate_all("all => all.every((e) => e.complete && e.naturalWidth > 20)")
    seen = {"right": 0, "wrong": 0}
    for row in rows.all():
        label = (row.locator(".query figcaption").inner_text()).removeprefix("query").strip()
        for hit in row.locator(".hits li").all():
            caption = hit.locator("figcaption").inner_text()
            right = label in caption
            assert ("✓ right" in caption) is right
            assert ("✗ wrong" in caption) is not right
            assert hit.get_attribute("class") == ("right" if right else "wrong")
            assert re.search(r"\d+ %$", caption)
            seen["right" if right else "wrong"] += 1
    assert min(seen.values()) > 5, seen


@needs_browser
def test_every_figure_has_its_interval_and_classes_come_worst_first(
    page: Page, reports: Reports
) -> None:
    opened(page, reports.alone)
    table = page.get_by_role("region", name="All figures").locator("tbody tr")
    names = table.locator("th").all_inner_texts()
    for name in ("precision@1", "precision@9", "recall@5", "mAP@R", "nDCG@9", "top-3"):
        assert name in names
    assert {"index recall (exact)", "known or new dish: AUROC"} <= set(names)
    for text in table.locator("td").all_inner_texts():
        assert re.search(r"\d\.\d{3} \d\.\d{3} \S \d\.\d{3}", text), text
    classes = page.get_by_role("region", name="Classes").locator("tbody tr")
    values = [float(text) for text in classes.locator("td.bar strong").all_inner_texts()]
    assert len(values) == 4
    assert values == sorted(values)
    assert page.get_by_role("region", name="Most confused labels").locator("tbody tr").count() > 0
    for plot in ("confusion", "reliability", "similarity", "novelty"):
        expect(page.locator(f'[data-plot="{plot}"] .main-svg').first).to_be_visible()
    # A point for every bin that has pairs; these few photos are all unsure, so the bins are few.
    bins = page.locator(
        '[data-plot="reliability"] .js-plotly-plot, .js-plotly-plot[data-plot="reliability"]'
    ).evaluate(
        "plot => plot.calcdata.filter(one => one[0].trace.mode.includes('markers'))"
        ".reduce((sum, one) => sum + one.length, 0)"
    )
    points = page.locator('[data-plot="reliability"] .scatterlayer .point')
    assert points.count() == bins > 1


@needs_browser
def test_labels_are_text(page: Page, reports: Reports) -> None:
    opened(page, reports.alone)
    assert page.locator("img[src=x]").count() == 0
    text = page.locator("body").inner_text()
    assert ODD in text
    assert "&lt;" not in text
    assert "crème brûlée" in text
    for plot in ("#map-canvas .legendtext", '[data-plot="confusion"] .ytick text'):
        assert any(
            one.startswith("<img src=x") for one in page.locator(plot).all_text_contents()
        ), plot
    page.get_by_label("Show the label").select_option(label=ODD)


@needs_browser
def test_the_page_can_send_nothing_anywhere(page: Page, reports: Reports) -> None:
    opened(page, reports.alone)
    titles = page.locator(".modebar-btn").evaluate_all("all => all.map((e) => e.dataset.title)")
    assert titles == ["Zoom", "Pan", "Zoom in", "Zoom out", "Reset axes"]  # plotly offers to upload
    assert page.locator("form").count() == 0
    policy = page.locator("meta[http-equiv=Content-Security-Policy]").get_attribute("content")
    assert policy is not None
    assert policy.startswith("default-src 'none'; img-src data: blob:;")
    assert "unsafe" not in policy.split("script-src")[1]


@needs_browser
def test_the_map_zooms_and_shows_the_photo_pointed_at(page: Page, reports: Reports) -> None:
    opened(page, reports.alone)
    canvas, photo = page.locator("#map-canvas"), page.locator("#map-photo")
    canvas.scroll_into_view_if_needed()
    points = canvas.locator(".scatterlayer .point")
    assert points.count() == 4 * EACH
    box = points.nth(3).bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    expect(photo.locator("img")).to_be_visible()
    assert photo.locator("img").evaluate("e => e.decode().then(() => e.naturalWidth)") > 20
    expect(photo).to_contain_text(".jpg")

    def width() -> float:
        return float(
            canvas.evaluate(
                "e => Math.abs(e._fullLayout.xaxis.range[1] - e._fullLayout.xaxis.range[0])"
            )
        )

    whole = width()
    area = canvas.locator(".nsewdrag").bounding_box()
    assert area is not None
    middle = area["x"] + area["width"] / 2, area["y"] + area["height"] / 2
    page.mouse.move(*middle)
    page.mouse.wheel(0, -400)  # not in use yet: the wheel scrolls the page
    page.wait_for_timeout(200)
    assert width() == whole

    canvas.scroll_into_view_if_needed()
    area = canvas.locator(".nsewdrag").bounding_box()
    assert area is not None
    page.mouse.move(area["x"] + 0.3 * area["width"], area["y"] + 0.3 * area["height"])
    page.mouse.down()
    page.mouse.move(area["x"] + 0.6 * area["width"], area["y"] + 0.6 * area["height"], steps=5)
    page.mouse.up()
    page.wait_for_function(
        "w => { const [a, b] = document.getElementById('map-canvas')._fullLayout.xaxis.range;"
        "return Math.abs(b - a) < 0.5 * w }",
        arg=whole,
    )


@needs_browser
def test_the_map_works_with_the_keyboard(page: Page, reports: Reports) -> None:
    opened(page, reports.alone)
    canvas, photo = page.locator("#map-canvas"), page.locator("#map-photo")
    page.get_by_label("Show the label").focus()
    for _ in range(3):
        page.keyboard.press("Tab")
        if canvas.evaluate("e => e === document.activeElement"):
            break
    expect(canvas).to_be_focused()
    page.keyboard.press("ArrowRight")
    first = photo.inner_text()
    assert ".jpg" in first
    seen = {first}
    for key in ("ArrowRight", "ArrowDown", "ArrowLeft", "ArrowUp") * 2:
        page.keyboard.press(key)
        seen.add(photo.inner_text())
    assert len(seen) > 2
    before = canvas.evaluate("e => e._fullLayout.xaxis.range.map(Number)")
    page.keyboard.press("+")
    page.wait_for_timeout(200)
    after = canvas.evaluate("e => e._fullLayout.xaxis.range.map(Number)")
    assert after[1] - after[0] < before[1] - before[0]
    page.keyboard.press("0")
    page.wait_for_timeout(200)
    assert canvas.evaluate("e => e._fullLayout.xaxis.autorange") is True


@needs_browser
def test_two_models_side_by_side(page: Page, reports: Reports) -> None:
    opened(page, reports.compared)
    expect(page.locator(".verdict")).to_contain_text("better: mAP")
    head = page.get_by_role("region", name="All figures").locator("thead th").all_inner_texts()
    assert head == ["figure", "A", "B", "B minus A", "p"]
    row = page.get_by_role("region", name="All figures").locator("tbody tr", has_text="mAP@R")
    cells = row.locator("td").all_inner_texts()
    first, second = (float(re.findall(r"\d\.\d+", cell)[0]) for cell in cells[:2])
    change = float(re.findall(r"[+-]\d\.\d+", cells[2])[0])
    assert change == pytest.approx(second - first, abs=0.0011)
    expect(page.get_by_role("heading", name="Changed most: B is better")).to_be_visible()
    answers = page.locator("article.asked").first.locator(".answer b").all_inner_texts()
    assert answers == ["A:", "B:"]
    assert page.locator(".cards dd").first.locator(".side").all_inner_texts() == ["A", "B"]
    assert axe(page) == ""


@needs_browser
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (390, "light"), (1280, "light")])
def test_it_is_for_everybody(page: Page, reports: Reports, width: int, scheme: str) -> None:
    page.set_viewport_size({"width": width, "height": 844})
    page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
    opened(page, reports.alone)
    assert no_sideways_scroll(page)
    assert axe(page) == ""
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the figures")).to_be_focused()


@needs_browser
def test_without_scripts_all_but_the_plots_is_there(browser: Browser, reports: Reports) -> None:
    with browser.new_context(java_script_enabled=False) as context:
        context.set_default_timeout(WAIT_MS)
        page = context.new_page()
        page.goto(reports.alone.as_uri())
        expect(page.get_by_role("region", name="All figures")).to_be_visible()
        assert page.locator("article.asked img").count() > 50
