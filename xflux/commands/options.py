"""Options that more than one command has, always under the same name."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import click

from xflux.errors import WriteError

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _pairs(context: click.Context, option: click.Parameter, given: tuple[str, ...]) -> Any:
    """``("TA=t2m",)`` to ``{"TA": "t2m"}``."""
    wrong = [text for text in given if not all(text.partition("="))]
    if wrong:
        raise click.BadParameter(f"{wrong[0]!r} is not NAME=VALUE, such as TA=t2m", ctx=context)
    return {text.partition("=")[0]: text.partition("=")[2] for text in given}


quiet = click.option("--quiet", is_flag=True, help="No progress bar.")
overwrite = click.option("--overwrite", is_flag=True, help="Replace an output that exists.")
seed = click.option("--seed", default=0, show_default=True, help="All chance derives from it.")
members = click.option(
    "--members", default=5, show_default=True, type=click.IntRange(1), help="Of the ensemble."
)
model = click.option(
    "--model",
    metavar="MODEL",
    help="A file, a URL, or the name of a bundled ensemble.  [default: the bundled ensemble of "
    "the time step]",
)
sha256 = click.option("--sha256", metavar="HASH", help="Of the model file, where it is a URL.")
qc = click.option(
    "--qc", default=0.5, show_default=True, help="Leave out steps whose NEE_QC is below this."
)
time_step = click.option(
    "--time-step",
    type=click.Choice(["daily", "monthly"]),
    help="Of towers from tower files.  [default: the finest that all can give]",
)
_meaning = (
    click.option(
        "--variable",
        "variables",
        multiple=True,
        callback=_pairs,
        metavar="NAME=VARIABLE",
        help="What is what, where names do not tell: --variable TA=t2m. As often as needed.",
    ),
    click.option(
        "--unit",
        "units",
        multiple=True,
        callback=_pairs,
        metavar="NAME=UNIT",
        help="A unit that the file does not give: --unit TA=K. As often as needed.",
    ),
    click.option("--assume-units", is_flag=True, help="Take missing units for xflux's own."),
)


def meaning(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the variables of a file are.

    The command gets them together as ``meaning``, the arguments of `ds.flux.schema` by name.
    """

    @functools.wraps(command)
    def told(
        *, variables: Mapping[str, str], units: Mapping[str, str], assume_units: bool, **others: Any
    ) -> Any:
        said = {"variables": variables or None, "units": units or None}
        return command(meaning={**said, "assume_units": assume_units}, **others)

    wrapped: Callable[..., Any] = told
    for option in reversed(_meaning):
        wrapped = option(wrapped)
    return wrapped


def output(what: str, *, required: bool = True) -> Callable[[_Command], _Command]:
    """The option that names the file to write."""
    return click.option("--output", "-o", required=required, metavar="PATH", help=what)


def free(path: str, overwrite: bool) -> str:
    """A path that may be written.

    Raises
    ------
    WriteError
        It exists, and nobody said ``--overwrite``. Said before anything is computed.
    """
    from pathlib import Path

    if "://" not in path:
        place = Path(path)
        if place.exists() and not overwrite:
            raise WriteError(f"{path} exists: choose another --output, or add --overwrite")
        if not place.absolute().parent.is_dir():
            raise WriteError(
                f"there is no folder {place.parent} to write {place.name} in: mkdir -p "
                f"{place.parent}"
            )
    return path
