"""Somebody else's encoder as a Model: looked up, agreed to, fetched, imported, and proven.

First comes an Offer, which says what would be had and under which licence; nothing large is fetched
for that. Then `get_model` makes the Model beside its place, and puts it there once it has been run.
"""

import difflib
import importlib.util
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from deepfood.artifacts import sha256_of_file, sync_folder
from deepfood.errors import ArtifactBusyError, ArtifactError, SettingError, raising_disk_full
from deepfood.extras import missing_extra
from deepfood.locks import held
from deepfood.model import Model, ModelManifest, open_model
from deepfood.model.artifact import CARD, GOLDEN, write_model
from deepfood.model.encoders import ENCODERS, Encoder
from deepfood.model.hub import PREFIX, Hub, HubSource, Repository
from deepfood.model.hub_layouts import wanted_files
from deepfood.model.imported import Export, import_folder
from deepfood.model.licence import Licence
from deepfood.proof import record_golden

#: Weights that have to be exported.
_FOR_TORCH = (".safetensors", ".bin")
#: The licence of a folder is in here, as in a repository.
_README, _README_BYTES = "README.md", 2**20


@dataclass(frozen=True)
class Offer:
    """What a source has: `files` by the names of its layout, each with its name at the source.

    They are in a `repository` of a `hub`, or in a `folder`. `languages` are those of its words, ""
    if unknown.
    """

    name: str
    licence: Licence
    languages: str
    files: Mapping[str, str]
    hub: Hub | None = None
    repository: Repository | None = None
    folder: Path | None = None

    @property
    def source(self) -> str:
        """Where it is from, for the record."""
        return str(self.repository) if self.folder is None else f"folder {self.folder.name}"

    @property
    def bytes(self) -> int:
        """How large the files are, as far as that is known before they are fetched."""
        if self.folder is not None:
            return sum((self.folder / name).stat().st_size for name in self.files.values())
        assert self.repository is not None
        return sum(self.repository.files[name].size or 0 for name in self.files.values())

    @contextmanager
    def fetched(self, *, quiet: bool = False) -> Iterator[Path]:
        """A folder that has the files by the names of their layout, while the block lasts.

        Raises DownloadError or DiskFullError.
        """
        if self.folder is not None:
            yield self.folder
            return
        assert self.hub is not None
        assert self.repository is not None
        folder = self.hub.fetch(self.repository, self.files.values(), quiet=quiet)
        if all(name == own for name, own in self.files.items()):
            yield folder
            return
        with TemporaryDirectory(prefix=".named-", dir=folder.parent) as scratch:
            for name, own in self.files.items():
                path = Path(scratch, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                try:
                    path.hardlink_to(folder / own)
                except OSError:  # pragma: no cover - a file system without links
                    shutil.copyfile(folder / own, path)
            yield Path(scratch)

    def hashes(self) -> dict[str, str]:
        """A hash of each file, by its name at the source."""
        if self.folder is not None:
            names = self.files.values()
            return {name: f"sha256:{sha256_of_file(self.folder / name)}" for name in names}
        assert self.repository is not None
        return {name: self.repository.files[name].digest for name in self.files.values()}


def look_up(
    source: str, cache: Path, *, variant: str = "", licence: str = "", accept: bool = False
) -> Offer:
    """What `source` has: a short name of ENCODERS, `hf:OWNER/NAME[@REVISION]` or a folder.

    `variant` chooses among the graphs that a repository has ("fp16"), `licence` is that of a source
    that names none, and `accept` agrees to one that must be agreed to. Raises SettingError,
    MissingExtraError, DownloadError, ArtifactError.
    """
    _check_extra("words", "onnx", "tokenizers")
    encoder = ENCODERS.get(source)
    if encoder is not None:
        _agree(encoder.licence, source, accept)
        offer = _of_hub(encoder.source, cache, variant, encoder)
    elif source.startswith(PREFIX):
        offer = _of_hub(HubSource.parse(source), cache, variant)
    elif Path(source).is_dir():
        offer = _of_folder(Path(source), variant)
    else:
        like = difflib.get_close_matches(source, ENCODERS, 1)
        raise SettingError(
            f"{source!r} is not a short name{f' (there is {like[0]})' if like else ''}, nor "
            f"{PREFIX}OWNER/NAME, nor a folder: deepfood model list has the names"
        )
    if any(name.endswith(_FOR_TORCH) for name in offer.files):
        _check_extra("train", "torch", "timm", "open_clip")
    if licence:
        if offer.licence.is_known:
            raise SettingError(
                f"{source} is under {offer.licence}: --licence is for a source that names none"
            )
        offer = replace(offer, licence=Licence.named(licence))
    _agree(offer.licence, source, accept)
    return offer


def get_model(
    offer: Offer,
    out: Path,
    *,
    variant: str = "",
    export: Export | None = None,
    quiet: bool = False,
) -> ModelManifest:
    """Write the offered encoder as a Model into `out`, with its golden vectors.

    `export` makes graphs from weights that only torch can read (`train.export_hub.with_graphs`). An
    earlier Model is replaced once the new one has been made and run. Raises DownloadError,
    DiskFullError, ArtifactError, MissingExtraError, SettingError.
    """
    if out.exists() and not out.is_dir():
        raise SettingError(f"{out} is a file: name a folder for the Model")
    out = out.resolve()
    with offer.fetched(quiet=quiet) as folder, raising_disk_full(out), _scratch(out) as made:
        import_folder(
            folder,
            made,
            suffix=variant,
            name=offer.name,
            source=offer.source,
            licence=str(offer.licence),
            languages=offer.languages,
            export=export,
        )
        manifest = record_golden(made)
        manifest = manifest.model_copy(update={"imported": offer.hashes()})
        manifest.write(made)
        return _put(open_model(made), out)


@contextmanager
def _scratch(out: Path) -> Iterator[Path]:
    """A folder on the disk of `out` for making a Model; removed afterwards, even after a kill.

    Raises ArtifactBusyError if another process makes a Model for the same place.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    folder, lock = (out.with_name(f".getting-{out.name}{end}") for end in ("", ".lock"))
    busy = ArtifactBusyError(f"another process is making a Model for {out}: wait for it to finish")
    with held(lock, busy):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        try:
            yield folder / "model"
        finally:
            shutil.rmtree(folder, ignore_errors=True)
            lock.unlink(missing_ok=True)


def _put(model: Model, out: Path) -> ModelManifest:
    """Move a Model to its place."""
    try:
        model.folder.rename(out)
    except OSError:  # it exists: a Model replaces another one file by file
        about = {name: getattr(model.manifest, name) for name in _ABOUT}
        golden = {GOLDEN: model.folder / GOLDEN} if model.has_golden else {}
        return write_model(
            out,
            model.onnx.read_bytes(),
            (model.folder / CARD).read_text(encoding="utf-8"),
            files={**model.weights, **model.text_parts, **golden},
            **about,
        )
    sync_folder(out.parent)
    return model.manifest


#: Fields of a manifest about the Model, not about its files.
_ABOUT = ModelManifest.model_fields.keys() - {
    *("kind", "format_version", "deepfood_version", "created", "files")
}


def _of_hub(source: HubSource, cache: Path, variant: str, encoder: Encoder | None = None) -> Offer:
    hub = Hub.of_user(cache)
    repository = hub.look_up(source)
    files = {name: name for name in repository.files}
    if encoder is None:
        licence = Licence.named(repository.licence, repository.licence_link, gated=repository.gated)
        name, languages = source.name.split("/")[1], ""
    else:
        licence, name, languages = encoder.licence, encoder.name, encoder.languages
        if encoder.files:
            there = encoder.files.items()
            files = {name: own for name, own in there if own in repository.files}
    wanted = _wanted(files, variant, str(repository))
    return Offer(name, licence, languages, wanted, hub, repository)


def _of_folder(folder: Path, variant: str) -> Offer:
    folder = folder.resolve()
    paths = (path for path in (*folder.glob("*"), *folder.glob("*/*")) if path.is_file())
    files = {path.relative_to(folder).as_posix() for path in paths}
    wanted = _wanted({name: name for name in files}, variant, str(folder))
    card = ""
    if _README in files:
        with (folder / _README).open(encoding="utf-8", errors="replace") as file:
            card = file.read(_README_BYTES)
    return Offer(folder.name, Licence.of_card(card), "", wanted, folder=folder)


def _wanted(files: Mapping[str, str], variant: str, where: str) -> dict[str, str]:
    try:
        return {name: files[name] for name in wanted_files(files, variant)}
    except ArtifactError as error:
        raise type(error)(f"{where} cannot be imported: {error}") from None


def _agree(licence: Licence, source: str, accept: bool) -> None:
    if licence.why_ask and not accept:
        raise SettingError(
            f"{source} is under {licence}, and {licence.why_ask}: read it, and if you agree run "
            "the same command with --accept-licence"
        )


def _check_extra(extra: str, *packages: str) -> None:
    """Raise MissingExtraError before the download instead of after it."""
    for package in packages:
        if importlib.util.find_spec(package) is None:
            raise missing_extra(f"model get needs the package {package}", extra)
