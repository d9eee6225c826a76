"""What every gallery is, whatever engine holds it: photos, journal, filters, queries, answers.

`protocol` says what an engine must do; `deepfood.local` and `deepfood.milvus` are the two.
"""

from deepfood.gallery.answer import Answer, LabelGuess, Verdict, judge
from deepfood.gallery.photo import Hit, Photo
from deepfood.gallery.reports import BuildReport

__all__ = ["Answer", "BuildReport", "Hit", "LabelGuess", "Photo", "Verdict", "judge"]
