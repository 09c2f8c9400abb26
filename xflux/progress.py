"""One style of progress bar everywhere."""

from __future__ import annotations

import warnings

with warnings.catch_warnings():
    # A notebook without ipywidgets gets a bar of text; tqdm need not say so.
    warnings.simplefilter("ignore")
    from tqdm.auto import tqdm


class Bar:
    """One progress bar over all epochs of all members; silent where nobody watches."""

    def __init__(self, total: int, progress: bool | None) -> None:
        hidden = None if progress is None else not progress
        self._bar = tqdm(total=total, unit="epoch", disable=hidden)

    def step(self, what: str, loss: float) -> None:
        """One epoch further."""
        self._bar.set_description(what, refresh=False)
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
        hidden = None if progress is None else not progress
        self._bar = tqdm(
            total=total, initial=done, unit=f" {unit}", unit_scale=True, disable=hidden,
            smoothing=0,
        )  # fmt: skip

    def step(self, count: int) -> None:
        """So many further."""
        self._bar.update(count)

    def close(self) -> None:
        """End the bar."""
        self._bar.close()
