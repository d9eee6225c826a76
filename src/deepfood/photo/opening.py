"""Open a photo by its content, within the limits; any fault becomes a PhotoError."""

from collections.abc import Iterator
from contextlib import contextmanager

from PIL import UnidentifiedImageError

from deepfood.errors import (
    PhotoBrokenError,
    PhotoError,
    PhotoTooLargeError,
    PhotoUnsupportedError,
)
from deepfood.photo.formats import FORMAT_NAMES, begins_like
from deepfood.photo.limits import Limits
from deepfood.photo.open_photo import OpenPhoto, PillowPhoto
from deepfood.photo.tiff_samples import open_tiff


@contextmanager
def opened(data: bytes, limits: Limits) -> Iterator[OpenPhoto]:
    """The photo in these bytes; errors inside the context become PhotoErrors too."""
    if not data:
        raise PhotoBrokenError("the photo is empty (0 bytes)")
    limits.check_bytes(len(data))
    name = begins_like(data)
    if name is None:
        raise PhotoUnsupportedError(f"the photo is not {FORMAT_NAMES}")
    try:
        photo = open_tiff(data) if name == "TIFF" else PillowPhoto(data)
        limits.check_pixels(*photo.size)
        yield photo
    except PhotoError:
        raise
    except UnidentifiedImageError:
        raise PhotoBrokenError(
            f"the photo begins like {name} but cannot be opened: it is cut off or damaged"
        ) from None
    except MemoryError as error:
        raise PhotoTooLargeError("the photo needs more memory than there is") from error
    except Exception as error:
        # On hostile bytes decoders raise nearly any exception; all mean the same.
        reason = " ".join(str(error).split()) or type(error).__name__
        raise PhotoBrokenError(f"the photo is damaged: {reason}") from error
