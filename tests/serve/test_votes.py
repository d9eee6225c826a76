"""Feedback over HTTP: what a vote keeps, what is refused, and servers that cannot keep any."""

import asyncio
import base64
import os
import resource
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from held import held_server
from test_api import problem

from deepfood.config import Settings
from deepfood.errors import DiskFullError, QueryError, SettingError
from deepfood.gallery.feedback import FEEDBACK, Feedback, FeedbackTable, Vote
from deepfood.local import LocalGallery
from deepfood.serve.api.votes import MOST_OF_A_SESSION
from deepfood.serve.asked import LASTS_S, Asked, QuestionTokens
from deepfood.serve.service import open_service
from deepfood_client import AsyncClient, Client
from deepfood_client.errors import PhotoNotFoundError, ServiceError
from deepfood_client.errors import QueryError as RefusedError
from live import Server, serving
from plates import jpeg

SESSION = "a-session-of-a-test"
PHOTO = jpeg(500)  # of a visitor: the gallery does not have it
MOST_PHOTO_BYTES = len(PHOTO) + 1000


@dataclass(frozen=True)
class Voting:
    """A gallery of its own, and a server of two processes that takes feedback on it."""

    gallery: Path
    server: Server

    def search(self, **question: Any) -> dict[str, Any]:
        asked = question or {"photo": data_url(PHOTO)}
        answer = httpx.post(f"{self.server.url}/api/v1/search", json=asked, timeout=300)
        found: dict[str, Any] = answer.raise_for_status().json()
        return found

    def vote(self, answer: dict[str, Any], hit: int | str = 0, **fields: Any) -> httpx.Response:
        """Vote on a hit of an answer, by its place or any id."""
        photo = hit if isinstance(hit, str) else answer["hits"][hit]["id"]
        body = {"question": answer["question"], "hit": photo, "right": True, "session": SESSION}
        address = f"{self.server.url}/api/v1/feedback"
        return httpx.post(address, json=body | fields, timeout=300)

    def kept(self) -> FeedbackTable:
        with Feedback.open(self.gallery) as feedback:
            return feedback.read()


def data_url(data: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"


@pytest.fixture(scope="module")
def server(
    tiny_gallery: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, Server]]:
    gallery = tmp_path_factory.mktemp("voting") / "gallery"
    shutil.copytree(tiny_gallery, gallery)
    settings = {"feedback": "true", "feedback_photos_bytes": MOST_PHOTO_BYTES}
    with serving(gallery, "--workers", "2", **settings) as server:
        yield gallery, server


@pytest.fixture
def voting(server: tuple[Path, Server]) -> Voting:
    for path in server[0].glob(f"{FEEDBACK}*"):
        path.unlink()
    return Voting(*server)


def test_a_vote_is_kept_with_the_vector_of_its_question(voting: Voting) -> None:
    answer = voting.search()
    assert voting.vote(answer, 0).status_code == 204
    assert voting.vote(answer, 1, right=False).status_code == 204
    table, hits = voting.kept(), [hit["id"] for hit in answer["hits"][:2]]
    assert (table.hits, table.right.tolist(), table.kinds) == (hits, [True, False], ["photo"] * 2)
    assert set(table.questions) == {sha256(PHOTO).hexdigest()}
    assert len(set(table.sessions)) == 1
    assert SESSION not in table.sessions, "the id of the browser session itself is kept"
    with LocalGallery.open(voting.gallery) as gallery:
        scores = gallery.vectors(hits) @ table.vectors[0]
        assert set(table.models) == {gallery.manifest.model_fingerprint}
    np.testing.assert_allclose(scores, [hit["score"] for hit in answer["hits"][:2]], atol=1e-3)
    assert voting.vote(answer, 0, right=None).status_code == 204
    assert voting.kept().hits == hits[1:]


def test_a_photo_is_kept_only_where_it_is_sent_and_is_that_of_the_question(voting: Voting) -> None:
    facts = httpx.get(f"{voting.server.url}/api/v1/gallery").json()
    assert (facts["feedback"], facts["feedback_photos"]) == (True, True)
    answer = voting.search()
    assert voting.vote(answer).status_code == 204
    contents = b"".join(path.read_bytes() for path in voting.gallery.glob(f"{FEEDBACK}*"))
    assert PHOTO not in contents, "a photo is kept that was not sent with the vote"
    refused = voting.vote(answer, photo=data_url(jpeg(501)))
    assert "not the one photo" in problem(refused, 422)
    assert voting.vote(answer, photo=data_url(PHOTO)).status_code == 204
    with Feedback.open(voting.gallery) as feedback:
        assert list(feedback.photos()) == [(sha256(PHOTO).hexdigest(), PHOTO)]


def test_the_same_is_asked_by_other_means_and_another_question_is_another(voting: Voting) -> None:
    first = voting.search()["hits"][0]["id"]
    of_gallery = httpx.get(f"{voting.server.url}/photos/{first}").content
    same = [{"id": first}, {"photo": data_url(of_gallery)}, {"id": first, "k": 2}]
    others = [
        {"id": first, "box": [0, 0, 0.5, 0.5]},
        {"id": first, "not_photo": [data_url(PHOTO), data_url(jpeg(501))]},
        {"photo": data_url(PHOTO)},
    ]
    for number, asked in enumerate([*same, *others]):
        answer = voting.search(**asked)
        hit = next(one["id"] for one in answer["hits"] if one["id"] != first)
        session = f"{SESSION}-{number}"
        assert voting.vote(answer, hit, session=session).status_code == 204
    table = voting.kept()
    assert len(set(table.questions[:3])) == 1
    assert table.questions[0] == sha256(of_gallery).hexdigest()
    assert len(set(table.questions)) == 1 + len(others)
    assert [row >= 0 for row in table.question_of] == [True] * 4 + [False, True], (
        "a question with two unwanted photos has two vectors, and so none"
    )


def test_what_cannot_be_voted_on_is_refused(voting: Voting) -> None:
    answer = voting.search()
    assert "no photo" in problem(voting.vote(answer, "0" * 20), 404)
    stranger = QuestionTokens("another key")
    made_up = Asked("0" * 64, "photo", "m", np.ones(4, np.float32))
    token = answer["question"]
    hostile = [
        "",
        "é",
        "x" * 70_000,
        stranger.token(made_up),
        token[:-4],
        token + "AAAA",
        ("B" if token[0] == "A" else "A") + token[1:],
        token[:40] + ("B" if token[40] == "A" else "A") + token[41:],
    ]
    for one in hostile:
        assert problem(voting.vote(answer, question=one), 422), one[:50]
    for session in ("short", "x" * 65, "with blanks and more", 7):
        refused = voting.vote(answer, session=session)
        assert problem(refused, 422)
        assert refused.json()["field"] == "session"
    body = {"question": token, "hit": "h", "session": SESSION}
    missing = httpx.post(f"{voting.server.url}/api/v1/feedback", json=body)
    assert "give `right`" in problem(missing, 422)
    assert not (voting.gallery / FEEDBACK).exists()


def test_a_session_has_so_many_votes_and_others_go_on(voting: Voting) -> None:
    answer = voting.search()
    assert voting.vote(answer).status_code == 204
    session = voting.kept().sessions[0]
    many = (
        Vote(session, f"{number:064x}", "h", True, 1.0, "m", None, "words")
        for number in range(MOST_OF_A_SESSION - 1)
    )
    with Feedback.open(voting.gallery) as feedback:
        feedback.add(many)
    refused = voting.vote(answer, 1)
    assert "1,000 votes" in problem(refused, 429)
    assert refused.headers["retry-after"]
    assert voting.vote(answer, 0, right=False).status_code == 204, "a vote can be changed"
    assert voting.vote(answer, 0, right=None).status_code == 204
    assert voting.vote(answer, 1).status_code == 204, "one was taken back"
    assert voting.vote(answer, 2, session="of-somebody-else").status_code == 204


def test_a_full_disk_is_a_507_and_no_vote_is_lost(voting: Voting) -> None:
    answer = voting.search()
    assert voting.vote(answer).status_code == 204
    parent = voting.server.process.pid
    workers = [
        int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]
    most = {pid: resource.prlimit(pid, resource.RLIMIT_FSIZE) for pid in workers}
    assert len(workers) >= 2
    for pid in workers:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (4096, most[pid][1]))
    try:
        assert str(voting.gallery) not in problem(voting.vote(answer, 1), 507)
        assert voting.search()["hits"]
    finally:
        for pid in workers:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, most[pid])
    assert len(voting.kept()) == 1
    assert voting.vote(answer, 1).status_code == 204
    assert len(voting.kept()) == 2


def test_a_vote_is_kept_where_there_is_no_room_for_its_photo(
    tiny_gallery: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gallery = Path(shutil.copytree(tiny_gallery, tmp_path / "gallery"))

    def full(*_: object) -> bool:
        raise DiskFullError("no space left on the disk")

    for most in (0, MOST_PHOTO_BYTES):
        settings: dict[str, Any] = {"feedback": True, "feedback_photos_bytes": most}
        with (
            held_server(gallery, **settings) as (port, _),
            Client(f"http://127.0.0.1:{port}", retries=0) as client,
        ):
            found = client.search(PHOTO)
            assert found.question
            if most:
                monkeypatch.setattr(Feedback, "keep_photo", full)
                client.feedback(found.question, found.hits[0].id, True, photo=PHOTO)
            else:
                with pytest.raises(RefusedError, match="this server keeps no photos") as caught:
                    client.feedback(found.question, found.hits[0].id, True, photo=PHOTO)
                assert caught.value.field == "photo"
    with Feedback.open(gallery) as feedback:
        assert feedback.read().hits == [found.hits[0].id]
        assert list(feedback.photos()) == []


def test_a_damaged_file_stops_votes_and_no_search(voting: Voting) -> None:
    answer = voting.search()
    (voting.gallery / FEEDBACK).write_bytes(b"no database" * 1000)
    assert "log says more" in problem(voting.vote(answer), 500)
    assert "verify --repair" in voting.server.log.read_text()
    assert voting.search()["hits"]
    (voting.gallery / FEEDBACK).unlink()
    assert voting.vote(answer).status_code == 204, "the token is good for any process"


def test_the_client_votes(voting: Voting) -> None:
    with Client(voting.server.url, retries=0) as client:
        found = client.search(PHOTO)
        assert found.question
        client.feedback(found.question, found.hits[0].id, True, photo=PHOTO)
        client.feedback(found.question, found.hits[1].id, False)
        with pytest.raises(PhotoNotFoundError):
            client.feedback(found.question, "0" * 20, True)
        with pytest.raises(RefusedError, match="search again"):
            client.feedback("made up", found.hits[0].id, True)

        async def ask_too() -> None:
            async with AsyncClient(voting.server.url, retries=0) as other:
                await other.feedback(found.question or "", found.hits[2].id, True)
                await other.feedback(found.question or "", found.hits[3].id, True, session=SESSION)
                await other.feedback(found.question or "", found.hits[2].id, None)

        asyncio.run(ask_too())
    assert voting.kept().right.tolist() == [True, False, True]
    assert len(set(voting.kept().sessions)) == 2


def test_without_the_setting_nothing_is_taken(server_url: str) -> None:
    assert httpx.get(f"{server_url}/api/v1/gallery").json()["feedback"] is False
    with Client(server_url, retries=0) as client:
        photo = client.samples(1)[0].id
        assert client.search(id=photo).question is None
        with pytest.raises(ServiceError, match="`feedback` is off"):
            client.feedback("any", photo, True)


def test_a_token_lasts_for_a_day() -> None:
    tokens = QuestionTokens("a key")
    vector = np.array([0.6, 0.8], np.float32)
    token = tokens.token(Asked("0" * 64, "words", "m", vector), now_s=1000)
    read = tokens.read(token, now_s=1000 + LASTS_S - 1)
    assert (read.sha256, read.kind, read.model) == ("0" * 64, "words", "m")
    assert read.vector is not None
    np.testing.assert_allclose(read.vector, vector, atol=1e-3)
    with pytest.raises(QueryError, match="a day old"):
        tokens.read(token, now_s=1001 + LASTS_S)


@pytest.mark.parametrize(
    ("gallery", "told"),
    [("s3://bucket/prefix", "deepfood pull"), ("milvus://host:19530/food", "into a folder")],
)
def test_where_no_feedback_can_be_kept_a_server_does_not_start(gallery: str, told: str) -> None:
    with pytest.raises(SettingError, match=f"feedback = true: .*{told}"):
        open_service(Settings(gallery=gallery, feedback=True))


def test_a_folder_that_cannot_be_written_is_told_before_the_first_vote(
    tiny_gallery: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)  # the tests' user may have every right
    with pytest.raises(SettingError, match=r"feedback = true: .* cannot be written: "):
        open_service(Settings(gallery=str(tiny_gallery), feedback=True))
