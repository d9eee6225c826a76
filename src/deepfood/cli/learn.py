"""`deepfood learn`: a gallery learns from its labels and from votes on its answers."""

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

import deepfood
from deepfood.cli.adapt import print_compared
from deepfood.cli.app import LEARN, ChangedGalleryArgument, Json, app, print_json
from deepfood.cli.reembed import print_renewed, renewed_facts
from deepfood.cli.tune import print_untuned
from deepfood.config import load_settings
from deepfood.counted import counted
from deepfood.place import Place

if TYPE_CHECKING:
    from deepfood.train.learn import LearnReport


@app.command(rich_help_panel=LEARN)
def learn(
    gallery: ChangedGalleryArgument,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random choices.")] = 0,
    val_share: Annotated[
        float,
        typer.Option(
            min=0.05, max=0.5, help="Share of each label's photos and of the votes to judge by."
        ),
    ] = 0.2,
    compare: Annotated[
        bool,
        typer.Option("--compare", help="Only compare what was learned; do not change the gallery."),
    ] = False,
    even_if_worse: Annotated[
        bool,
        typer.Option("--even-if-worse", help="Take the Model even if it is not certainly better."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Learn from a gallery's labels and from votes on its answers, while it can be searched.

    The votes come from people who use the page, with the setting `feedback`. Exit status 1, and
    the gallery keeps its Model, if answers would not certainly be better. `deepfood rollback`
    returns to the generation before.
    """
    report = deepfood.learn_gallery(
        gallery,
        load_settings(),
        seed=seed,
        val_share=val_share,
        compare=compare,
        even_if_worse=even_if_worse,
        quiet=as_json,
    )
    if as_json:
        about = asdict(report)
        del about["renewed"]
        done = report.renewed
        print_json({**about, "renewed": done and renewed_facts(gallery, done)})
    else:
        _print_learned(gallery, report)
    if report.refused:
        print(f"deepfood: {report.refused}", file=sys.stderr)
        raise typer.Exit(1)


def _print_learned(gallery: Place, report: "LearnReport") -> None:
    for note in report.notes:
        print(f"note: {note}")
    heard = report.heard
    print(
        f"{counted(heard.votes, 'vote')} of {counted(heard.sessions, 'session')}, "
        f"{heard.trusted} of them trusted: {counted(heard.questions, 'question')} and "
        f"{counted(heard.photos, 'unlabelled photo')} got a label to learn, "
        f"{counted(heard.doubted, 'label is', 'labels are')} doubted"
    )
    if not report.compared:
        return
    print_compared(report.compared, report.val_photos)
    if report.by_votes:
        one = report.by_votes
        print(
            f"  {'order of hits by votes':22}   {one.before:.3f}   {one.after:.3f}   {one.change}"
        )
    print("of that by the votes, over a head of the labels alone:")
    for name, one in report.by_labels.items():
        print(f"  {name:22}   {one.before:.3f}   {one.after:.3f}   {one.change}")
    if report.renewed:
        print_renewed(gallery, report.renewed, "mapped")
        print_untuned(gallery, report.renewed)
