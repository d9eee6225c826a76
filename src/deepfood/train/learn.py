"""`deepfood learn`: a gallery learns from its labels and from votes on its answers.

Votes become labels of questions and of photos that have none (`gallery/crowd.py`), and a head is
fitted to these and the gallery's labelled photos. It is judged on photos and on sessions that it
has not learned from, against the gallery as it is; and against a head of the labels alone, so that
what labels bring does not hide what votes spoil. The next generation is then made beside the living
one from its vectors: the head of a stored vector is what the new Model makes of the photo.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from deepfood import __version__
from deepfood.counted import counted
from deepfood.errors import ArtifactBusyError, DatasetError
from deepfood.evaluate.gate import DECISIVE, BeforeAfter, Judgement, LostLabel, answers_of, judge
from deepfood.evaluate.metrics import measure
from deepfood.evaluate.voted import judge_by_votes, order_by_session
from deepfood.gallery.crowd import infer_labels, neighbour_beliefs, trust_of, with_labels
from deepfood.gallery.feedback import Feedback
from deepfood.gallery.logistic import Bools
from deepfood.gallery.reports import RenewReport
from deepfood.gallery.vote import Floats, Labels
from deepfood.local.gallery import LocalGallery
from deepfood.local.manifest import LocalManifest, gallery_model
from deepfood.local.renew import leaves_work, remap
from deepfood.model import Model, open_model
from deepfood.train.cross_validate import choose_head
from deepfood.train.head import Vectors, apply_head, fit_head
from deepfood.train.losses import LossName
from deepfood.train.material import HeldOut, Material, gather, hold_out, left_out
from deepfood.train.with_head import write_with_head

#: What is believed of a question or photo is learned from if it is at least so sure.
_SURE = 0.5
_LOSS: LossName = "supcon"
_WAY_OUT = "the gallery keeps its Model (--even-if-worse takes the new one)"


@dataclass(frozen=True)
class Heard:
    """What the votes told: of how many `sessions`, and how many of these are `trusted`.

    `questions` and `photos`, which had no label, have one by votes that is sure enough to be
    learned from. Of `doubted` photos the label is left out, or another is learned.
    """

    votes: int
    sessions: int
    trusted: int
    questions: int
    photos: int
    doubted: int


@dataclass(frozen=True)
class LearnReport:
    """The result of `learn`. `refused` is the reason if the gallery was to change and did not.

    `compared` are the gate's figures of the gallery as it is and of the learned Model, on held-out
    photos, and `lost` the labels that lost; `by_labels` those of a head of the labels alone and of
    the learned Model, where held-out photos find each other. `by_votes` is how well held-out votes
    are in order, by `judging_sessions`; None where none can judge. `renewed` is the new generation,
    None where there is none.
    """

    labels: tuple[str, ...]
    train_photos: int
    val_photos: int
    heard: Heard
    compared: dict[str, BeforeAfter]
    lost: tuple[LostLabel, ...]
    by_labels: dict[str, BeforeAfter]
    by_votes: BeforeAfter | None
    judging_sessions: int
    refused: str | None
    notes: tuple[str, ...]
    renewed: RenewReport[LocalManifest] | None = None


@dataclass(frozen=True)
class _Told:
    """What there is to fit a head to: vectors float32 [m, dim], labels int64 [m], without gaps.

    `names` are those of the labels, `ids` of the photos among the vectors; `trusted` bool [v] are
    the votes of trusted sessions.
    """

    heard: Heard
    names: tuple[str, ...]
    vectors: Vectors
    labels: Labels
    ids: tuple[str, ...]
    trusted: Bools


def learn(
    folder: Path,
    *,
    seed: int = 0,
    val_share: float = 0.2,
    compare: bool = False,
    even_if_worse: bool = False,
    threads: int = 1,
    quiet: bool = False,
) -> LearnReport:
    """Learn from the labels and the feedback of the gallery in `folder`, and renew it.

    `val_share`, at most a half, of each label's photos and of the sessions is held out. A Model
    that is worse, or certainly better in nothing, is not taken without `even_if_worse`; votes that
    tell nothing change nothing in any case. `compare` only judges. Raises DatasetError where there
    are no votes, or too few labels, an ArtifactError (ArtifactBusyError where a `reembed` is not
    finished, whose vectors would be lost) or DiskFullError.
    """
    base = gallery_model(folder)
    if not compare and leaves_work(folder, base):
        raise ArtifactBusyError(
            f"{folder} is being embedded again, or that was interrupted: go on with it (deepfood "
            f"reembed), or delete its vectors (deepfood reembed {folder} --discard)"
        )
    notes: list[str] = []
    with Feedback.open(folder) as feedback:
        table = feedback.read(base.fingerprint)
        others = feedback.counts().votes - len(table)
    if others:
        notes.append(left_out(others, "on answers of another Model"))
    with LocalGallery.open(folder, base) as gallery:
        material = gather(gallery, table, notes, seed=seed)
    held = hold_out(material, base.trained_on, val_share, seed=seed)
    if not held.photos.any():
        raise DatasetError(
            f"{folder} has no labelled photos to judge by that its Model has not learned from: "
            "label more, three of a label at least, or give it another Model (deepfood reembed)"
        )
    told = _listen(material, held)
    if unheard := _unheard(told.heard):
        return _report(material, held, told, refused=unheard)
    weights, plain = _fit(material, held, told, seed=seed, threads=threads, quiet=quiet)
    report = _judged(material, held, told, weights, plain, seed)
    if reason := why_not(report):
        if compare or even_if_worse:
            report = replace(report, notes=(*report.notes, reason))
        else:
            return replace(report, refused=f"{reason}; {_WAY_OUT}")
    if compare:
        return report
    with TemporaryDirectory(prefix="deepfood-learn-") as temporary:
        _write(Path(temporary), base, weights, report, told, seed)
        model = open_model(Path(temporary))
        done = remap(folder, base, model, lambda some: apply_head(some, weights), quiet=quiet)
    return replace(report, renewed=done)


def _listen(material: Material, held: HeldOut) -> _Told:
    """Infer labels from the votes that are not held out."""
    known = (material.labels >= 0) & ~held.photos
    given = np.where(known, material.labels, -1)
    voted, photo = np.unique(material.votes.photo, return_inverse=True)
    votes = replace(material.votes, photo=photo.astype(np.int64))
    asked, near = (
        neighbour_beliefs(one, material.photos[known], given[known], len(material.names))
        for one in (material.questions, material.photos[voted])
    )
    every_label = with_labels(near, material.labels[voted])
    trust = trust_of(votes, asked, every_label, len(material.session_ids))
    trusted = trust[votes.session] > 0.5
    used = votes.select(held.learned_from(votes) & trusted)
    believed = infer_labels(used, asked, with_labels(near, given[voted]), trust)
    shown, photos = (np.where(one.max(axis=1) >= _SURE, one.argmax(axis=1), -1) for one in believed)
    heard = np.unique(used.question)
    heard = heard[shown[heard] >= 0]
    of_votes = np.unique(used.photo)
    of_votes = of_votes[~held.photos[voted[of_votes]]]
    learned = given.copy()
    learned[voted[of_votes]] = photos[of_votes]
    kept = np.flatnonzero(learned >= 0)
    numbers, labels = np.unique(np.concatenate([learned[kept], shown[heard]]), return_inverse=True)
    return _Told(
        Heard(
            votes=len(votes.right),
            sessions=len(trust),
            trusted=int((trust > 0.5).sum()),
            questions=len(heard),
            photos=int(((given < 0) & (learned >= 0)).sum()),
            doubted=int((known & (learned != given)).sum()),
        ),
        tuple(material.names[one] for one in numbers),
        np.concatenate([material.photos[kept], material.questions[heard]]),
        labels.astype(np.int64),
        tuple(material.ids[row] for row in kept),
        trusted,
    )


def _unheard(heard: Heard) -> str:
    """Why nothing can be learned from the votes; "" where something can."""
    if not heard.trusted:
        return (
            f"nothing is learned: the votes of {counted(heard.sessions, 'session')} match the "
            "gallery's labels no more often than by chance"
        )
    if not heard.questions and not heard.photos:
        return (
            f"nothing is learned: {counted(heard.votes, 'vote')} cannot say surely enough what any "
            "question or unlabelled photo shows; more of them will"
        )
    return ""


def _fit(
    material: Material, held: HeldOut, told: _Told, *, seed: int, threads: int, quiet: bool
) -> tuple[Vectors, Vectors]:
    """The head of labels and votes, and that of the labels alone."""
    tried = choose_head(told.vectors, told.labels, _LOSS, seed=seed, threads=threads, quiet=quiet)
    known = (material.labels >= 0) & ~held.photos
    labels = np.unique(material.labels[known], return_inverse=True)[1].astype(np.int64)
    before_threads = torch.get_num_threads()
    torch.set_num_threads(1)  # its matrix products are too small for several threads
    try:
        weights, plain = (
            fit_head(*one, tried.best.choice, _LOSS, seed=seed)
            for one in ((told.vectors, told.labels), (material.photos[known], labels))
        )
    finally:
        torch.set_num_threads(before_threads)
    # As the network will have them.
    return weights.astype(np.float16).astype(np.float32), plain


def _judged(
    material: Material,
    held: HeldOut,
    told: _Told,
    weights: Vectors,
    plain: Vectors,
    seed: int,
) -> LearnReport:
    queries, names = material.labels[held.photos], material.names
    judgement = judge(
        _answers(material, held, None), _answers(material, held, weights), queries, names, seed=seed
    )
    by_labels = judge(
        _answers_among_held_out(material, held, plain),
        _answers_among_held_out(material, held, weights),
        queries,
        names,
        seed=seed,
    )
    votes = material.votes.select(held.judged_by(material.votes) & told.trusted)
    questions, photos = (apply_head(one, weights) for one in (material.questions, material.photos))
    by_votes, sessions = judge_by_votes(
        order_by_session(votes, material.questions, material.photos),
        order_by_session(votes, questions, photos),
        seed=seed,
    ) or (None, 0)
    # What says that it is worse names the labels that lost, too.
    unjudged = ["" if judgement.worse() else judgement.losses(), judgement.unjudged()]
    if by_votes is None or by_votes.interval is None:
        unjudged.append(f"too few sessions are held out to judge by their votes: {sessions}")
    report = _report(material, held, told)
    return replace(
        report,
        compared=judgement.figures,
        lost=judgement.lost,
        by_labels=by_labels.figures,
        by_votes=by_votes,
        judging_sessions=sessions,
        notes=(*report.notes, *filter(None, unjudged)),
    )


def _answers(material: Material, held: HeldOut, weights: Vectors | None) -> dict[str, Floats]:
    """What held-out photos find among the other labelled photos."""
    vectors = material.photos if weights is None else apply_head(material.photos, weights)
    others = (material.labels >= 0) & ~held.photos
    queries, labels = material.labels[held.photos], material.labels[others]
    found = measure(vectors[held.photos], queries, vectors[others], labels)
    return answers_of(found, queries, labels)


def _answers_among_held_out(
    material: Material, held: HeldOut, weights: Vectors
) -> dict[str, Floats]:
    """What held-out photos find among each other.

    A head brings the photos that it was fitted to together, also if it learned little. So heads of
    different photos can be compared only with photos that are in neither.
    """
    vectors, labels = (
        apply_head(material.photos[held.photos], weights),
        material.labels[held.photos],
    )
    found = measure(vectors, labels, vectors, labels, own_rows=np.arange(len(labels)))
    return answers_of(found, labels, labels)


def _report(
    material: Material, held: HeldOut, told: _Told, refused: str | None = None
) -> LearnReport:
    """The report before anything was judged."""
    return LearnReport(
        labels=told.names,
        train_photos=len(told.ids),
        val_photos=int(held.photos.sum()),
        heard=told.heard,
        compared={},
        lost=(),
        by_labels={},
        by_votes=None,
        judging_sessions=0,
        refused=refused,
        notes=material.notes,
    )


def why_not(report: LearnReport) -> str:
    """Why the learned Model should not be taken; "" where it should."""
    photos = Judgement(report.compared, report.lost)
    if worse := photos.worse():
        return f"the learned Model is worse on held-out photos: {worse}"
    votes = report.by_votes
    if votes and votes.is_significant and votes.difference < 0:
        return (
            f"the learned Model brings the hits of held-out votes into a worse order: "
            f"{votes.after:.3f} (before: {votes.before:.3f})"
        )
    if worse := Judgement(report.by_labels, ()).worse(decisive=None):
        return f"the votes make it worse than the labels alone do: {worse}"
    decisive = report.compared[DECISIVE]
    if not any(one and one.is_significant and one.difference > 0 for one in (decisive, votes)):
        said = f", held-out votes {votes.change}" if votes else ""
        return f"the learned Model is not certainly better: {DECISIVE} {decisive.change}{said}"
    return ""


def _write(
    out: Path, base: Model, weights: Vectors, report: LearnReport, told: _Told, seed: int
) -> None:
    write_with_head(
        out,
        base,
        weights,
        _card(base, report),
        made="learned",
        trained_on=told.ids,
        labels=told.names,
        training=_record(base, report, seed),
    )


def _record(base: Model, report: LearnReport, seed: int) -> dict[str, Any]:
    about = asdict(report)
    del about["renewed"], about["refused"], about["labels"]
    record = {
        "method": "learn",
        "base": {"name": base.manifest.name, "fingerprint": base.fingerprint},
        "loss": _LOSS,
        "seed": seed,
        **about,
        "versions": {"deepfood": __version__, "torch": str(torch.__version__)},
    }
    plain: dict[str, Any] = json.loads(json.dumps(record))  # tuples as lists, as a manifest has it
    return plain


def _card(base: Model, report: LearnReport) -> str:
    heard = report.heard
    rows = [*report.compared.items()]
    if report.by_votes:
        rows.append(("order of held-out votes", report.by_votes))
    table = "\n".join(
        f"| {name} | {one.before:.3f} | {one.after:.3f} | {one.change} |" for name, one in rows
    )
    notes = "".join(f"- {note}\n" for note in report.notes) or "- none\n"
    return f"""# {base.manifest.name}, learned

A head on {base.manifest.name}, fitted by `deepfood learn` to
{counted(report.train_photos, "photo")} of a gallery and {counted(heard.questions, "question")}, of
{counted(report.labels, "label")}. The labels of the questions, and of
{counted(heard.photos, "photo")} that had none, are from votes of
{counted(heard.trusted, "session")}. Measured on {counted(report.val_photos, "held-out photo")}:

| | before | after | difference (95 % interval) |
|---|---|---|---|
{table}

The ids of the photos it was trained on are in `trained_on.txt`; measured on these it looks better
than it is.

## Notes on the data

{notes}
Licence: {base.manifest.licence}, as {base.manifest.name}.
"""
