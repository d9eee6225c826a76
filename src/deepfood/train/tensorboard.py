"""TensorBoard: a curve for every figure of an epoch, in `training/tensorboard`."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

from deepfood.train.checkpoint import TENSORBOARD


class Board:
    """Writes records as curves, or nothing, in processes that do not report."""

    def __init__(self, writer: Any) -> None:
        self.writer = writer

    @classmethod
    def open(cls, folder: Path, wanted: bool, epoch: int) -> Self:
        """Curves go on at `epoch`, the number of finished ones; later points are dropped."""
        if not wanted:
            return cls(None)
        from torch.utils.tensorboard import SummaryWriter

        return cls(SummaryWriter(str(folder / TENSORBOARD), purge_step=epoch + 1))

    def write(self, record: dict[str, float]) -> None:
        if self.writer is None:
            return
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
            self.writer.close()
