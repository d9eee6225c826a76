"""What galleries on Milvus must do beyond the contract, on Milvus Lite as on a cluster.

A test module that imports these tests gives the fixtures `engine`, `address` and `settings`.
"""

from typing import Any

import pytest

from deepfood.config import Settings
from deepfood.errors import ArtifactMissingError
from deepfood.evaluate.examine import examine
from deepfood.milvus.address import MilvusAddress
from deepfood.milvus.connection import Connection
from deepfood.milvus.gallery import MilvusGallery
from deepfood.milvus.generations import living
from gallery_contract import Engine


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What Milvus is asked from now on; it is asked all the same."""
    verbs: list[str] = []
    ask = Connection.ask

    def noted(self: Connection, verb: str, **arguments: Any) -> Any:
        verbs.append(verb)
        return ask(self, verb, **arguments)

    monkeypatch.setattr(Connection, "ask", noted)
    return verbs


def test_the_living_generation_is_found_with_one_call(
    engine: Engine, address: MilvusAddress, settings: Settings, asked: list[str]
) -> None:
    assert living(Connection(address, settings)) == f"{address.name}_g000001"
    assert asked == ["describe_alias"]
    nowhere = MilvusAddress(address.uri, "nowhere")
    assert living(Connection(nowhere, settings)) is None
    with pytest.raises(ArtifactMissingError, match="there is no gallery"):
        MilvusGallery.open(nowhere, settings)


def test_an_evaluation_fetches_the_photos_once(
    engine: Engine,
    address: MilvusAddress,
    settings: Settings,
    asked: list[str],
) -> None:
    for number, photo in enumerate(engine.open().photos()[0]):
        with engine.writing() as writer:
            writer.update(photo.id, label="even" if number % 2 else "odd")
    del asked[:]
    found = examine(address, None, settings, k=3, seed=0, quiet=True)
    assert found.index_recall.value == 1
    assert len(found.evaluation.trial.queries.ids) == engine.open().count
    assert asked.count("query_iterator") == 1
