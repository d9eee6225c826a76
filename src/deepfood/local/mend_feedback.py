"""Check and mend the feedback of a gallery in a folder."""

import shutil
from collections.abc import Iterator
from pathlib import Path

from deepfood.counted import counted
from deepfood.gallery.feedback import Feedback
from deepfood.gallery.feedback_file import FEEDBACK
from deepfood.local.manifest import keep_aside


def feedback_faults(folder: Path) -> Iterator[str]:
    """One line for each fault. Raises an ArtifactError where the file cannot be used at all."""
    if (folder / FEEDBACK).exists():
        with Feedback.open(folder) as feedback:
            yield from feedback.faults()


def mend_feedback(folder: Path) -> str:
    """Keep the damaged file in lost+found, and what is sound of it in a new one."""
    kept = keep_aside(folder, folder / FEEDBACK)
    for log in ("-wal", "-shm"):  # SQLite looks for them under the name of the file
        if (folder / f"{FEEDBACK}{log}").exists():
            shutil.move(folder / f"{FEEDBACK}{log}", folder / f"{kept}{log}")
    with Feedback.open(folder, create=True) as feedback:
        votes = feedback.take_sound(folder / kept)
    read = counted(votes, "vote")
    return f"{FEEDBACK} is kept in {kept}, and the {read} that could be read in a new file"
