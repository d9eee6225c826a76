"""The web page over very many photos: the first answer, and how smoothly browsing scrolls.

    python benchmarks/page.py PHOTOS [--count 100000]

Builds a gallery of the photos of a folder, and adds copies of them until there are `count`: each a
file of its own, small, with the vector of its photo moved at random to a cosine of about 0.8, so
that copies are no near-duplicates. Then a real browser (Chromium, drawing on the CPU) opens the
page as a phone and as a desktop, each time with an empty cache.
"""

import argparse
import hashlib
import io
import itertools
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Browser, Page

from deepfood.gallery.photo import Photo
from deepfood.local import LocalGallery, LocalManifest
from deepfood.local.growing_store import GrowingStore
from deepfood.local.reindex import reindex

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from browser import open_browser
from live import serving

LONGEST = 320  # pixels of a copy
CHUNK = 2_000
MOVED = 0.75  # length of what is added to a unit vector
VIEWPORTS = {"phone": (390, 844), "desktop": (1280, 800)}
TIMES = 7
SCROLLED_S = 10
#: Pixels a frame: at 60 frames a second, a screen of a phone in a second.
STEP = 14

#: Whether the first element that a selector finds is a photo, and drawn.
DRAWN = "(css) => ((one) => one?.complete && one.naturalWidth)(document.querySelector(css))"

#: Scrolls on as frames come, and answers the milliseconds between them.
SCROLL = """([seconds, step]) => new Promise((done) => {
  const times = [];
  const ends = performance.now() + seconds * 1000;
  const next = (now) => {
    times.push(now);
    scrollBy(0, step);
    if (now < ends) requestAnimationFrame(next);
    else done({ gaps: times.slice(1).map((one, at) => one - times[at]), scrolled: scrollY });
  };
  requestAnimationFrame(next);
})"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="deepfood-page-") as temporary:
        work = Path(temporary)
        gallery = make(work, options.photos.resolve(), options.count)
        own = next(options.photos.rglob("*.jpg"))
        with serving(gallery) as server, open_browser() as browser:
            for name, (width, height) in VIEWPORTS.items():
                measure(browser, server.url, name, width, height, own)


def make(work: Path, photos: Path, count: int) -> Path:
    """A gallery of `count` photos; its folder."""
    small = work / "photos"
    found = sorted(photos.rglob("*.jpg"))
    bodies = []
    for path in found:
        target = small / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        with Image.open(path) as image:
            image.thumbnail((LONGEST, LONGEST))
            file = io.BytesIO()
            image.convert("RGB").save(file, "JPEG", quality=80)
        bodies.append((target.relative_to(small), image.size, file.getvalue()))
        target.write_bytes(bodies[-1][2])
    gallery = work / "gallery"
    deepfood = str(Path(sys.executable).with_name("deepfood"))
    build = [deepfood, "build", str(small), "--out", str(gallery)]
    subprocess.run(build, check=True, stdout=subprocess.DEVNULL)
    manifest = LocalManifest.read(gallery)
    store = GrowingStore.open(manifest.folder(gallery), manifest.dimension, manifest.storage)
    rows = {photo.file: row for row, photo in store.rows()}
    bodies = [one for one in bodies if one[0].as_posix() in rows]  # equal files are one photo
    vectors = store.vectors().take(np.array([rows[file.as_posix()] for file, *_ in bodies]))
    draw = np.random.default_rng(1)
    begun = time.perf_counter()
    copies = itertools.islice(zip(itertools.cycle(range(len(bodies))), itertools.count()), count)
    for chunk in in_chunks(copies, count - len(bodies)):
        entries = [copy_of(small, *bodies[place], number) for place, number in chunk]
        store.append(entries, moved(vectors[[place for place, _ in chunk]], draw))
    store.close()
    reindex(gallery)
    with LocalGallery.open(gallery) as made:
        assert made.count == count
    print(f"{count:,} photos made in {time.perf_counter() - begun:.0f} s", flush=True)
    return gallery


def in_chunks(copies: Iterator[tuple[int, int]], most: int) -> Iterator[list[tuple[int, int]]]:
    for start in range(0, most, CHUNK):
        yield list(itertools.islice(copies, min(CHUNK, most - start)))


def copy_of(root: Path, file: Path, size: tuple[int, int], body: bytes, number: int) -> Photo:
    """The same picture in other bytes: a JPEG comment has the number."""
    comment = f"copy {number}".encode()
    segment = b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment
    data = body[:2] + segment + body[2:]
    path = file.with_name(f"{file.stem}-{number}.jpg")
    (root / path).write_bytes(data)
    modified = (root / path).stat().st_mtime_ns
    label, sha256 = file.parts[0], hashlib.sha256(data).hexdigest()
    name = f"{label.replace('_', ' ')} {number}"
    return Photo(sha256, path.as_posix(), label, name, "image/jpeg", *size, len(data), modified)


def moved(vectors: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    noise = draw.standard_normal(vectors.shape).astype(np.float32)
    noise *= MOVED / np.linalg.norm(noise, axis=1, keepdims=True)
    unit: np.ndarray = (vectors + noise) / np.linalg.norm(vectors + noise, axis=1, keepdims=True)
    return unit


def measure(browser: Browser, url: str, name: str, width: int, height: int, own: Path) -> None:
    """Print what a visitor waits for, and how the page scrolls."""
    waits: dict[str, list[float]] = {}
    for _ in range(TIMES):
        context = browser.new_context(viewport={"width": width, "height": height}, base_url=url)
        page = context.new_page()
        took = waits.setdefault
        took("start page with its photos", []).append(first_photo(page, "/", "#sample-list img"))
        link = page.locator("#sample-list .like").first
        address = str(link.get_attribute("href"))
        took("a link to an answer", []).append(first_photo(page, address, "#hits img"))
        took("browse", []).append(first_photo(page, "/?browse=name", "#browse-list img"))
        page.goto("/")
        begun = time.perf_counter()
        page.set_input_files("#file", own)
        drawn(page, "#hits img")
        took("a photo of one's own", []).append(time.perf_counter() - begun)
        context.close()
    for what, times in waits.items():
        middle, worst = statistics.median(times), max(times)
        print(f"{name}: {what}: {middle * 1e3:.0f} ms, at most {worst * 1e3:.0f}", flush=True)
    context = browser.new_context(viewport={"width": width, "height": height}, base_url=url)
    page = context.new_page()
    first_photo(page, "/?browse=name", "#browse-list img")
    seen = page.evaluate(SCROLL, [SCROLLED_S, STEP])
    gaps = sorted(seen["gaps"])
    rate = 1e3 * len(gaps) / sum(gaps)
    late = sum(gap > 1.5 * 1e3 / 60 for gap in gaps) / len(gaps)
    print(
        f"{name}: browsing {seen['scrolled']:.0f} pixels: {rate:.1f} frames a second, "
        f"{late:.1%} of them late, the longest {gaps[-1]:.0f} ms",
        flush=True,
    )
    context.close()


def first_photo(page: Page, address: str, photo: str) -> float:
    """Seconds from asking for a page until its first photo is drawn."""
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    drawn(page, photo)
    return time.perf_counter() - begun


def drawn(page: Page, photo: str) -> None:
    page.wait_for_function(DRAWN, arg=photo)


if __name__ == "__main__":
    main()
