"""TensorBoard: a curve for every figure of an epoch, in `training/tensorboard`."""

from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deepfood.errors import raising_disk_full
from deepfood.train.checkpoint import TENSORBOARD


class Board:
    """Writes records as curves, in the process that reports; the others have no writer."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    @classmethod
    def open(cls, folder: Path, wanted: bool, records: Sequence[dict[str, float]]) -> Self:
        """Continue the curves after `records` of the finished epochs; later points are dropped."""
        if not wanted:
            return cls(None)
        from torch.utils.tensorboard import SummaryWriter

        with raising_disk_full(folder):
            board = cls(SummaryWriter(str(folder / TENSORBOARD), purge_step=max(1, len(records))))
        # The process may have been killed between a checkpoint and its points.
        for record in records[-1:]:
            board.write(record)
        return board

    def write(self, record: dict[str, float]) -> None:
        with raising_disk_full(Path(self.writer.log_dir)):
            for name, value in record.items():
                if name != "epoch":
                    self.writer.add_scalar(name.replace("@", "_at_"), value, int(record["epoch"]))
            self.writer.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.writer is not None:
            with raising_disk_full(Path(self.writer.log_dir)):
                self.writer.close()
