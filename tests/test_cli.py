"""The command line as a user meets it: what it prints, its exit status, one-line errors."""

import hashlib
import json
import logging
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from live import SmallGallery, deepfood_here, fails, one_line, run_deepfood
from plates import jpeg, write_photos, write_tiny_model


def test_search_prints_what_it_found(small_gallery: SmallGallery) -> None:
    done = deepfood_here("search", small_gallery.folder, small_gallery.photos[9], "-k", 3)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[3:] == ["3 of 24 photos"]
    assert "Curry no. 1 · Curries" in lines[0]
    assert "1.000" in lines[0]
    assert str(small_gallery.photos[9]) in lines[0]


def test_search_as_json(small_gallery: SmallGallery) -> None:
    done = deepfood_here("search", small_gallery.folder, small_gallery.photos[2], "--json")
    hits = json.loads(done.stdout)["hits"]
    assert len(hits) == 9
    assert hits[0]["name"] == "麻婆豆腐"
    assert hits[0]["score"] == pytest.approx(1, abs=1e-5)


def test_info_and_verify(small_gallery: SmallGallery) -> None:
    about = json.loads(deepfood_here("info", small_gallery.folder, "--json").stdout)
    assert (about["kind"], about["photos"], about["index"]) == ("gallery", 24, "exact")
    assert about["left_out"] == []
    assert "24" in deepfood_here("info", small_gallery.folder).stdout
    done = deepfood_here("verify", small_gallery.folder, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout)["ok"] is True


@pytest.mark.slow
def test_verify_says_what_is_wrong_and_exits_with_1(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    model = write_tiny_model(tmp_path / "model")
    built = deepfood_here("build", photos, "--out", tmp_path / "g", "--model", model)
    assert built.returncode == 0, built.stderr
    (photos / "plate-00001.jpg").unlink()
    done = deepfood_here("verify", tmp_path / "g")
    assert done.returncode == 1
    assert re.search(r"plate-00001\.jpg \([0-9a-f]{20}\) is missing from", done.stdout)
    assert "1 problem" in done.stdout


@pytest.mark.slow
def test_build_names_what_it_left_out(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 3)
    (photos / "copy.jpg").write_bytes(jpeg(1))
    for number in range(25):
        (photos / f"bad-{number:02}.jpg").write_text("no photo")
    model = write_tiny_model(tmp_path / "model")
    arguments = ("build", photos, "--out", tmp_path / "g", "--model", model)
    done = deepfood_here(*arguments)
    assert done.returncode == 0
    assert "3 photos" in done.stdout
    assert "1 file is a copy" in done.stdout
    assert "25 files are left out" in done.stdout
    assert "bad-19.jpg: the photo is not JPEG" in done.stdout
    assert "bad-20.jpg" not in done.stdout
    assert "bad-24.jpg" in deepfood_here("info", tmp_path / "g").stdout
    assert "up to date" in deepfood_here(*arguments).stdout
    skipped = json.loads(deepfood_here(*arguments, "--json").stdout)["left_out"]
    assert len(skipped) == 26


@pytest.mark.slow
@pytest.mark.parametrize("index", ["exact", "annoy", "hnsw"])
def test_the_index_can_be_chosen(index: str, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 12)
    model = write_tiny_model(tmp_path / "model")
    out = tmp_path / "g"
    done = deepfood_here(
        "build", photos, "--out", out, "--model", model, "--index", index, "--json"
    )
    assert json.loads(done.stdout)["index"] == index
    found = deepfood_here("search", out, photos / "plate-00003.jpg", "--model", model, "-k", 1)
    assert "plate-00003.jpg" in found.stdout


@pytest.mark.slow
def test_annoys_numbers_can_be_set(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 12)
    model = write_tiny_model(tmp_path / "model")
    out = tmp_path / "g"
    deepfood_here(
        *("build", photos, "--out", out, "--model", model, "--index", "annoy"),
        *("--annoy-trees", 7, "--annoy-search-k", 500),
    )
    spec = json.loads((out / "manifest.json").read_text())["index"]
    assert (spec["annoy_trees"], spec["annoy_search_k"]) == (7, 500)


def test_errors_are_one_line_that_names_the_value(
    tmp_path: Path, small_gallery: SmallGallery
) -> None:
    gallery, photo = small_gallery.folder, small_gallery.photos[0]
    text = tmp_path / "text.jpg"
    text.write_text("no photo")
    model = write_tiny_model(tmp_path / "model")
    assert "nope.jpg" in one_line(deepfood_here("search", gallery, "nope.jpg"))
    assert "not JPEG" in one_line(deepfood_here("search", gallery, text))
    assert "k = 0" in one_line(deepfood_here("search", gallery, photo, "-k", 0))
    assert "k = -1" in one_line(deepfood_here("search", gallery, photo, "-k", -1))
    assert "is not a gallery" in one_line(deepfood_here("search", tmp_path, photo))
    assert "build it again" in one_line(deepfood_here("search", gallery, photo, "--model", model))
    assert "is not a gallery" in one_line(deepfood_here("serve", tmp_path, "--port", 0))
    assert "DEEPFOOD_GALLERY" in one_line(deepfood_here("serve", "--port", 0))
    assert "there is no" in one_line(
        deepfood_here("build", tmp_path / "no", "--out", tmp_path / "g")
    )
    assert "no photos in" in one_line(deepfood_here("build", model, "--out", tmp_path / "g"))
    assert "is not an artifact" in one_line(deepfood_here("info", tmp_path))
    assert "'food102'" in one_line(deepfood_here("data", "get", "food102", "--out", tmp_path / "d"))
    assert "index = 'ivf'" in one_line(
        deepfood_here("build", photo.parent, "--out", tmp_path / "g", "--index", "ivf")
    )
    assert "port = 'http'" in one_line(deepfood_here("serve", gallery, DEEPFOOD_PORT="http"))
    assert "cannot serve on" in one_line(
        deepfood_here("serve", gallery, "--host", "nowhere.invalid")
    )


@pytest.mark.slow
def test_a_server_that_does_not_start_leaves_the_log_of_these_tests_alone(tmp_path: Path) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level, logging.getLogger("deepfood").level
    assert "is not a gallery" in one_line(deepfood_here("serve", tmp_path, "--port", 0))
    assert (root.handlers, root.level, logging.getLogger("deepfood").level) == before


def test_k_larger_than_the_gallery_gives_all(small_gallery: SmallGallery) -> None:
    done = deepfood_here("search", small_gallery.folder, small_gallery.photos[0], "-k", 100)
    lines = done.stdout.splitlines()
    assert (len(lines), lines[-1]) == (25, "24 of 24 photos")


@pytest.mark.slow
def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    done = deepfood_here("--debug", "info", tmp_path)
    assert done.returncode == 2
    assert "Traceback" in done.stderr


@pytest.mark.slow
def test_wrong_arguments_exit_with_2_and_help() -> None:
    for arguments in (["nope"], ["build"], ["search"], ["build", "a", "--out", "b", "--no"]):
        done = deepfood_here(*arguments)
        assert done.returncode == 2
        assert "Usage" in done.stderr
        assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_every_command_has_help() -> None:
    said = deepfood_here("--help").stdout
    for command in ("demo", "data", "build", "search", "serve", "info", "verify"):
        assert command in said
        assert deepfood_here(command, "--help").returncode == 0
    assert deepfood_here("--version").stdout.strip()


@pytest.mark.slow
def test_two_builds_into_one_gallery_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.local.build.WAIT_S", 0.1)
    photos = write_photos(tmp_path / "photos", 1500)
    model = write_tiny_model(tmp_path / "model")
    command = [sys.executable, "-m", "deepfood.cli", "build", str(photos)]
    command += ["--out", str(tmp_path / "g"), "--model", str(model), "--json"]
    first = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not (tmp_path / "g/building").exists():
        assert time.monotonic() < deadline
        time.sleep(0.001)
    os.kill(first.pid, 19)  # SIGSTOP: it holds the lock, however fast the machine
    try:
        assert "another process is writing" in one_line(
            deepfood_here("build", photos, "--out", tmp_path / "g", "--model", model)
        )
    finally:
        os.kill(first.pid, 18)
    out, said = first.communicate(timeout=300)
    assert first.returncode == 0, said
    assert json.loads(out)["photos"] == 1500


def test_demo_reports_a_port_in_use_before_it_fetches_anything(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        error = fails("demo", "--out", tmp_path / "demo", "--host", "127.0.0.1", "--port", port)
    assert str(port) in error
    assert not (tmp_path / "demo").exists()


def test_an_api_key_is_printed_with_the_setting_that_has_its_hash() -> None:
    shown, setting = run_deepfood("api-key").splitlines()
    key = shown.removeprefix("key, shown only now: ")
    hashed = hashlib.sha256(key.encode()).hexdigest()
    assert setting.endswith(f'api_key_hashes = "{hashed}"')
