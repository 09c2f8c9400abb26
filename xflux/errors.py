"""The exceptions of xflux: each says what was found, what was expected and what to type next."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from types import FrameType


class XfluxError(Exception):
    """Base class of every error that xflux raises on purpose."""


class SchemaError(XfluxError, ValueError):
    """A Dataset cannot be understood; carries every problem that was found in it.

    Attributes
    ----------
    problems : tuple of str
        One sentence for each problem, each with the line to type next.
    """

    def __init__(self, problems: Sequence[str], *, where: str = "the Dataset") -> None:
        self.problems = tuple(problems)
        count = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        lines = "".join(f"\n  - {problem}" for problem in self.problems)
        super().__init__(f"{count} in {where}:{lines}")


class UnitsError(XfluxError, ValueError):
    """A unit is unknown, or has the wrong dimension for its variable."""


class DataError(XfluxError, ValueError):
    """The values of a Dataset cannot be used: too short, empty, or without labels."""


class ModelError(XfluxError, ValueError):
    """A model does not fit the data it was given, or a setting of it is out of range."""


class ModelFileError(XfluxError, ValueError):
    """A model file is damaged, hostile, or written by a newer xflux."""


class TrainingDiverged(XfluxError, RuntimeError):
    """The loss became infinite or undefined during training."""


class TrainingStopped(XfluxError, RuntimeError):
    """A process that trained a member ended before it was done."""


class DownloadError(XfluxError, OSError):
    """A dataset could not be fetched or did not pass its check."""


class WriteError(XfluxError, OSError):
    """A store could not be written: no room, no permission, it is there already, a block failed."""


class XfluxWarning(UserWarning):
    """Something was decided for the user that the user may want to know."""


def warn(message: str) -> None:
    """Warn at the line of the user: the nearest caller outside of xflux.

    A warning then names the line to change, and Python shows it once for that line.
    """
    depth, frame = 2, sys._getframe(1)
    while frame.f_back is not None and _package(frame) == "xflux":
        depth, frame = depth + 1, frame.f_back
    warnings.warn(message, XfluxWarning, stacklevel=depth)


def _package(frame: FrameType) -> str:
    """The package that runs in a frame; none in code that is run without a name."""
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]
