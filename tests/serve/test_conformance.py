"""What the OpenAPI document promises, asked of a real server with requests made from it."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from deepfood.serve.api.keys import new_key
from served import serving_here

pytestmark = pytest.mark.slow

KEY, HASH = new_key()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(tiny_gallery: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The document of a server of a gallery that may be changed."""
    gallery = tmp_path_factory.mktemp("conformance") / "gallery"
    shutil.copytree(tiny_gallery, gallery)
    root = tiny_gallery.parent / "photos"
    with serving_here(gallery, api_key_hashes=HASH, photos_root=root, feedback="true") as url:
        yield schemathesis.openapi.from_url(f"{url}/openapi.json")


def test_answers_are_what_the_document_says(document: Any) -> None:
    asked = []
    for found in document.get_all_operations():
        operation = found.ok()

        @settings(
            max_examples=8,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def ask(case: schemathesis.Case[Any]) -> None:
            key = {"Authorization": f"Bearer {KEY}"}
            case.call_and_validate(headers=key, checks=CHECKS, timeout=300)

        ask()
        asked.append(operation.label)
    assert len(asked) >= 12
