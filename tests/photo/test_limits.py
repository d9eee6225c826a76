"""What all photos in decoding take together is bounded, whoever decodes them."""

import subprocess
import sys
import threading
import time
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deepfood import config
from deepfood.config import available_memory, load_settings
from deepfood.errors import PhotoTooLargeError
from deepfood.photo import Limits, read_header, read_pixels, thumbnail
from deepfood.photo.limits import _budget
from deepfood.photo.opening import opened
from samples import PHOTOS, PREPROCESS, encode, picture

MB = 10**6


def limits(decoding: int) -> Limits:
    return Limits(20 * MB, 64 * MB, decoding)


def until(true: threading.Event) -> None:
    assert true.wait(300)


def test_who_finds_no_room_waits_until_there_is_some() -> None:
    most, first_is_in, let_go, second_is_in = limits(100), *(threading.Event() for _ in range(3))

    def first() -> None:
        with most.decoding(60):
            first_is_in.set()
            until(let_go)

    def second() -> None:
        until(first_is_in)
        with most.decoding(60):
            second_is_in.set()

    with ThreadPoolExecutor(2) as threads:
        done = [threads.submit(first), threads.submit(second)]
        until(first_is_in)
        assert not second_is_in.wait(0.1)
        let_go.set()
        until(second_is_in)
        for one in done:
            one.result()


def test_so_many_as_there_is_room_for_are_decoded_at_once() -> None:
    most, both_in = limits(100), threading.Barrier(2, timeout=300)

    def one() -> None:
        with most.decoding(50):
            both_in.wait()

    with ThreadPoolExecutor(2) as threads:
        for done in [threads.submit(one), threads.submit(one)]:
            done.result()


def test_a_large_photo_is_not_passed_by_small_ones_for_ever() -> None:
    most, came = limits(100), []
    held = most.decoding(60)
    held.__enter__()

    def take(cost: int) -> None:
        with most.decoding(cost):
            came.append(cost)

    with ThreadPoolExecutor(8) as threads:
        done = [threads.submit(take, 90)]
        while not _budget._first_in_line.locked():
            time.sleep(0.001)
        done += [threads.submit(take, 30) for _ in range(7)]
        assert not wait(done, timeout=0.2, return_when=FIRST_COMPLETED).done
        held.__exit__(None, None, None)
        for one in done:
            one.result()
    assert came[0] == 90


def test_room_is_given_back_when_decoding_fails() -> None:
    most = limits(100)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), most.decoding(80):
            raise ZeroDivisionError
    with most.decoding(100):
        pass


@pytest.mark.parametrize(
    "name",
    [
        "png",
        "webp",
        "tiff",
        "gif",
        "bmp",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("heic", "avif")),
    ],
)
def test_a_photo_that_would_take_too_much_is_refused_with_the_numbers(name: str) -> None:
    data = encode(picture(2000, 1500), {"heic": "HEIF"}.get(name, name.upper()))
    for read in (
        lambda most: read_pixels(data, PREPROCESS, most),
        lambda most: thumbnail(data, 64, most),
    ):
        with pytest.raises(
            PhotoTooLargeError,
            match=r"would take [\d,]+ bytes, .* max_decoding_bytes is 1,000,000",
        ):
            read(limits(MB))
    assert read_header(data, limits(MB)).width == 2000  # nothing is decoded for that


def test_a_jpeg_takes_as_much_as_it_is_decoded_to() -> None:
    large, most = encode(picture(4000, 3000), "JPEG"), limits(40 * MB)
    assert read_pixels(large, PREPROCESS, most).shape == (224, 224, 3)
    in_scans = encode(picture(4000, 3000), "JPEG", progressive=True)
    with pytest.raises(PhotoTooLargeError, match="max_decoding_bytes"):
        read_pixels(in_scans, PREPROCESS, most)  # libjpeg keeps its coefficients: 36 MB


@pytest.mark.slow
def test_many_threads_with_little_room_read_what_one_does() -> None:
    most = limits(60 * MB)
    photos = [
        encode(picture(1500, 1200, seed), kind) for seed in range(3) for kind in ("PNG", "WEBP")
    ]
    alone = [read_pixels(data, PREPROCESS, most) for data in photos]
    with ThreadPoolExecutor(8) as threads:
        found = threads.map(lambda data: read_pixels(data, PREPROCESS, most), photos * 3)
        for one, expected in zip(found, alone * 3, strict=True):
            assert np.array_equal(one, expected)


#: Reads a photo with 8 threads, 6 times each, and prints by how many MB that raised the peak.
_READ_MANY = """
import sys
from concurrent.futures import ThreadPoolExecutor
from deepfood.photo import Limits, Preprocess, read_pixels

def peak_mb():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM:")) * 1024 / 1e6

data, limits = sys.stdin.buffer.read(), Limits(10**8, 10**8, int(sys.argv[2]))
preprocess = Preprocess.model_validate_json(sys.argv[1])
before = peak_mb()
with ThreadPoolExecutor(8) as threads:
    list(threads.map(lambda _: read_pixels(data, preprocess, limits), range(24)))
print(peak_mb() - before)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_many_threads_take_no_more_memory_than_there_is_room_for() -> None:
    photo = picture(100, 100).resize((3000, 3000), Image.Resampling.NEAREST)
    photo.putalpha(200)
    data = encode(photo, "PNG", compress_level=1)  # 36 MB, and 25 for a band
    room = 130 * MB
    command = [sys.executable, "-c", _READ_MANY, PREPROCESS.model_dump_json(), str(room)]
    done = subprocess.run(command, input=data, capture_output=True, check=True, timeout=120)
    # Measured 145; with malloc's own ways it is 450, and without a bound 550.
    assert 50 < float(done.stdout) < 250


_READ_WITHOUT_MEMORY = """
import re, resource, sys
from pathlib import Path
from deepfood.errors import PhotoTooLargeError
from deepfood.photo import Limits, read_picture
data, limits = sys.stdin.buffer.read(), Limits(10**8, 10**8, 10**10)
read_picture(Path(sys.argv[1]).read_bytes(), 64, limits)  # which loads the decoder
used = 1024 * int(re.search(r"VmSize:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
resource.setrlimit(resource.RLIMIT_AS, (used + 20_000_000, -1))
try:
    read_picture(data, 64, limits)
except PhotoTooLargeError as error:
    resource.setrlimit(resource.RLIMIT_AS, (-1, -1))
    print(error)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_photo_for_which_there_is_no_memory_is_too_large(tmp_path: Path) -> None:
    (tmp_path / "small.png").write_bytes(PHOTOS["png"])
    photo = picture(100, 100).resize((5000, 5000), Image.Resampling.NEAREST)
    command = [sys.executable, "-c", _READ_WITHOUT_MEMORY, str(tmp_path / "small.png")]
    done = subprocess.run(
        command, input=encode(photo, "PNG"), capture_output=True, check=True, timeout=120
    )
    assert done.stdout.decode() == "the photo needs more memory than there is\n"


def test_a_decoded_photo_is_let_go_when_its_room_is() -> None:
    most = limits(60 * MB)
    with opened(PHOTOS["png"], most) as photo:
        with photo.decoded(64, most):
            assert next(iter(photo.bands())).size == (320, 240)
        assert not hasattr(photo, "_image")


def test_a_quarter_of_the_memory_unless_a_setting_says_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Limits.of(load_settings(max_decoding_bytes=5 * MB)).max_decoding_bytes == 5 * MB
    assert Limits.of(load_settings()).max_decoding_bytes == available_memory() // 4
    machine = available_memory()
    assert machine > 100 * MB
    said = tmp_path / "memory.max"
    monkeypatch.setattr(config, "_MEMORY_LIMITS", (str(tmp_path / "none"), str(said)))
    for text, expected in (("max\n", None), ("104857600\n", 104857600), (str(2**62), None)):
        said.write_text(text)
        found = available_memory()
        assert found == expected if expected else found >= machine
