"""The law of galleries, kept by the local engine."""

import shutil
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule

from deepfood.data.locate import PhotoAccess
from deepfood.errors import PhotoNotFoundError
from deepfood.index import Storage
from deepfood.local import LocalGallery
from deepfood.local.renew import compact
from deepfood.local.verify import gallery_problems
from deepfood.release.pull import pull
from deepfood.release.push import push
from law import Law, check_law


class LocalLaw(Law):
    def new_place(self) -> str:
        return str(self.home / "gallery")

    @rule(storage=st.sampled_from(["f32", "f16", "i8"]), index=st.sampled_from(["exact", "hnsw"]))
    def build_otherwise(self, storage: Storage, index: str) -> None:
        self.settings = self.settings.model_copy(update={"storage": storage, "index": index})
        self.build()

    @rule()
    def drop_holes(self) -> None:
        if self._now():
            compact(Path(self.place), self.embedder().model, quiet=True)

    @rule()
    def push_and_pull(self) -> None:
        bucket, pulled = self.home / "bucket", self.home / "pulled"
        push(Path(self.place), str(bucket), self.settings, quiet=True)
        pull(str(bucket), pulled, self.settings, quiet=True)
        shutil.rmtree(self.place)
        pulled.rename(self.place)
        shutil.rmtree(bucket)
        self.before = None

    @property
    def _access(self) -> PhotoAccess:
        return PhotoAccess(moved_to=self.photos)

    @invariant()
    def is_whole_but_for_files_that_changed(self) -> None:
        if hasattr(self, "home"):
            changed = self._changed()
            for line in gallery_problems(Path(self.place), self._access, quiet=True):
                assert any(one in line for one in changed), line

    def _changed(self) -> list[str]:
        """The ids of photos whose files are gone or altered since the build."""
        found = []
        with LocalGallery.open(Path(self.place), photos=self._access) as opened:
            for photo in opened.store.photos():
                try:
                    opened.read(photo)
                except PhotoNotFoundError:
                    found.append(photo.id)
        return found


@pytest.mark.slow
def test_what_people_said_is_what_the_gallery_says() -> None:
    check_law(LocalLaw, examples=8, steps=25)
