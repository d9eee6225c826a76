"""Padding and the final token of a text, as `tokenizer.json` defines them.

The file is used rather than the class named in `tokenizer_config.json`: classes have defaults of
their own, which the network was not trained with.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deepfood.errors import ArtifactCorruptError
from deepfood.extras import missing_extra
from deepfood.model.hub_configs import TokenizerConfig

#: A tokenizer must accept each of these: some have no token for unknown characters.
_TRIED = ("a", "", "é", "麻", "\N{STEAMING BOWL}", "\0")


@contextmanager
def reading_tokenizer(path: Path) -> Iterator[None]:
    """Turns errors of the package `tokenizers` on the file at `path` into deepfood's.

    Raises ArtifactCorruptError, and MissingExtraError if the package is missing.
    """
    try:
        yield
    except ImportError:
        raise missing_extra("words need the package tokenizers", "words") from None
    except BaseException as error:
        # It raises plain Exceptions, and its panics are not Exceptions.
        if not isinstance(error, Exception) and type(error).__module__ != "pyo3_runtime":
            raise
        why = " ".join(str(error).split())[:200]
        raise ArtifactCorruptError(f"{path} cannot be read as a tokenizer: {why}") from error


@dataclass(frozen=True)
class TokenizerFile:
    #: "BPE", "Unigram", "WordPiece"...
    kind: str
    #: The largest token id plus one.
    size: int
    pad_id: int | None
    pad_side: Literal["left", "right"]
    #: The special token at the end of each text.
    end_id: int | None

    @classmethod
    def read(cls, path: Path, config: TokenizerConfig) -> "TokenizerFile":
        """The file at `path`; `config` fills its gaps.

        Raises ArtifactCorruptError, MissingExtraError.
        """
        with reading_tokenizer(path):
            from tokenizers import Tokenizer

            tokenizer: Any = Tokenizer.from_file(str(path))
            padding = tokenizer.padding or {}
            tokenizer.no_padding()
            tokenizer.no_truncation()
            some, *_ = (tokenizer.encode(text) for text in _TRIED)
            size = 1 + max(tokenizer.get_vocab(with_added_tokens=True).values(), default=0)
        pad_id = padding.get("pad_id")
        if pad_id is None and config.pads_with is not None:
            pad_id = tokenizer.token_to_id(config.pads_with)
        side = padding.get("direction") or config.padding_side
        ends = some.ids and some.special_tokens_mask[-1]
        return cls(
            type(tokenizer.model).__name__,
            size,
            pad_id,
            "left" if side == "left" else "right",
            some.ids[-1] if ends else None,
        )

    def pad_id_or(self, known: int) -> int:
        """The token to pad with; `known` if the files do not define it."""
        return known if self.pad_id is None else self.pad_id
