"""One name for one idea: in commands, in the API and in the client."""

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.models import ParameterInfo

import deepfood
from deepfood.cli import app
from deepfood.config import Settings
from deepfood.serve.api.responses import UrlsOut
from deepfood.serve.app import create_app
from deepfood.serve.service import open_service
from deepfood_client import Client
from deepfood_client.calls import Listing, Question

#: What each option means, in every command that has it. A new option is one of these, or an idea
#: that none of them names.
OPTIONS = {
    # what is searched for: as in the API
    "id": "photos of the gallery in place of files",
    "not-photo": "photos that hits should be unlike",
    "not-id": "photos of the gallery that hits should be unlike",
    "k": "how many photos",
    "where": "a filter that photos must pass",
    "words": "words: what is asked, or a file of them",
    "not-words": "words that hits should be unlike",
    "weight": "how much a photo, id or words count",
    "box": "the part of a photo that counts",
    "diversity": "similarity against variety",
    "group-duplicates": "near-duplicates are one hit",
    "plate": "each dish of a photo by itself",
    "cursor": "which page of an answer",
    "hit": "the photo found that is explained",
    "rank": "its place in the answer",
    "threshold": "similarity of near-duplicates",
    # what is said of photos: as in the API
    "label": "a photo's label",
    "names": "the names that a label may be",
    "template": "what a Model with a text tower is asked about each name",
    "import": "a table of labels to set",
    "name": "what a thing is called",
    "attributes": "a photo's attributes",
    "declare": "an attribute and its type, to be there from now on",
    "type": "the type of a table's column",
    "safety": "an attribute that must be known",
    "drop": "an attribute to take away",
    "undo": "a change to take back",
    # where things come from and go
    "model": "the Model to use",
    "photos-root": "where photos have moved",
    "out": "where the result is written",
    "report": "where a report for people is written",
    "most": "how many of each list",
    "submission": "where guesses for Kaggle are written",
    "json": "the result as JSON",
    "photos": "photos travel too",
    "promote": "the release becomes the latest",
    # what is done
    "compare": "against another Model or gallery, without a change",
    "repair": "mend what is found",
    "forget": "delete the generation before",
    "prune": "delete what is older",
    "remove": "take a deployment away",
    "apply": "do it, in place of a dry run",
    "dry-run": "say what would be done",
    "keep": "how many releases stay",
    "grace-hours": "how old what is deleted must be",
    # what is allowed that is refused by default
    "replace": "photos of another place",
    "allow-loss": "more than half of the photos go",
    "discard": "a manifest that cannot be read goes, or vectors that were not taken",
    "empty": "the gallery has no photos",
    "drop-unreadable": "photos that cannot be read go",
    "even-if-worse": "a Model that finds less is written, or taken",
    "max-drop": "how much less a Model may find",
    "fresh": "an unfinished training goes",
    # how galleries are made and served: as the settings are called
    "index": "kind of index",
    "annoy-trees": "trees of an annoy index",
    "annoy-search-k": "nodes that annoy visits",
    "storage": "number format of stored vectors",
    "parts": "dishes of photos of several have vectors of their own",
    "parts-storage": "number format of these",
    "engine": "where photos are embedded",
    "host": "address to serve on",
    "port": "port to serve on",
    "workers": "processes",
    "threads": "threads",
    # features of vectors
    "feature": "one feature",
    "all": "every feature",
    "lowest": "the lowest values, not the highest",
    # encoders that other people trained
    "variant": "which of a repository's graphs",
    "licence": "the licence of a source that names none",
    "against": "the library that an encoder is from",
    "accept-licence": "a licence with terms of its own is agreed to",
    # learning
    "seed": "seed of all random choices",
    "loss": "the loss",
    "val-share": "what is validated on",
    "backbone": "the network to fine-tune",
    "weights": "the weights to start from",
    "recipe": "a named set of training settings",
    "epochs": "how often through all photos",
    "batch": "photos per step",
    "lr": "learning rate",
    "image-size": "pixels of a training picture",
    "device": "where it is computed",
    "precision": "number format of training",
    "patience": "epochs without a better one",
    "checkpoint-every": "seconds between checkpoints",
    # deployment
    "image": "the Docker image",
    "region": "AWS region",
    "instance-type": "EC2 instance type",
    "min-instances": "least number of instances",
    "max-instances": "greatest number of instances",
    "log-days": "how long logs are kept",
    "certificate": "for HTTPS",
    "platform": "solution stack",
    "setting": "a setting of the service",
}
#: Options that are about the command, not about what it asks.
ABOUT_COMMAND = {"model", "photos_root", "out", "json", "rank"}


def commands() -> Iterator[tuple[str, Any]]:
    """Each command as typer has it, `data get` among them."""

    def walk(command: Any, name: str) -> Iterator[tuple[str, Any]]:
        inside = getattr(command, "commands", None)
        if inside is None:
            yield name, command
        else:
            for sub in inside.values():
                yield from walk(sub, f"{name} {sub.name}".strip())

    yield from walk(typer.main.get_command(app), "")


def options_of(command: Any) -> set[str]:
    """Long names of options, and `k`."""
    return {
        name.lstrip("-")
        for one in command.params
        if one.param_type_name == "option"
        for name in (*one.opts, *one.secondary_opts)
    } - {"help", "h"}


def asked_by(name: str) -> set[str]:
    """What a command asks about, as the API would call it: options, and a PHOTO."""
    command = dict(commands())[name]
    photos = {one.metavar.lower() for one in command.params if one.param_type_name == "argument"}
    options = {one.replace("-", "_") for one in options_of(command)}
    return (photos | options) - ABOUT_COMMAND - {"gallery"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(Settings(gallery="nowhere"), open_service).openapi()


def bodies(document: dict[str, Any], path: str, method: str = "post") -> dict[str, set[str]]:
    """The fields of a request, a set for each content type; forms have an address of their own."""
    paths = [one for one in (path, f"{path}:upload") if one in document["paths"]]
    bodies = [document["paths"][one][method]["requestBody"] for one in paths]
    content = {kind: one for body in bodies for kind, one in body["content"].items()}
    schemas = document["components"]["schemas"]
    names = {kind: one["schema"]["$ref"].rpartition("/")[2] for kind, one in content.items()}
    return {kind: set(schemas[name]["properties"]) for kind, name in names.items()}


def test_every_option_is_one_of_the_glossary() -> None:
    used = set().union(*(options_of(command) for _, command in commands()))
    assert {one.removeprefix("no-") for one in used} == set(OPTIONS)
    assert len(set(OPTIONS.values())) == len(OPTIONS), "two names for one idea"


def test_an_option_is_called_by_one_name() -> None:
    for name, command in commands():
        for one in command.params:
            if one.param_type_name == "option":
                assert len({text.lstrip("-") for text in one.opts} - {"h"}) == 1, (name, one.opts)


def test_a_search_is_asked_in_the_same_words_everywhere(document: dict[str, Any]) -> None:
    fields = bodies(document, "/api/v1/search")
    form = fields["multipart/form-data"]
    # Weight and box are beside the example that they belong to; a form cannot hold them there, nor
    # can a command.
    asked = form - {"weights", "boxes"}
    assert fields["application/json"] == asked | {"url"}
    assert asked_by("search") == asked | {"weight"}
    assert set(Question.__annotations__) | {"photo"} == asked


def test_the_originals_search_stays_as_it_was(document: dict[str, Any]) -> None:
    fields = bodies(document, "/search")
    assert fields == {"application/x-www-form-urlencoded": {"image"}}
    assert set(document["paths"]["/search"]) == {"post"}
    assert set(UrlsOut.model_fields) == {"urls"}


def test_an_explanation_is_asked_in_the_same_words_everywhere(document: dict[str, Any]) -> None:
    fields = bodies(document, "/api/v1/explain")
    assert fields["application/json"] == fields["multipart/form-data"] == asked_by("explain")


def test_a_label_is_asked_for_in_the_same_words_everywhere(document: dict[str, Any]) -> None:
    fields = bodies(document, "/api/v1/label")
    assert fields["application/json"] == fields["multipart/form-data"]
    assert fields["application/json"] == asked_by("label")
    for one in (Client.guess_label, deepfood.Gallery.guess_label):
        assert set(inspect.signature(one).parameters) - {"self"} == fields["application/json"]


def test_feedback_is_given_in_the_same_words_everywhere(document: dict[str, Any]) -> None:
    fields = bodies(document, "/api/v1/feedback")["application/json"]
    assert fields == set(inspect.signature(Client.feedback).parameters) - {"self"}


def test_photos_are_described_in_the_same_words_everywhere(document: dict[str, Any]) -> None:
    added = bodies(document, "/api/v1/photos")
    assert added["application/json"] == added["multipart/form-data"]
    given = set(inspect.signature(Client.add).parameters) - {"self", "only_new"}  # that is a header
    assert added["application/json"] == given
    assert added["application/json"] - {"photo"} == asked_by("add") - {"photos"}
    changed = bodies(document, "/api/v1/photos/{id}", "patch")["application/json"]
    assert changed | {"id"} == asked_by("update") - {"import"}
    declared = bodies(document, "/api/v1/attributes")["application/json"]
    assert declared == set(inspect.signature(Client.declare).parameters) - {"self"}
    assert declared - {"name"} <= asked_by("attributes")


def test_addresses_have_few_parameters(document: dict[str, Any]) -> None:
    asked: dict[str, set[str]] = {}
    for verbs in document["paths"].values():
        for about in verbs.values():
            for one in about.get("parameters", ()):
                asked.setdefault(one["in"], set()).add(one["name"])
    listing = {"where", "words", "label", "sort", "cursor", "around"}
    assert asked == {"path": {"id", "name"}, "query": {"k", "limit", "q", "seed", *listing}}
    asking = (Client.samples, Client.suggest, Client.labels, Client.duplicates)
    of_client = {name for one in asking for name in inspect.signature(one).parameters}
    assert of_client - {"self"} | set(Listing.__annotations__) == asked["query"]


def test_settings_that_are_options_have_the_settings_names() -> None:
    """`build` and `serve` change settings for one run: but for where things are, nothing else."""
    known = set(Settings.model_fields)
    places = {"photos", "out", "json"}
    wishes = {"parts", "no_parts"}  # the gallery remembers it
    consent = {"replace", "allow_loss", "discard", "empty"}
    for name in ("build", "serve"):
        options = {one.replace("-", "_") for one in options_of(dict(commands())[name])}
        assert options - places - wishes - consent <= known


def test_deepfood_itself_says_which_paths_cannot_be_used() -> None:
    """Typer would in words of its own, of several lines."""
    checked = []
    for name, command in commands():
        function = inspect.unwrap(command.callback)
        for parameter, hint in typing.get_type_hints(function, include_extras=True).items():
            kind, *about = typing.get_args(hint) if hasattr(hint, "__metadata__") else (hint,)
            if kind is Path or Path in typing.get_args(kind) or kind == list[Path] | None:
                info = next(one for one in about if isinstance(one, ParameterInfo))
                assert info.parser or not info.readable, (name, parameter)
                checked.append((name, parameter))
    assert len(checked) > 40
