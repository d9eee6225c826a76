"""deepfood: photo search for food.

Two artifacts and everything between them: a Model turns a photo into a unit vector, a Gallery
holds the vectors of many photos and finds the nearest. `docs/architecture.md` is the map.
"""

from importlib.metadata import version

__version__ = version("deepfood")
