"""Make the README's picture of a running demo, in desktop width:

python scripts/screenshot.py http://127.0.0.1:8000 docs/screenshot.jpg
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import sync_playwright

#: "Mango, ripe, neelam" of the demo's photos: most of those found are mangoes, too. An id is the
#: photo's content, so it stays.
GOOD_PHOTO = "7f74a080e6056b031a0e"
#: Hits on the picture: two rows.
SHOWN = 6
WIDTH, MARGIN = 1200, 24
MAX_BYTES = 250_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url", help="where the demo runs")
    parser.add_argument("out", type=Path, help="the JPEG to write")
    parser.add_argument("--id", default=GOOD_PHOTO, help="id of the photo to search with")
    given = parser.parse_args()

    program = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": WIDTH, "height": 840}, color_scheme="light")
        page.goto(f"{given.url.rstrip('/')}/?id={given.id}")
        page.locator("#hits .percent").nth(8).wait_for()
        page.wait_for_load_state("networkidle")
        last = page.locator("#hits .card").nth(SHOWN - 1).bounding_box()
        assert last is not None
        page.set_viewport_size(
            {"width": WIDTH, "height": round(last["y"] + last["height"]) + MARGIN}
        )
        write_jpeg(given.out, MAX_BYTES, lambda at: page.screenshot(type="jpeg", quality=at))
        browser.close()


def write_jpeg(out: Path, most: int, drawn: Callable[[int], bytes]) -> None:
    """Write what is drawn at the best quality that takes at most so many bytes."""
    for quality in range(90, 30, -5):
        picture = drawn(quality)
        if len(picture) <= most:
            out.write_bytes(picture)
            print(f"{out}: {len(picture):,} bytes")
            return
    sys.exit(f"{out}: cannot be made smaller than {most:,} bytes")


if __name__ == "__main__":
    main()
