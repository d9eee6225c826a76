"""The law of galleries, kept on Milvus Lite."""

import secrets
from collections.abc import Iterator
from typing import ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule
from milvus_lite.adapter.grpc.server import start_server_in_thread

from law import Law, check_law


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("lite")
    server, db, port = start_server_in_thread(str(folder / "lite.db"), port=0)
    yield f"milvus://127.0.0.1:{port}"
    server.stop(None).wait()
    db.close()


class MilvusLaw(Law):
    uri: ClassVar[str]

    def new_place(self) -> str:
        return f"{self.uri}/law_{secrets.token_hex(4)}"

    @rule(compared=st.booleans())
    def build_with_the_other_model(self, compared: bool) -> None:
        wanted = self._from_source()
        if wanted or self._added():
            other = self.other()
            if compared:  # it has been begun
                self.at.reembed(other, drop_unreadable=True, swap=False, quiet=True)
            asked = self.settings.model_copy(update={"model": other.model.folder})
            self._build(asked, allow_loss=True)
            self.built, self.before = wanted, self.built


def test_what_people_said_is_what_a_gallery_on_milvus_says(uri: str) -> None:
    MilvusLaw.uri = uri
    check_law(MilvusLaw, examples=3, steps=20)
