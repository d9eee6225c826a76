"""A week of use: what `deepfood learn` makes of votes, of honest people and of liars.

    python benchmarks/use.py FOLDER [--labelled 0.3] [--sessions 100] [--hostile 0 0.3 1]

FOLDER has a folder of photos a label, 300 or more of each, which are embedded with the Model that
ships. 200 of a label are the gallery; of these a share has labels, one of ten of which is wrong. 50
others are what visitors ask with: a session asks five questions, and votes on the nine hits of
each, one vote of five being wrong. The last 50 are asked before and after, and are judged by all
right labels. Hostile sessions vote all hits wrongly; camouflaged ones do so for photos without a
label only, where nothing contradicts them.
"""

import argparse
import hashlib
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

import deepfood
from deepfood.config import load_settings
from deepfood.data.photo_file import photo_id
from deepfood.embed import Vectors
from deepfood.evaluate.confidence import paired
from deepfood.evaluate.metrics import Labels, measure
from deepfood.gallery.feedback import Feedback, Vote
from deepfood.local.manifest import gallery_model
from deepfood.train.cross_validate import choose_head
from deepfood.train.fuse import take_off_head
from deepfood.train.head import apply_head, fit_head

_GALLERY, _ASKED, _HITS, _EACH = 200, 50, 9, 5
_WRONG_LABELS, _WRONG_VOTES = 0.1, 0.2
_FIGURES = ("precision@1", "precision@9", "mAP")


@dataclass(frozen=True)
class Photos:
    """Photos with their right labels and vectors, float32 [n, dim]."""

    files: list[str]
    labels: Labels
    vectors: Vectors

    def select(self, rows: npt.NDArray[np.int64]) -> "Photos":
        return Photos([self.files[row] for row in rows], self.labels[rows], self.vectors[rows])


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--labelled", type=float, nargs="*", default=[0.3])
    parser.add_argument("--sessions", type=int, default=100)
    parser.add_argument("--hostile", type=float, nargs="*", default=[0, 0.2, 0.4, 0.6, 1])
    parser.add_argument("--camouflaged", type=float, nargs="*", default=[])
    parser.add_argument("--weeks", type=int, default=1)
    parser.add_argument("--seeds", type=int, nargs="*", default=[0])
    options = parser.parse_args()

    found = deepfood.embed_photos(options.folder, load_settings(), quiet=False)
    names, labels = np.unique([one.label or "" for one in found.files], return_inverse=True)
    photos = Photos(
        [one.file for one in found.files],
        labels.astype(np.int64),
        np.asarray(found.vectors, np.float32),
    )
    print(f"| seed | labelled | liars | trusted | taken | {' | '.join(_FIGURES)} | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        for labelled in options.labelled:
            with tempfile.TemporaryDirectory() as work:
                world = _World(photos, options.folder, names.tolist(), labelled, Path(work), seed)
                world.labels_alone()
                for hostile in options.hostile:
                    world.week(options.sessions, hostile, camouflaged=False, weeks=options.weeks)
                for hostile in options.camouflaged:
                    world.week(options.sessions, hostile, camouflaged=True, weeks=options.weeks)


class _World:
    """A gallery, of whose copies each lives through a week."""

    def __init__(
        self,
        photos: Photos,
        folder: Path,
        names: list[str],
        labelled: float,
        work: Path,
        seed: int,
    ) -> None:
        rng = np.random.default_rng(seed)
        rows = np.array(
            [
                rng.permutation(np.flatnonzero(photos.labels == label))[: _GALLERY + 2 * _ASKED]
                for label in range(len(names))
            ]
        )
        self.photos, self.visitors, self.judges = (
            photos.select(part.reshape(-1))
            for part in np.split(rows, [_GALLERY, _GALLERY + _ASKED], axis=1)
        )
        given = self.photos.labels.copy()
        wrong = rng.random(len(given)) < _WRONG_LABELS
        given[wrong] = (given[wrong] + rng.integers(1, len(names), wrong.sum())) % len(names)
        given[rng.random(len(given)) >= labelled] = -1
        lines, self.ids = ["photo,label"], []
        for number, (file, label) in enumerate(zip(self.photos.files, given.tolist(), strict=True)):
            data = (folder / file).read_bytes()
            (work / f"{number}.jpg").write_bytes(data)
            lines.append(f"{number}.jpg,{names[label] if label >= 0 else ''}")
            self.ids.append(photo_id(hashlib.sha256(data).hexdigest()))
        (work / "photos.csv").write_text("\n".join(lines))
        self.gallery, self.work = work / "gallery", work
        deepfood.build_gallery(work / "photos.csv", self.gallery, load_settings())
        self.given, self.labelled, self.seed = given, labelled, seed

    def week(self, sessions: int, hostile: float, *, camouflaged: bool, weeks: int) -> None:
        """Copy the gallery, vote, learn, and print what came of it."""
        copy = self.work / "copy"
        shutil.copytree(self.gallery, copy)
        rng = np.random.default_rng([self.seed, 1])
        heads: list[Vectors] = []
        for week in range(weeks):
            self._vote(copy, rng, sessions, hostile, camouflaged, heads)
            started = time.monotonic()
            report = deepfood.learn_gallery(copy, load_settings(), seed=self.seed)
            seconds = time.monotonic() - started
            if report.renewed:
                heads = [_head_of(copy)]
            print(
                f"| {self.seed} | {self.labelled:.0%} | {hostile:.0%}"
                f"{' camouflaged' if camouflaged else ''}{f', week {week + 1}' if week else ''} | "
                f"{report.heard.trusted} of {report.heard.sessions} | "
                f"{'yes' if report.renewed else 'no'} | {self._changes(heads)} | {seconds:.0f} |",
                flush=True,
            )
            if report.refused:
                print(f"    {report.refused}")
        shutil.rmtree(copy)

    def _vote(
        self,
        gallery: Path,
        rng: np.random.Generator,
        sessions: int,
        hostile: float,
        camouflaged: bool,
        heads: list[Vectors],
    ) -> None:
        model = gallery_model(gallery).fingerprint
        photos, visitors = (
            _mapped(self.photos.vectors, heads),
            _mapped(self.visitors.vectors, heads),
        )
        asked = rng.permutation(len(visitors))
        votes = []
        for session in range(sessions):
            lies = session < hostile * sessions
            for number in range(_EACH):
                question = int(asked[(session * _EACH + number) % len(asked)])
                hits = np.argsort(-photos @ visitors[question])[:_HITS]
                for hit in hits.tolist():
                    right = self.photos.labels[hit] == self.visitors.labels[question]
                    if lies:
                        right ^= not camouflaged or self.given[hit] < 0
                    else:
                        right ^= rng.random() < _WRONG_VOTES
                    name = f"{question:064x}"
                    votes.append(
                        Vote(
                            *(f"{model[:8]}-{session}", name, self.ids[hit], bool(right)),
                            *(time.time(), model, visitors[question], "photo"),
                        )
                    )
        with Feedback.open(gallery, create=True) as feedback:
            feedback.add(votes)

    def labels_alone(self) -> None:
        """Print what a head of the gallery's labels brings, without any vote."""
        known = self.given >= 0
        vectors = self.photos.vectors[known]
        labels = np.unique(self.given[known], return_inverse=True)[1].astype(np.int64)
        tried = choose_head(vectors, labels, "supcon", seed=self.seed, quiet=True)
        head = fit_head(vectors, labels, tried.best.choice, "supcon", seed=self.seed)
        print(
            f"| {self.seed} | {self.labelled:.0%} | labels alone | - | - | "
            f"{self._changes([head])} | - |",
            flush=True,
        )

    def _changes(self, heads: list[Vectors]) -> str:
        before, after = (
            measure(
                _mapped(self.judges.vectors, some),
                self.judges.labels,
                _mapped(self.photos.vectors, some),
                self.photos.labels,
            ).metrics
            for some in ([], heads)
        )
        cells = []
        for name in _FIGURES:
            found = paired(before[name], after[name], seed=self.seed)
            assert found is not None
            cells.append(
                f"{found.first:.3f} to {found.second:.3f} "
                f"({found.by.low:+.3f} to {found.by.high:+.3f})"
            )
        return " | ".join(cells)


def _head_of(gallery: Path) -> Vectors:
    head = take_off_head(gallery_model(gallery).onnx.read_bytes())[1]
    assert head is not None
    return head


def _mapped(vectors: Vectors, heads: list[Vectors]) -> Vectors:
    for head in heads:
        vectors = apply_head(vectors, head)
    return vectors


if __name__ == "__main__":
    main()
