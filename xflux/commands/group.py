"""What every command shares: errors as one message, warnings as notes, exit codes."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import IO, Any

import click

from xflux.errors import XfluxError, XfluxWarning

PROGRAM = "python -m xflux"


class Failed(click.ClickException):
    """A command that ends with a message."""

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the message, as it is."""
        click.echo(self.message, file=file or sys.stderr)


class Stopped(Failed):
    """A command that Ctrl-C has ended."""

    exit_code = 130


class Commands(click.Group):
    """Commands that say what went wrong in one message, without a traceback."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of the work, as help lists them."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command."""
        try:
            with readable_warnings():
                return super().invoke(ctx)
        except BrokenPipeError:
            raise  # of a reader that has gone, as head; click ends quietly
        except (XfluxError, ImportError, OSError) as error:
            raise Failed(f"xflux: {error}{_on_the_line(str(error))}") from error
        except KeyboardInterrupt as stop:
            raise Stopped("\nxflux: stopped") from stop


def _on_the_line(message: str) -> str:
    """How to say here what a message says in Python."""
    spoken = {
        "variables={": "--variable NAME=VARIABLE",
        "units={": "--unit NAME=UNIT",
        '.attrs["units"] =': "--unit NAME=UNIT",
        "assume_units=True": "--assume-units",
    }
    found = list(dict.fromkeys(said for python, said in spoken.items() if python in message))
    return f"\nOn the command line: {', '.join(found)}" if found else ""


@contextmanager
def log_to_terminal() -> Iterator[None]:
    """Print what xflux logs, each line with its time."""
    logger, handler = logging.getLogger("xflux"), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s", "%H:%M:%S"))
    before = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)


@contextmanager
def readable_warnings() -> Iterator[None]:
    """Show each warning of xflux once, as a note without file and line."""
    shown: set[str] = set()
    usual = warnings.showwarning

    def show(
        message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any
    ) -> None:
        if not issubclass(category, XfluxWarning):
            usual(message, category, filename, lineno, *more)
        elif str(message) not in shown:
            shown.add(str(message))
            click.echo(f"note: {message}", err=True)

    with warnings.catch_warnings():
        warnings.simplefilter("always", XfluxWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


def examples(lines: Sequence[str]) -> str:
    r"""The end of a help page; each line as it is typed.

    Examples
    --------
    >>> examples(["python -m xflux models"])
    '\x08\nexamples:\n  python -m xflux models'
    """
    return "\n  ".join(("\b\nexamples:", *lines))
