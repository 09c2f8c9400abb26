"""One style of progress bar everywhere."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

with warnings.catch_warnings():
    # A notebook without ipywidgets gets a bar of text; tqdm need not say so.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm


def hidden(progress: bool | None) -> bool | None:
    """Whether a bar is hidden; None, which is tqdm's word too, hides it where nobody watches."""
    return None if progress is None else not progress


_WITHIN: ContextVar[str] = ContextVar("_WITHIN", default="")


@contextlib.contextmanager
def within(what: str) -> Iterator[None]:
    """Let bars of training say what they are part of, such as a fold."""
    token = _WITHIN.set(f"{what}: ")
    try:
        yield
    finally:
        _WITHIN.reset(token)


class Bar:
    """One progress bar over all epochs of all members; silent where nobody watches."""

    def __init__(self, total: int, progress: bool | None) -> None:
        self._bar = tqdm(total=total, unit="epoch", disable=hidden(progress))

    def step(self, what: str, loss: float) -> None:
        """One epoch further."""
        self._bar.set_description(f"{_WITHIN.get()}{what}", refresh=False)
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update()

    def skip(self, epochs: int) -> None:
        """Epochs that need not be run: a checkpoint has them, or the best epoch came before."""
        self._bar.update(epochs)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


class StepBar:
    """One progress bar over all blocks of a run, in entities times time steps.

    The rate is that of the whole run so far: sea is fast and land is slow, and each slab has both.

    Parameters
    ----------
    total, done : int
        Of the run, and what an earlier one has done: it does not count for the rate.
    unit : str
    progress : bool, optional
        Only on a terminal by default.
    """

    def __init__(self, total: int, done: int, unit: str, progress: bool | None) -> None:
        self._bar = tqdm(
            total=total, initial=done, unit=f" {unit}", unit_scale=True,
            disable=hidden(progress), smoothing=0,
        )  # fmt: skip

    def step(self, count: int) -> None:
        """So many further."""
        self._bar.update(count)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()


def over_files(total: int, what: str, progress: bool | None, *, stays: bool = False) -> Any:
    """A bar over files, as a context; `update()` counts one. Most bars go when all are read."""
    return tqdm(total=total, desc=what, unit="file", disable=hidden(progress), leave=stays)


def over_bytes(total: int | None, what: str, progress: bool | None) -> Any:
    """A bar over the bytes of a file, as a context; `update(n)` counts them."""
    return tqdm(
        total=total, desc=what, unit="B", unit_scale=True, disable=hidden(progress), leave=False
    )


@contextlib.contextmanager
def watch_tasks(what: str, progress: bool | None) -> Iterator[None]:
    """Show a bar over the tasks of whatever dask computes on this machine meanwhile.

    Parameters
    ----------
    what : str
        Said before the bar.
    progress : bool, optional
        Only on a terminal by default.
    """
    from dask.callbacks import Callback

    with tqdm(desc=what, unit="task", disable=hidden(progress), leave=False) as bar:

        def start(dsk: Any, state: dict[str, Any]) -> None:
            bar.total = (bar.total or 0) + sum(len(state[k]) for k in ("ready", "waiting"))
            bar.refresh()

        def done(key: Any, result: Any, dsk: Any, state: Any, worker: Any) -> None:
            bar.update()

        with Callback(start_state=start, posttask=done):
            yield
