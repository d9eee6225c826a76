"""How a gallery is tuned, as its manifest keeps it, with what `deepfood tune --undo` needs."""

from collections.abc import Callable
from typing import Annotated, Any, Protocol

from pydantic import BaseModel, ConfigDict, Field

from deepfood.errors import ArtifactBusyError
from deepfood.gallery.averaging import Averaging
from deepfood.gallery.calibration import Calibration


class TuneVerdict(BaseModel):
    """Why a gallery is tuned: the figures before and after, on so many photos of its own."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    averaging: Averaging
    queries: Annotated[int, Field(ge=1)]
    before: dict[str, float]
    after: dict[str, float]


class Tuned(TuneVerdict):
    """A verdict that was taken, and the calibration of the gallery as it was before."""

    calibration: Calibration | None
    uncalibrated: str | None


class _Calibrated(Protocol):
    @property
    def calibration(self) -> Calibration | None: ...
    @property
    def uncalibrated(self) -> str | None: ...


class _TunedManifest(_Calibrated, Protocol):
    @property
    def tuned(self) -> Tuned | None: ...


def is_untuned(before: _TunedManifest | None, now: _TunedManifest) -> bool:
    """Whether a gallery that was tuned is not any longer."""
    return before is not None and before.tuned is not None and now.tuned is None


def replaced(place: object) -> ArtifactBusyError:
    """The error where another generation lives than the one that was judged."""
    return ArtifactBusyError(f"{place} was built or embedded again meanwhile: tune it again")


def tuned_fields(
    manifest: _TunedManifest,
    verdict: TuneVerdict | None,
    calibrate: Callable[[Averaging], Calibration],
) -> dict[str, Any]:
    """The fields of the manifest of a gallery that is tuned so, or no longer (None).

    A gallery that has probabilities gets new ones from `calibrate`, as scores differ.
    """
    before: _Calibrated = manifest.tuned or manifest
    fields = {"calibration": before.calibration, "uncalibrated": before.uncalibrated}
    if verdict is None:
        return {**fields, "tuned": None}
    tuned = Tuned(**dict(verdict), **fields)
    if before.calibration is not None:
        fields["calibration"] = calibrate(verdict.averaging)
    return {**fields, "tuned": tuned}
