"""The command line: ``python -m xflux demo`` runs the main job, ``--help`` lists the rest."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xflux import __version__
from xflux.errors import XfluxError, XfluxWarning
from xflux.pretrained import bundled_models, load_model

DESCRIPTION = """\
Carbon fluxes between land and air: learn from flux towers, predict where there are none.
In Python: import xflux, then ds.flux on any xarray Dataset of towers or gridded drivers.
"""

EXAMPLES = """\
examples:
  python -m xflux demo                              simulated towers, no network, some minutes
  python -m xflux demo --data fluxnet2015-monthly   real towers, downloaded once (17 MB)
  python -m xflux demo --members 2 --output maps    a smaller ensemble, into the folder maps
  python -m xflux models                            the ensembles that come with xflux
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments; those of the process by default.

    Returns
    -------
    int
        0, or 1 after an error, which is printed as one message, or 130 after Ctrl-C.

    Examples
    --------
    >>> main(["models", "--names"])
    daily
    monthly
    0
    """
    options = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], None] = options.command
    try:
        with _readable_warnings():
            command(options)
    except (XfluxError, ImportError, OSError) as error:
        print(f"xflux: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nxflux: stopped", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    layout: dict[str, Any] = {"formatter_class": argparse.RawDescriptionHelpFormatter}
    parser = argparse.ArgumentParser(
        prog="python -m xflux", description=DESCRIPTION, epilog=EXAMPLES, **layout
    )
    parser.add_argument("--version", action="version", version=f"xflux {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        help="train on towers, score on towers kept out, predict a world, write netCDF and maps",
        description="Train an ensemble on towers, score it on towers kept out, predict a simulated "
        "world with it and with the bundled ensemble; write CF netCDF files and maps.",
        epilog=EXAMPLES,
        **layout,
    )
    demo.add_argument(
        "--data",
        default="simulated-towers",
        choices=["simulated-towers", "fluxnet2015-monthly"],
        help="towers to learn from (default: %(default)s)",
    )
    demo.add_argument(
        "--output", default="xflux-demo", metavar="DIR", help="folder (default: %(default)s)"
    )
    demo.add_argument(
        "--members", type=_positive, default=5, metavar="N", help="of the ensemble (default: 5)"
    )
    demo.add_argument("--seed", type=int, default=0, metavar="N", help="default: 0")
    demo.add_argument("--quiet", action="store_true", help="no progress bar")
    demo.set_defaults(command=_demo)

    models = commands.add_parser("models", help="show the ensembles that come with xflux")
    models.add_argument("--names", action="store_true", help="names alone")
    models.set_defaults(command=_models)
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def _demo(options: argparse.Namespace) -> None:
    from xflux import demo

    demo.run(
        options.data,
        output=options.output,
        members=options.members,
        seed=options.seed,
        progress=not options.quiet,
        say=lambda line: print(line, flush=True),
    )


def _models(options: argparse.Namespace) -> None:
    for name in bundled_models():
        print(name if options.names else f"{name}\n{load_model(name)}\n")


@contextmanager
def _readable_warnings() -> Iterator[None]:
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
            print(f"note: {message}", file=sys.stderr)

    with warnings.catch_warnings():
        warnings.simplefilter("always", XfluxWarning)
        warnings.showwarning = show  # type: ignore[assignment]
        yield


if __name__ == "__main__":
    sys.exit(main())
