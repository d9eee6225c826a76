"""Clients that are generated from the OpenAPI document, used against a running service."""

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from types import ModuleType
from typing import Any

import httpx
import pytest
from PIL import Image

from deepfood.serve.api.keys import new_key
from live import SmallGallery
from served import serving_here

pytestmark = pytest.mark.slow

KEY, HASH = new_key()
#: What the generator is told: pictures are bytes. docs/programs.md has it too.
CONFIG = {
    "project_name_override": "food-client",
    "package_name_override": "food_client",
    "content_type_overrides": {"image/*": "application/octet-stream"},
    "post_hooks": [],
}


@pytest.fixture(scope="module")
def url(small_gallery: SmallGallery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    gallery = tmp_path_factory.mktemp("generated") / "gallery"
    shutil.copytree(small_gallery.folder, gallery)
    with serving_here(gallery, api_key_hashes=HASH) as url:
        yield url


@pytest.fixture(scope="module")
def generated(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    """The package that openapi-python-client makes, without a warning."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "openapi.json").write_bytes(httpx.get(f"{url}/openapi.json").content)
    made = subprocess.run(
        [
            *(sys.executable, "-m", "openapi_python_client", "generate", "--fail-on-warning"),
            *("--path", "openapi.json", "--config", "config.json"),
            *("--meta", "none", "--output-path", "food_client"),
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    sys.path.insert(0, str(folder))
    yield importlib.import_module("food_client")
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def client(url: str, generated: ModuleType) -> Iterator[Any]:
    with generated.AuthenticatedClient(base_url=url, token=KEY, timeout=300) as client:
        yield client


def call(name: str, **arguments: Any) -> Any:
    """Call an operation, whatever tag it has."""
    for tag in ("search", "gallery", "changes", "operation"):
        try:
            module = importlib.import_module(f"food_client.api.{tag}.{name}")
        except ModuleNotFoundError:
            continue
        return module.sync_detailed(**arguments)
    pytest.fail(f"there is no operation {name}")


def test_it_finds_lists_and_counts(client: Any, small_gallery: SmallGallery) -> None:
    models = importlib.import_module("food_client.models")
    types = importlib.import_module("food_client.types")
    page = call("list_photos", client=client, words="curry", sort="name", limit=3).parsed
    assert (page.total, len(page.photos)) == (15, 3)
    wanted = page.photos[0]
    by_id = call("search", client=client, body=models.SearchRequest(id=wanted.id, k=4)).parsed
    assert len(by_id.hits) == 4
    photo = types.File(BytesIO(small_gallery.photos[9].read_bytes()), "photo.jpg", "image/jpeg")
    form = models.SearchForm(photo=[photo], k=2)
    by_photo = call("search_by_upload", client=client, body=form).parsed
    assert by_photo.hits[0].name == "Curry no. 1"
    assert by_photo.hits[0].attributes.to_dict() == {}
    assert call("get_photo", client=client, id=wanted.id).parsed.name == wanted.name
    thumbnail = call("get_thumbnail", client=client, id=wanted.id).parsed
    assert Image.open(thumbnail.payload).format == "JPEG"
    original = call("get_photo_file", client=client, id=wanted.id).parsed
    assert Image.open(original.payload).size == (wanted.width, wanted.height)
    counts = call("get_facets", client=client, label=["Soups", "Curries"]).parsed
    assert counts.total == 17
    assert call("list_labels", client=client, q="so").parsed.labels[0].count == 2
    assert call("get_gallery", client=client).parsed.photos == 24


def test_it_changes_only_what_it_is_told(client: Any) -> None:
    """Nothing is sent that was not given: null would remove a label."""
    models = importlib.import_module("food_client.models")
    before = call("list_photos", client=client, words='"no 15"').parsed.photos[0]
    changed = call(
        "change_photo", client=client, id=before.id, body=models.ChangeRequest(name="Korma")
    ).parsed
    assert (changed.name, changed.label) == ("Korma", "Curries")
    body = models.AttributeRequest(name="price", type_=models.AttributeRequestType.NUMBER)
    assert call("declare_attribute", client=client, body=body).status_code == 201


def test_errors_are_problems(client: Any) -> None:
    models = importlib.import_module("food_client.models")
    missing = call("get_photo", client=client, id="0" * 20)
    assert missing.status_code == 404
    assert isinstance(missing.parsed, models.Problem)
    wrong = call("search", client=client, body=models.SearchRequest(id="0" * 20, k=0))
    assert wrong.status_code == 422
    assert "k = 0" in wrong.parsed.detail
