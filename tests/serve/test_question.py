"""Searches with filters, several photos, a box, pages, variety and groups, over HTTP."""

import base64
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from held import held_server
from PIL import Image
from test_api import problem

import deepfood
from deepfood_client import Client, Weighted
from deepfood_client.calls import BatchQuestion
from deepfood_client.errors import QueryError
from live import fails, run_deepfood
from plates import jpeg, plate, write_photos, write_tiny_model
from served import serving_here

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve plates and a smaller copy of one, with attributes."""
    root = tmp_path_factory.mktemp("question")
    write_tiny_model(root / "model")
    write_photos(root / "photos", 12)
    plate(3).resize((80, 60)).save(root / "photos" / "small.jpg", quality=80)
    run_deepfood("build", root / "photos", "--out", root / "gallery", "--model", root / "model")
    lines = [
        {"file": path.name, "price": price, "allergens": [[], ["peanut"], None][price % 3]}
        for price, path in enumerate(sorted((root / "photos").glob("plate*")))
    ]
    (root / "about.jsonl").write_text("\n".join(map(json.dumps, lines)))
    run_deepfood("attributes", root / "gallery", root / "about.jsonl")
    return root / "gallery"


@pytest.fixture(scope="module")
def url(gallery: Path) -> Iterator[str]:
    with serving_here(gallery) as url:
        yield url


def data_url(photo: bytes) -> str:
    return f"data:image/jpeg;base64,{base64.b64encode(photo).decode()}"


def ask(url: str, **question: Any) -> httpx.Response:
    return httpx.post(f"{url}/api/v1/search", json=question, timeout=300)


def found(url: str, **question: Any) -> dict[str, Any]:
    answer = ask(url, **question)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def ids(answer: dict[str, Any]) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def id_of(url: str, seed: int) -> str:
    return ids(found(url, photo=data_url(jpeg(seed)), k=1))[0]


def test_a_filter_finds_exactly_those_that_pass_and_says_what_it_left_out(url: str) -> None:
    photo = data_url(jpeg(0))
    cheap = found(url, photo=photo, k=20, where="price < 5")
    assert sorted(ids(cheap)) == sorted(id_of(url, seed) for seed in range(5))
    assert (cheap["notes"], cheap["next"], cheap["verdict"]) == ([], None, None)
    safe = found(url, photo=photo, k=20, where='NOT allergens HAS "peanut"')
    assert sorted(ids(safe)) == sorted(id_of(url, seed) for seed in range(0, 12, 3))
    (note,) = safe["notes"]
    assert note["message"] == "5 photos are left out: allergens not known"
    assert (note["code"], note["photos"]) == ("unknown_left_out", 5)
    assert (note["attributes"], note["needed"]) == (["allergens"], None)
    about = httpx.get(f"{url}/api/v1/gallery").json()["attributes"]
    assert about == [
        {"name": "price", "type": "number", "safety": False, "examples": [0, 11]},
        {"name": "allergens", "type": "list", "safety": True, "examples": ["peanut"]},
    ]
    said = {hit["id"]: hit["attributes"] for hit in cheap["hits"]}
    assert said[id_of(url, 4)] == {"price": 4, "allergens": ["peanut"]}
    assert said[id_of(url, 2)] == {"price": 2}, "what is not known is not there"
    facts = httpx.get(f"{url}/api/v1/photos/{id_of(url, 4)}").json()
    assert facts["attributes"] == {"price": 4, "allergens": ["peanut"]}


def test_pages_are_one_list(url: str) -> None:
    for question in ({"photo": data_url(jpeg(3))}, {"id": id_of(url, 3)}):
        whole = ids(found(url, **question, k=20))
        pages, after = list[str](), None
        while True:
            page = found(url, **question, k=5, cursor=after)
            pages += ids(page)
            after = page["next"]
            if after is None:
                break
        assert pages == whole
        assert len(set(pages)) == 13 - ("id" in question)
    cursor = found(url, id=id_of(url, 3), k=5)["next"]
    problem(ask(url, id=id_of(url, 4), k=5, cursor=cursor), 422)
    problem(ask(url, id=id_of(url, 3), k=5, cursor="nonsense"), 422)


def test_a_cursor_that_the_service_did_not_give_is_refused(url: str) -> None:
    asking: dict[str, Any] = {"photo": data_url(jpeg(3)), "k": 2}
    given = found(url, **asking)["next"]
    assert found(url, **asking, cursor=given)["hits"]
    assert "no further pages" in problem(ask(url, **asking, cursor=given, diversity=0.5), 422)
    inner, _, signature = given.rpartition(".")
    for forged in (inner, f"{inner}.", f".{signature}", f"{inner}.{signature[::-1]}", f"{inner}.é"):
        assert "not a cursor of this service" in problem(ask(url, **asking, cursor=forged), 422)


@pytest.mark.parametrize(("key", "status"), [("shared between servers", 200), ("another", 422)])
def test_servers_that_share_a_key_take_each_other_s_cursors(
    tiny_gallery: Path, key: str, status: int
) -> None:
    with (
        held_server(tiny_gallery, cursor_key="shared between servers") as (port, _),
        held_server(tiny_gallery, cursor_key=key) as (other, _),
    ):
        asking: dict[str, Any] = {"photo": data_url(jpeg(3)), "k": 2}
        given = found(f"http://127.0.0.1:{port}", **asking)["next"]
        answer = ask(f"http://127.0.0.1:{other}", **asking, cursor=given)
        assert answer.status_code == status


def test_like_some_and_unlike_others(url: str) -> None:
    both = found(url, photo=[data_url(jpeg(3)), data_url(jpeg(7))], k=3)
    assert {id_of(url, 3), id_of(url, 7)} < set(ids(both))
    by_id = found(url, id=[id_of(url, 3), id_of(url, 7)], k=20)
    assert len(by_id["hits"]) == 11, "what was asked with is left out"
    unlike = found(url, photo=data_url(jpeg(3)), not_id=id_of(url, 7), k=20)
    assert id_of(url, 7) not in ids(unlike)
    form = [("photo", ("a", jpeg(3))), ("photo", ("b", jpeg(7))), ("not_photo", ("c", jpeg(5)))]
    answer = httpx.post(f"{url}/api/v1/search", files=form, data={"k": "3"})
    said = found(
        *(url,),
        photo=[data_url(jpeg(3)), data_url(jpeg(7))],
        not_photo=data_url(jpeg(5)),
        k=3,
    )
    assert answer.json() == said


def test_a_box_is_the_part_that_counts(url: str) -> None:
    two = Image.new("RGB", (192, 72))
    two.paste(plate(8), (0, 0))
    two.paste(plate(2), (96, 0))
    out = io.BytesIO()
    two.save(out, "PNG")
    for box, seed in (((0, 0, 0.5, 1), 8), ((0.5, 0, 0.5, 1), 2)):
        assert ids(found(url, photo=data_url(out.getvalue()), box=box, k=1)) == [id_of(url, seed)]
        answer = httpx.post(
            f"{url}/api/v1/search",
            files={"photo": out.getvalue()},
            data={"box": ",".join(map(str, box)), "k": "1"},
        )
        assert ids(answer.json()) == [id_of(url, seed)]
    # The whole of a photo of the gallery is that photo, though it was cut by a box.
    whole = found(url, id=id_of(url, 3), box=(0, 0, 1, 1), k=13)
    assert ids(whole) == ids(found(url, id=id_of(url, 3), k=13))


def test_each_of_several_photos_may_have_a_box(url: str, gallery: Path) -> None:
    two = Image.new("RGB", (192, 72))
    halves = {8: (0, 0, 0.5, 1), 2: (0.5, 0, 0.5, 1)}
    for at, seed in enumerate(halves):
        two.paste(plate(seed), (96 * at, 0))
    out = io.BytesIO()
    two.save(out, "PNG")
    photo, (left, right), other = data_url(out.getvalue()), halves.values(), id_of(url, 5)
    wanted = {"photo": photo, "box": left}
    answers = (
        found(
            url,
            photo=[wanted],
            id={"id": id_of(url, 2), "box": (0, 0, 1, 1)},
            not_photo=[{"photo": photo, "box": right, "weight": 2}],
            not_id=other,
            k=10,
        ),
        httpx.post(
            f"{url}/api/v1/search",
            files=[("photo", out.getvalue()), ("not_photo", out.getvalue())],
            data={
                "id": id_of(url, 2),
                "not_id": other,
                "k": "10",
                "weights": '{"not_photo": 2}',
                "boxes": json.dumps(
                    {"photo": [left], "id": [(0, 0, 1, 1)], "not_photo": [right], "not_id": [None]}
                ),
            },
        ).json(),
    )
    assert answers[0]["hits"] == answers[1]["hits"]
    check_clients(
        url, gallery, out.getvalue(), (left, right), id_of(url, 2), other, ids(answers[0])
    )
    plates = [io.BytesIO(), io.BytesIO()]
    for seed, file in zip(halves, plates, strict=True):
        plate(seed).save(file, "PNG")
    whole, unwanted = (data_url(file.getvalue()) for file in plates)
    cut = found(
        url,
        photo=whole,
        id=id_of(url, 2),
        not_id=other,
        k=10,
        not_photo={"photo": unwanted, "weight": 2},
    )
    assert ids(cut) == ids(answers[0])
    assert ids(cut) != ids(found(url, photo=photo, id=id_of(url, 2), not_id=other, k=10))
    for boxes, said in (
        ('{"photo": [null, null]}', "`boxes`: 2 for 1 `photo`: give one for each"),
        ('{"photo": [[0, 0, 2, 1]]}', "not inside"),
        ('{"words": [[0, 0, 1, 1]]}', "`boxes`: there is no field `words`"),
        ('{"photo": [[0, 0, 1]]}', "`boxes`: give `photo.0.3`"),
        ("[", "not JSON"),
    ):
        files = {"photo": out.getvalue()}
        answer = httpx.post(f"{url}/api/v1/search", files=files, data={"boxes": boxes})
        assert said in problem(answer, 422)
    both = ask(url, id=[{"id": other, "box": (0, 0, 1, 1)}], box=(0, 0, 1, 1))
    assert "not both" in problem(both, 422)


def check_clients(
    url: str,
    gallery: Path,
    photo: bytes,
    halves: Iterable[tuple[float, float, float, float]],
    like: str,
    unlike: str,
    wanted: list[str],
) -> None:
    """The client, the Python API and the command ask the same, with a box for each photo."""
    left, right = halves
    examples: BatchQuestion = {
        "photo": Weighted(photo, box=left),
        "id": Weighted(like, box=(0, 0, 1, 1)),
        "not_photo": Weighted(photo, 2, box=right),
        "not_id": unlike,
        "k": 10,
    }
    with Client(url) as client, deepfood.open_gallery(gallery) as opened:
        assert [hit.id for hit in client.search(**examples).hits] == wanted
        (of_batch,) = client.search_batch([examples]).answers
        assert of_batch.result is not None
        assert [hit.id for hit in of_batch.result.hits] == wanted
        assert [hit.photo.id for hit in opened.search(**examples).hits] == wanted
        with pytest.raises(QueryError, match="only photos have a box"):
            client.search(words=Weighted("mint", box=left))
        with pytest.raises(QueryError, match="not both"):
            opened.search(id=Weighted(like, box=left), box=left)
    for name in ("two.png", "other.png"):
        (gallery.parent / name).write_bytes(photo)
    two, other = gallery.parent / "two.png", gallery.parent / "other.png"
    search = ("search", gallery, two, "--not-photo", other, "--not-id", unlike)
    boxes = {two: "0,0,0.5,1", like: "0,0,1,1", other: "0.5,0,0.5,1"}
    given = [("--box", f"{one}={box}") for one, box in boxes.items()]
    said = run_deepfood(
        *(*search, "--id", like, "-k", 10, "--json", "--weight", f"{other}=2"),
        *(text for pair in given for text in pair),
    )
    assert ids(json.loads(said)) == wanted
    for wrong, why in (
        (("--id", like, "--box", "0,0,0.5,1"), "of several photos, name the one: --box dinner.jpg"),
        (("--box", f"{two}=0,0,0.5"), "give EXAMPLE=X,Y,WIDTH,HEIGHT"),
        (("--box", "no.jpg=0,0,1,1"), "no photo, id or words of this search is 'no.jpg'"),
    ):
        assert why in fails(*search, *wrong)


def test_groups_and_variety(url: str) -> None:
    photo = data_url(jpeg(3))
    plain = found(url, photo=photo, k=2)
    grouped = found(url, photo=photo, k=2, group_duplicates=True)
    first = grouped["hits"][0]
    assert [first["id"], *ids({"hits": first["alike"]})] == ids(plain)
    assert first["alike"][0]["score"] == plain["hits"][1]["score"]
    varied = found(url, photo=photo, k=3, diversity=0.9)
    assert ids(varied)[0] == ids(plain)[0]
    assert ids(plain)[1] not in ids(varied)
    assert varied["next"] is None


@pytest.mark.parametrize(
    ("question", "said"),
    [
        ({"where": "price <"}, "expected"),
        ({"where": "calories < 5"}, "there is no attribute 'calories'"),
        ({"where": "price < 1 OR " * 40 + "price < 1"}, "41 comparisons"),
        ({"where": "x" * 5000}, "4096"),
        ({"where": "NOT " * 500 + "price < 1"}, "nested more than 32 deep"),
        ({"not_id": ["x"] * 8}, "8 at most"),
        ({"box": [0, 0, 2, 1]}, "not inside"),
        ({"box": [0, 0, 1]}, "box"),
        ({"diversity": 2}, "diversity"),
        ({"k": 101}, "k = 101"),
        ({"group_duplicates": "perhaps"}, "group_duplicates"),
    ],
)
def test_what_cannot_be_asked(url: str, question: dict[str, Any], said: str) -> None:
    assert said in problem(ask(url, photo=data_url(jpeg(1)), **question), 422)


def test_a_wrong_filter_is_said_with_its_place(url: str) -> None:
    for where, position in (("price <", 8), ("price << 2", 8), ("calories < 5", None)):
        wrong = ask(url, photo=data_url(jpeg(1)), where=where).json()
        assert (wrong["status"], wrong["field"]) == (422, "where")
        assert wrong.get("position") == position
    assert ask(url, photo=data_url(jpeg(1)), diversity=2).json()["field"] == "diversity"


def test_ids_that_are_not_there(url: str) -> None:
    problem(ask(url, id=["0" * 20]), 404)
    problem(ask(url, photo=data_url(jpeg(1)), not_id="0" * 20), 404)
    problem(ask(url, not_id=id_of(url, 1)), 422)
