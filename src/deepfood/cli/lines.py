"""Text files that an option names, with one text a line."""

from pathlib import Path

from deepfood.errors import SettingError, nearest


def read_lines(option: str, path: Path) -> list[str]:
    """The lines of a UTF-8 file that are not empty, without the space around them.

    Raises SettingError, which names the option, where the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError:
        raise SettingError(f"{option}: there is no {path}: {nearest(path)}") from None
    except OSError as error:
        raise SettingError(f"{option} {path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise SettingError(f"{option} {path} is not UTF-8 (byte {error.start})") from error
    return [line.strip() for line in lines if line.strip()]
