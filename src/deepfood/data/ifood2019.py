"""iFood-2019: 251 dishes, 118,475 photos from the web to train on, 11,994 checked by people.

It belongs to a competition: Kaggle requires an account and that the rules are accepted.
"""

import base64
from pathlib import Path

from deepfood.config import kaggle_credentials
from deepfood.data.archive_dataset import (
    ArchiveDataset,
    get_archive_dataset,
)
from deepfood.data.download import download
from deepfood.errors import DownloadError

COMPETITION = "ifood-2019-fgvc6"
PAGE = f"https://www.kaggle.com/competitions/{COMPETITION}"
URL = "https://www.kaggle.com/api/v1"

TERMS = (
    "iFood-2019 (FoodX-251; Kaur, Sikka and others, FGVC6 at CVPR 2019): for non-commercial "
    "research and education only, not to be redistributed; its rules must be accepted on "
    f"{PAGE}/rules"
)

#: The archive has 3 GB; one more than twice as large is an error.
_MAX_BYTES = 8 * 2**30
_GET_A_KEY = (
    "make a new one at https://www.kaggle.com/settings (API, Create Legacy API Key) and put "
    "kaggle.json into ~/.kaggle, or set KAGGLE_USERNAME and KAGGLE_KEY"
)


def get_ifood2019(to: Path, *, url: str = URL, quiet: bool = False) -> Path:
    """Download iFood-2019 from Kaggle into `to`, in its own layout (`train_labels.csv` ...).

    Uses the user's own key. An interrupted download resumes; a complete dataset is left alone.
    Raises SettingError (a kaggle.json that cannot be read), DatasetError, DownloadError (no key, an
    unknown key, rules not accepted ...) or DiskFullError.
    """

    def fetch(path: Path) -> Path:
        known = kaggle_credentials()
        if known is None:
            raise DownloadError(
                "iFood-2019 comes from Kaggle, and there is no key for it: join the competition on "
                f"{PAGE}, then {_GET_A_KEY}"
            )
        basic = base64.b64encode(":".join(known).encode()).decode()
        return download(
            f"{url}/competitions/data/download-all/{COMPETITION}",
            path,
            what="the archive of iFood-2019",
            max_bytes=_MAX_BYTES,
            headers={"Authorization": f"Basic {basic}"},
            hints={
                401: f"Kaggle does not know the key of {known[0]!r}: {_GET_A_KEY}",
                403: f"accept the competition's rules on {PAGE}/rules as {known[0]!r}",
            },
            quiet=quiet,
        )

    about = f"""{TERMS}.

- from {PAGE}/data, with your own Kaggle account
- class_list.txt: number and name of each class; train_labels.csv, val_labels.csv: img_name,label
- train_set/, val_set/, test_set/: the photos; those of test_set have no published labels

**The photos are not part of deepfood and not under its licence.** They were fetched to this
computer because you asked for them.
"""
    inner = tuple(f"{split}_set.zip" for split in ("train", "val", "test"))
    one = ArchiveDataset("iFood-2019", about, f"{COMPETITION}.zip", inner)
    return get_archive_dataset(to, one, fetch, quiet=quiet)
