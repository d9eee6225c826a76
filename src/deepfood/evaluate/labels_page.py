"""What is worth a look in a gallery's labels, on one self-contained page with the photos."""

import re
from html import escape
from pathlib import Path

from deepfood.artifacts import check_can_write
from deepfood.config import Settings
from deepfood.counted import counted
from deepfood.errors import SettingError, raising_disk_full
from deepfood.evaluate.thumbs import Thumbs
from deepfood.gallery.curation import Curation
from deepfood.gallery.photo import Photo
from deepfood.gallery.protocol import SearchedGallery
from deepfood.index.contract import Progress
from deepfood.photo import Limits
from deepfood.progress import bar

PAGE = "labels.html"
#: Bytes of pictures in the page, as data URLs, that a phone can still open.
MAX_PICTURE_BYTES = 16 * 2**20

_PIXELS = 200
_HERE = Path(__file__).parent


def prepare_page(folder: Path) -> Path:
    """Make the folder. Returns the path of the page; raises SettingError, DiskFullError."""
    try:
        with raising_disk_full(folder):
            folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SettingError(f"--report {folder} cannot be made: {error.strerror}") from error
    check_can_write(folder / PAGE)
    return folder / PAGE


def labels_page(
    gallery: SearchedGallery, found: Curation, most: int, settings: Settings, *, quiet: bool
) -> str:
    """The page as HTML, with at most `most` of each list. It runs no script."""
    photos = sum(
        len(some[:most]) for some in (found.doubtful, found.outliers, found.to_label)
    ) + 2 * len(found.conflicts[:most])
    with bar("Drawing", "photo", photos, quiet=quiet) as progress:
        pictures = _Pictures(Thumbs(gallery, Limits.of(settings), _PIXELS), progress.update)
        sections = [
            _section(
                "Labels that may be wrong",
                "The photos most like these have another label. The label at the top is the "
                "photo's own; below it is what the others say, and how many of them.",
                len(found.doubtful),
                [
                    pictures.card(
                        one.photo,
                        f"→ <strong>{_breakable(one.suggested)}</strong>",
                        f"{one.agreeing} of {one.voters} neighbours",
                    )
                    for one in found.doubtful[:most]
                ],
            ),
            _section(
                "Near-copies with different labels",
                "Nearly the same picture twice: one of the labels is wrong, or each tells a part. "
                "Copies in training and test photos make figures flatter.",
                len(found.conflicts),
                [
                    pictures.card(photo, f"with the {which} photo, {one.similarity:.3f} alike")
                    for one in found.conflicts[:most]
                    for photo, which in zip(one.photos, ("next", "previous"), strict=True)
                ],
            ),
            _overlaps(found, most),
            _section(
                "Photos far from all others",
                "Perhaps no food, or a dish of its own.",
                len(found.outliers),
                [
                    pictures.card(one.photo, f"{one.similarity:.3f} alike at most")
                    for one in found.outliers[:most]
                ],
            ),
            _section(
                "Worth a label next",
                "Photos without a label that many others resemble, and whose label is uncertain.",
                len(found.to_label),
                [
                    pictures.card(
                        one.photo, f"perhaps {_breakable(one.guess)}" if one.guess else ""
                    )
                    for one in found.to_label[:most]
                ],
            ),
        ]
    about = (
        f"{counted(found.photos, 'photo')}, {found.labelled:,} of them with one of "
        f"{counted(found.labels, 'label')}, "
        f"of which {found.judged:,} were judged."
    )
    notes = [str(note) for note in found.notes]
    if pictures.left_out:
        notes.append(
            f"{counted(pictures.left_out, 'photo is', 'photos are')} shown without a picture"
        )
    page = (_HERE / "labels.html").read_text(encoding="utf-8")
    parts = {
        "style": (_HERE / "report" / "page.css").read_text(encoding="utf-8"),
        "gallery": escape(Path(gallery.place).name),
        "about": about,
        "notes": "".join(f'<p class="note">{escape(note)}</p>' for note in notes),
        "sections": "".join(sections) or "<p>There is nothing worth a look.</p>",
    }
    return re.sub(r"{{(\w+)}}", lambda found: parts[found[1]], page)


class _Pictures:
    """Draws photos as cards; beyond MAX_PICTURE_BYTES, and where the file is gone, as text."""

    def __init__(self, thumbs: Thumbs, progress: Progress) -> None:
        self._thumbs = thumbs
        self._progress = progress
        self._left = MAX_PICTURE_BYTES
        self.left_out = 0

    def card(self, photo: Photo, *lines: str) -> str:
        """A list item; `lines` are HTML."""
        self._progress(1)
        name = escape(photo.name or photo.file)
        picture = f'<span class="nopicture" dir="auto">{name}</span>'
        if self._thumbs.has(photo) and len(url := self._thumbs.data_url(photo)) <= self._left:
            self._left -= len(url)
            picture = f'<img src="{url}" alt="{name}" title="{name}">'
        else:
            self.left_out += 1
        label = f'<b dir="auto">{_breakable(photo.label)}</b>' if photo.label else "<b>no label</b>"
        said = "".join(f'<span dir="auto">{line}</span>' for line in lines if line)
        return f'<li id="{photo.id}">{picture}{label}{said}</li>'


def _section(title: str, about: str, total: int, cards: list[str]) -> str:
    if not cards:
        return ""
    shown = f", the first {len(cards):,}" if total > len(cards) else ""
    return (
        f'<h2>{title} ({total:,}{shown})</h2><p>{about}</p><ol class="hits">{"".join(cards)}</ol>'
    )


def _overlaps(found: Curation, most: int) -> str:
    if not found.overlaps:
        return ""
    rows = "".join(
        f'<tr><th scope="row" dir="auto">{_breakable(one.labels[0])}</th>'
        f'<td dir="auto">{_breakable(one.labels[1])}</td>'
        f"<td>{one.photos:,}</td><td>{one.share:.1%}</td></tr>"
        for one in found.overlaps[:most]
    )
    heads = "".join(
        f'<th scope="col">{head}</th>' for head in ("Label", "and", "Photos", "Share of both")
    )
    title = "Labels that overlap"
    return (
        f"<h2>{title} ({len(found.overlaps):,})</h2><p>Photos of one look like those of the other: "
        "two names of one dish, or dishes that are hard to tell apart.</p>"
        f'<div class="scroll" tabindex="0" role="region" aria-label="{title}"><table>'
        f"<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _breakable(label: str) -> str:
    """A label as HTML; one like beef_carpaccio may break after its underscore."""
    return escape(label).replace("_", "_<wbr>")
