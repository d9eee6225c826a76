"""Files of a hub, against a server on 127.0.0.1 that behaves, and misbehaves, as the real one."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from deepfood.config import hub_endpoint, hub_token
from deepfood.errors import DiskFullError, DownloadError, SettingError
from deepfood.model.hub import Hub, HubSource, Repository
from hub_server import OTHER_TOKEN, TOKEN, HubServer, OnHub, git_blob, hub_server

NAME = "some-org/a.model_1"
WEIGHTS = np.random.default_rng(0).bytes(2 * 2**20 + 5)
FILES = {
    "config.json": b'{"a": 1}',
    "onnx/vision_model.onnx": WEIGHTS,
    "onnx/text model.onnx": WEIGHTS[:5000],
}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[HubServer]:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    with hub_server() as state:
        state.repositories[NAME] = OnHub(dict(FILES), {"license": "mit"})
        yield state


def hub_of(server: HubServer, cache: Path, token: str | None = None) -> Hub:
    return Hub(server.url, cache, token, timeout_s=5, attempts=3, backoff_s=0.001)


def fetch(server: HubServer, cache: Path, token: str | None = None, name: str = NAME) -> Path:
    hub = hub_of(server, cache, token)
    repository = hub.look_up(HubSource(name))
    return hub.fetch(repository, repository.files, quiet=True)


def refused(server: HubServer, cache: Path, token: str | None = None, name: str = NAME) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(server, cache, token, name)
    said = str(caught.value)
    assert "\n" not in said
    return said


@pytest.mark.parametrize(
    ("text", "name", "revision"),
    [
        ("hf:a/b", "a/b", "main"),
        ("hf:timm/resnet34.tv_in1k@v1.0", "timm/resnet34.tv_in1k", "v1.0"),
        ("hf:O-1/N_2@refs/pr/1", "O-1/N_2", "refs/pr/1"),
        ("hf:a/b@" + "0" * 40, "a/b", "0" * 40),
    ],
)
def test_sources(text: str, name: str, revision: str) -> None:
    source = HubSource.parse(text)
    assert source == HubSource(name, revision)
    assert str(source) == f"hf:{name}@{revision}"


@pytest.mark.parametrize(
    "text",
    [
        "hf:",
        "hf:a",
        "hf:/b",
        "hf:a/",
        "hf:../b",
        "hf:a/..",
        "hf:a/b/c",
        "hf:a/.b",
        "hf:a\\b/c",
        "hf:a/b@",
        "hf:a/b@../../x",
        "hf:a/b@/x",
        "hf:a/b@x\n",
        "hf:a/b@x y",
        "hf:a/b@x?y",
        "hf:a/b\x00",
    ],
)
def test_names_that_are_none_never_become_a_path_or_address(text: str) -> None:
    with pytest.raises(SettingError, match="name one as hf:OWNER/NAME") as caught:
        HubSource.parse(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("revision", ["main", "v1", "refs/pr/1", "commit"])
def test_files_are_fetched_at_the_commit_that_was_resolved(
    revision: str, server: HubServer, tmp_path: Path
) -> None:
    held = server.repositories[NAME]
    hub = hub_of(server, tmp_path)
    repository = hub.look_up(HubSource(NAME, held.commit if revision == "commit" else revision))
    assert str(repository) == f"hf:{NAME}@{held.commit}"
    assert repository.licence == "mit"
    folder = hub.fetch(repository, ["config.json", "onnx/text model.onnx"], quiet=True)
    assert folder == tmp_path / "some-org" / "a.model_1" / held.commit
    assert (folder / "config.json").read_bytes() == FILES["config.json"]
    assert (folder / "onnx" / "text model.onnx").read_bytes() == WEIGHTS[:5000]
    assert not (folder / "onnx" / "vision_model.onnx").exists()
    assert all(f"/resolve/{held.commit}/" in path for path in server.asked("/resolve/"))
    assert len(server.asked("/resolve/")) == 2


def test_a_branch_that_moves_gives_another_folder(server: HubServer, tmp_path: Path) -> None:
    before = fetch(server, tmp_path)
    server.repositories[NAME].files["config.json"] = b"{}"
    after = fetch(server, tmp_path)
    assert before != after
    assert (before / "config.json").read_bytes() == FILES["config.json"]
    assert (after / "config.json").read_bytes() == b"{}"


def test_what_is_there_is_checked_and_not_fetched_again(server: HubServer, tmp_path: Path) -> None:
    folder = fetch(server, tmp_path)
    asked = len(server.asked("/resolve/"))
    fetch(server, tmp_path)
    assert len(server.asked("/resolve/")) == asked
    (folder / "config.json").write_bytes(b'{"a": 2}')  # altered, and as long as before
    damaged = bytearray(WEIGHTS)
    damaged[7] ^= 1
    (folder / "onnx" / "vision_model.onnx").write_bytes(damaged)
    fetch(server, tmp_path)
    assert (folder / "config.json").read_bytes() == FILES["config.json"]
    assert (folder / "onnx" / "vision_model.onnx").read_bytes() == WEIGHTS
    assert len(server.asked("/resolve/")) == asked + 2


def test_half_a_file_is_gone_on_with(server: HubServer, tmp_path: Path) -> None:
    server.blobs.drops = [2**20 + 1]
    assert (fetch(server, tmp_path) / "onnx/vision_model.onnx").read_bytes() == WEIGHTS
    assert f"bytes={2**20 + 1}-" in server.blobs.ranges_asked()


def test_half_a_file_and_no_more_is_kept_for_the_next_command(
    server: HubServer, tmp_path: Path
) -> None:
    server.blobs.drops = [5000, 0, 0]
    assert "run the same command again" in refused(server, tmp_path)
    server.blobs.requests.clear()
    fetch(server, tmp_path)
    assert server.blobs.ranges_asked()[0] == "bytes=5000-"


@pytest.mark.parametrize("what", ["large", "small"])
def test_another_hash_than_the_hubs(what: str, server: HubServer, tmp_path: Path) -> None:
    wrong = bytes(len(WEIGHTS))
    if what == "small":
        server.altered["config.json"] = b'{"a": 2}'
    else:
        repository = server.repositories[NAME]
        listed = repository.about(NAME, blobs=True)["siblings"][1]
        server.blobs.files[f"/{listed['lfs']['sha256']}"] = wrong
    said = refused(server, tmp_path)
    hash_name = {"large": "SHA256", "small": "GIT BLOB"}[what]
    assert f"is not the file it should be: its {hash_name} is" in said
    assert "nothing of it was kept" in said
    if what == "small":
        assert f"should be {git_blob(FILES['config.json'])}" in said


def test_a_mirror_that_lists_no_hashes_is_held_to_lengths_and_headers(
    server: HubServer, tmp_path: Path
) -> None:
    hub = hub_of(server, tmp_path)
    repository = hub.look_up(HubSource(NAME))
    bare = {
        name: one.model_copy(update={"sha256": None, "git_blob": None})
        for name, one in repository.files.items()
    }
    unhashed = repository.model_copy(update={"files": bare})
    folder = hub.fetch(unhashed, FILES, quiet=True)
    assert (folder / "onnx/vision_model.onnx").read_bytes() == WEIGHTS
    (folder / "config.json").write_bytes(b"{}")
    with pytest.raises(DownloadError, match="has 2 bytes, but the hub lists 8"):
        hub.fetch(unhashed, FILES, quiet=True)
    (folder / "onnx/vision_model.onnx").unlink()
    sha256 = repository.files["onnx/vision_model.onnx"].sha256
    server.blobs.files[f"/{sha256}"] = bytes(len(WEIGHTS))
    with pytest.raises(DownloadError, match="its SHA256 is"):  # by the header X-Linked-ETag
        hub.fetch(unhashed, FILES, quiet=True)


def test_the_token_goes_to_the_hub_and_no_further(server: HubServer, tmp_path: Path) -> None:
    fetch(server, tmp_path, TOKEN)
    assert {headers.get("Authorization") for _, headers in server.requests} == {f"Bearer {TOKEN}"}
    assert len(server.blobs.requests) == 2
    assert not any("Authorization" in headers for _, headers in server.blobs.requests)
    assert TOKEN not in repr(hub_of(server, tmp_path, TOKEN))


def test_private_and_gated_repositories(server: HubServer, tmp_path: Path) -> None:
    held = server.repositories[NAME]
    held.private = True
    assert "or it is private: check its name, or set HF_TOKEN to your token" in refused(
        server, tmp_path / "a"
    )
    assert "there is no repository some-org/a.model_1 that you may read" in refused(
        server, tmp_path / "a", OTHER_TOKEN
    )
    held.private, held.gated = False, "manual"
    for token, status in ((None, 401), (OTHER_TOKEN, 403)):
        said = refused(server, tmp_path / "a", token)
        assert f"answers {status}" in said
        assert f"accept the terms on {server.url}/{NAME}, and set HF_TOKEN to a token" in said
    assert hub_of(server, tmp_path).look_up(HubSource(NAME)).gated
    fetch(server, tmp_path / "a", TOKEN)


def test_refusals_name_the_way_out(server: HubServer, tmp_path: Path) -> None:
    assert "there is no repository nobody/x, or it is private" in refused(
        server, tmp_path, name="nobody/x"
    )
    assert "does not accept your token" in refused(server, tmp_path, "hf_wrong")
    hub = hub_of(server, tmp_path)
    with pytest.raises(DownloadError, match=r"a.model_1 has no branch, tag or commit 'v9'"):
        hub.look_up(HubSource(NAME, "v9"))
    repository = hub.look_up(HubSource(NAME))
    with pytest.raises(DownloadError, match=r"has no file 'x\.onnx'"):
        hub.fetch(repository, ["x.onnx"], quiet=True)
    del server.repositories[NAME].files["config.json"]
    server.repositories[NAME].files["other"] = b"1"
    with pytest.raises(DownloadError, match=r"answers 404 .*no branch|the hub lists the file"):
        hub.fetch(repository, ["config.json"], quiet=True)


def test_a_hub_that_answers_with_a_web_page(server: HubServer, tmp_path: Path) -> None:
    server.answers = [(200, b"<!doctype html><title>Sign in to this network</title>")]
    said = refused(server, tmp_path)
    assert "answers with a web page instead of the facts of a repository" in said
    assert "HF_ENDPOINT" in said
    server.answers = [(200, b'{"sha": "x"}')]
    assert "answers with something else" in refused(server, tmp_path)
    hub = hub_of(server, tmp_path)
    repository = hub.look_up(HubSource(NAME))
    server.answers = [(200, b"<!doctype html>")]
    with pytest.raises(DownloadError, match="is not the file it should be"):
        hub.fetch(repository, ["config.json"], quiet=True)


def test_a_hub_in_trouble_is_asked_again(server: HubServer, tmp_path: Path) -> None:
    server.answers = [(503, b""), (500, b"")]
    fetch(server, tmp_path)
    server.answers = [(503, b"")] * 3
    said = refused(server, tmp_path)
    assert "answers 503 Service Unavailable; try again later, or set HF_ENDPOINT" in said


def test_an_answer_without_an_end_is_not_read_to_its_end(
    server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deepfood.model.hub._ANSWER_BYTES", 1000)
    server.answers = [(200, b" " * 1001)]
    assert "is too long" in refused(server, tmp_path)


def test_a_repository_that_may_not_even_be_looked_up(server: HubServer, tmp_path: Path) -> None:
    server.answers = [(403, b"")]
    said = refused(server, tmp_path, TOKEN)
    assert f"answers 403 Forbidden; accept the terms on {server.url}/{NAME}" in said


def test_without_a_connection_what_was_looked_up_before_counts(
    server: HubServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    away = Hub("http://127.0.0.1:9", tmp_path, attempts=2, backoff_s=0.001)
    commit = server.repositories[NAME].commit
    with pytest.raises(
        DownloadError, match=r"no connection to http://127\.0\.0\.1:9.*or name a fo"
    ):
        away.look_up(HubSource(NAME))
    fetch(server, tmp_path)
    repository = away.look_up(HubSource(NAME))
    assert repository.commit == commit
    assert f"using the commit that it was before, {commit}" in caplog.text
    caplog.clear()
    assert away.look_up(HubSource(NAME, commit)) == repository
    assert away.look_up(HubSource(NAME), known=True) == repository
    assert not caplog.records  # nobody was asked
    assert (away.fetch(repository, FILES, quiet=True) / "config.json").is_file()
    (tmp_path / "some-org/a.model_1/revisions/main.json").write_text("{")
    with pytest.raises(DownloadError, match="no connection"):
        away.look_up(HubSource(NAME))


def test_a_silent_hub(server: HubServer, tmp_path: Path) -> None:
    hub = hub_of(server, tmp_path)
    repository = hub.look_up(HubSource(NAME))
    server.blobs.silent = threading.Event()
    slow = Hub(server.url, tmp_path, timeout_s=0.1, attempts=2, backoff_s=0.001)
    with pytest.raises(DownloadError, match=r"did not answer within 0\.1 s, 2 times in a row"):
        slow.fetch(repository, FILES, quiet=True)


EVIL = ["../evil", "/etc/evil", "onnx/../../evil", "C:\\evil", "a\\b", "a\x00b", "a\nb", "", "."]


def test_hostile_names_of_files_count_for_nothing(server: HubServer, tmp_path: Path) -> None:
    server.repositories[NAME].listed = [{"rfilename": name, "size": 1} for name in EVIL]
    hub = hub_of(server, tmp_path / "cache")
    repository = hub.look_up(HubSource(NAME))
    assert repository.files.keys() == FILES.keys()
    hostile = repository.model_copy(
        update={"files": dict.fromkeys(EVIL, repository.files["config.json"])}
    )
    for name in EVIL[:4]:
        with pytest.raises(DownloadError, match="is not a valid name of a file"):
            hub.fetch(hostile, [name], quiet=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    with pytest.raises(SettingError, match="does not name a repository"):
        hub.fetch(repository.model_copy(update={"name": "../x"}), FILES, quiet=True)


@pytest.mark.parametrize(
    "change",
    [
        {"sha": "../../x"},
        {"sha": None},
        {"siblings": [{"rfilename": "x", "lfs": {"sha256": "../x"}}]},
        {"siblings": [{"rfilename": "x", "size": -1}]},
        {"siblings": {}},
    ],
)
def test_an_answer_that_makes_no_sense(
    change: dict[str, object], server: HubServer, tmp_path: Path
) -> None:
    about = server.repositories[NAME].about(NAME, blobs=True) | change
    server.answers = [(200, json.dumps(about).encode())]
    assert "answers with something else instead of the facts" in refused(server, tmp_path)


@pytest.mark.parametrize(
    ("card", "licence"),
    [
        ({}, ""),
        ({"license": "apache-2.0"}, "apache-2.0"),
        ({"license": "other", "license_name": "dinov3-license"}, "dinov3-license"),
        ({"license": "other"}, "other"),
        ({"license": ["mit", "cc-by-4.0"]}, "mit, cc-by-4.0"),
    ],
)
def test_the_licence_of_the_card(
    card: dict[str, object], licence: str, server: HubServer, tmp_path: Path
) -> None:
    server.repositories[NAME].card = card
    assert hub_of(server, tmp_path).look_up(HubSource(NAME)).licence == licence


def test_many_at_once_do_not_disturb_each_other(server: HubServer, tmp_path: Path) -> None:
    server.blobs.drops = [2**20, 100]
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(lambda _: fetch(server, tmp_path), range(4)))
    assert len(set(folders)) == 1
    for name, body in FILES.items():
        assert (folders[0] / name).read_bytes() == body
    assert not list(tmp_path.rglob("*.part"))


def test_a_full_disk(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = hub_of(server, tmp_path)
    repository: Repository = hub.look_up(HubSource(NAME))
    full = shutil.disk_usage(tmp_path)._replace(free=10_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(
        DiskFullError, match=r"needs 2,097,157 bytes, and the disk of .* has 10,000"
    ):
        hub.fetch(repository, FILES, quiet=True)


def test_the_users_hub_and_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_ENDPOINT", "HF_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hub_endpoint().startswith("https://")
    assert hub_token() is None
    for number, (name, path) in enumerate(
        [
            ("", tmp_path / ".cache/huggingface/token"),
            ("XDG_CACHE_HOME", tmp_path / "x/huggingface/token"),
            ("HF_HOME", tmp_path / "h/token"),
            ("HF_TOKEN_PATH", tmp_path / "t"),
        ]
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"hf_{number}\n")
        if name:
            monkeypatch.setenv(
                name,
                str({"XDG_CACHE_HOME": path.parents[1], "HF_HOME": path.parent}.get(name, path)),
            )
        assert hub_token() == f"hf_{number}"
    monkeypatch.setenv("HF_TOKEN", " hf_env ")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9/")
    hub = Hub.of_user(tmp_path)
    assert (hub.endpoint, hub.token) == ("http://127.0.0.1:9", "hf_env")
    for wrong in ("hf_a hf_b", "hf_\x01", "hf_é"):
        monkeypatch.setenv("HF_TOKEN", wrong)
        with pytest.raises(SettingError, match="HF_TOKEN is not a hub token") as caught:
            hub_token()
        assert wrong not in str(caught.value)
    monkeypatch.setenv("HF_TOKEN", "")
    (tmp_path / "t").write_bytes(b"\xff\xfe")
    with pytest.raises(SettingError, match="the token for the hub, cannot be read"):
        hub_token()


@pytest.mark.parametrize("endpoint", ["huggingface", "ftp://127.0.0.1", "http://"])
def test_an_endpoint_that_is_no_address(endpoint: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match="is not an address"):
        Hub(endpoint, tmp_path).look_up(HubSource(NAME))
