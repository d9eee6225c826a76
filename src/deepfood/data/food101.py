"""Food-101: 101 dishes, 750 photos of each to train on and 250 to test on."""

from pathlib import Path

from deepfood.data.archive_dataset import (
    ArchiveDataset,
    get_archive_dataset,
)
from deepfood.data.download import download

URL = "http://data.vision.ee.ethz.ch/cvl/food-101.tar.gz"
#: Also pinned by torchvision (torchvision.datasets.Food101).
MD5 = "85eeb15f3717b99a5da872d97d918f87"
SIZE_BYTES = 4_996_278_331

TERMS = (
    "Food-101 (Bossard, Guillaumin and Van Gool, ECCV 2014): the photos come from foodspotting.com "
    "and belong to their photographers; use beyond scientific fair use must be agreed with them"
)


def get_food101(to: Path, *, url: str = URL, md5: str = MD5, quiet: bool = False) -> Path:
    """Download Food-101 into `to`, in its own layout (`images/`, `meta/`), and return `to`.

    An interrupted download resumes; a complete dataset is left alone. Needs 10 GB of disk while it
    works, and 5 GB in the end. Raises DatasetError, DownloadError or DiskFullError.
    """

    def fetch(path: Path) -> Path:
        what = "the archive of Food-101"
        return download(url, path, what=what, md5=md5, max_bytes=2 * SIZE_BYTES, quiet=quiet)

    about = f"""{TERMS}.

- from {url}, MD5 {md5}
- images/<class>/<id>.jpg: the photos; meta/train.txt and meta/test.txt: the split of its authors

**The photos are not part of deepfood and not under its licence.** They were fetched to this
computer because you asked for them.
"""
    return get_archive_dataset(
        to, ArchiveDataset("Food-101", about, "food-101.tar.gz"), fetch, quiet=quiet
    )
