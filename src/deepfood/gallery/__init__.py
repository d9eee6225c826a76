"""The parts of a gallery that no engine is needed for: photos, journal, filters, queries, answers.

`protocol` defines what an engine implements. The two engines are `deepfood.local` and
`deepfood.milvus`.
"""

from deepfood.gallery.answer import Answer, LabelGuess, Verdict, judge
from deepfood.gallery.photo import Hit, Photo
from deepfood.gallery.reports import BuildReport

__all__ = ["Answer", "BuildReport", "Hit", "LabelGuess", "Photo", "Verdict", "judge"]
