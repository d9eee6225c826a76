"""Draw the states of the page side by side, as the documentation shows them, of a running demo:

python scripts/contact_sheet.py http://127.0.0.1:8000 docs/page.jpg
"""

import argparse
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Browser, Page, sync_playwright

from screenshot import GOOD_PHOTO, write_jpeg

PHONE, DESKTOP = (390, 844), (1280, 844)
#: Pixels of a picture on the sheet for each of the page.
SCALE = 0.42
GAP, CAPTION = 18, 26
MOST_WIDE = 1560
MAX_BYTES = 700_000


@dataclass(frozen=True)
class State:
    """A state of the page: how it is called, where it is, and what is done there first."""

    name: str
    address: str
    act: Callable[[Page], None] = lambda page: None
    dark: bool = False
    language: str = "en"


def states(other: str) -> list[State]:
    answer = f"/?id={GOOD_PHOTO}"
    return [
        State("Start", "/"),
        State("Answer", answer),
        State("Words", "/?words=sweet lime"),
        State("Answer, dark", answer, dark=True),
        State("Why this one?", answer, why),
        State("Detail", f"{answer}&photo={other}"),
        State("Browse", "/?browse=name"),
        State("Compare", f"/?compare={GOOD_PHOTO},{other}"),
        State("Arabic", answer, language="ar"),
        State("German, dark", "/?browse=name", dark=True, language="de"),
    ]


def why(page: Page) -> None:
    page.locator("#hits .ask").first.click()
    page.locator("#why-legend").wait_for()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where the demo runs")
    parser.add_argument("out", type=Path, help="the JPEG to write")
    parser.add_argument("--only", help="draw states whose name has this, for a look")
    given = parser.parse_args()
    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(base_url=given.url)
        page.goto(f"/?id={GOOD_PHOTO}")
        other = page.locator("#hits .like").nth(1).get_attribute("data-id")
        found = [one for one in states(str(other)) if (given.only or "") in one.name]
        pictures = [
            (
                f"{state.name}, {'phone' if size == PHONE else 'desktop'}",
                drawn(browser, given.url, state, size),
            )
            for state in found
            for size in (PHONE, DESKTOP)
        ]
        browser.close()
    sheet = laid_out(pictures)
    write_jpeg(given.out, MAX_BYTES, lambda quality: jpeg(sheet, quality))


def jpeg(sheet: Image.Image, quality: int) -> bytes:
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=quality, optimize=True)
    return file.getvalue()


def drawn(browser: Browser, url: str, state: State, size: tuple[int, int]) -> Image.Image:
    context = browser.new_context(
        base_url=url,
        viewport={"width": size[0], "height": size[1]},
        color_scheme="dark" if state.dark else "light",
        locale=state.language,
    )
    page = context.new_page()
    page.goto(state.address)
    page.wait_for_load_state("networkidle")
    state.act(page)
    page.wait_for_load_state("networkidle")
    picture = Image.open(io.BytesIO(page.screenshot()))
    context.close()
    return picture.convert("RGB").resize(
        (round(size[0] * SCALE), round(size[1] * SCALE)), Image.Resampling.LANCZOS
    )


def laid_out(pictures: list[tuple[str, Image.Image]]) -> Image.Image:
    """All pictures in rows, each beneath its caption."""
    places, x, y = [], GAP, GAP
    tall = pictures[0][1].height + CAPTION + GAP
    for _, picture in pictures:
        if x + picture.width + GAP > MOST_WIDE:
            x, y = GAP, y + tall
        places.append((x, y))
        x += picture.width + GAP
    sheet = Image.new("RGB", (MOST_WIDE, y + tall), "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(15)
    for (caption, picture), (left, top) in zip(pictures, places, strict=True):
        draw.text((left, top), caption, "black", font)
        sheet.paste(picture, (left, top + CAPTION))
    return sheet


if __name__ == "__main__":
    main()
