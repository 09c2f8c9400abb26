"""The command line: ``python -m xflux demo`` runs the main job, ``--help`` lists the rest."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import click

from xflux import __version__
from xflux.commands.check import check
from xflux.commands.demo import demo
from xflux.commands.evaluate import evaluate
from xflux.commands.group import PROGRAM, Commands, Failed, examples, log_to_terminal
from xflux.commands.models import card, models
from xflux.commands.predict import predict
from xflux.commands.train import train


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=examples(
        [
            "python -m xflux demo                              simulated towers, some minutes",
            "python -m xflux demo --data fluxnet2015-monthly   real towers, fetched once (17 MB)",
            "python -m xflux check FLX_*.zip                   look for faults in tower files",
            "python -m xflux train FLX_*.zip -o carbon.safetensors",
            "python -m xflux evaluate towers.nc --model carbon.safetensors",
            "python -m xflux predict drivers.zarr -o fluxes.zarr --model carbon.safetensors",
            "python -m xflux predict --help                    options and more examples",
        ]
    ),
)
@click.version_option(__version__, prog_name="xflux", message="%(prog)s %(version)s")
@click.option("--verbose", "-v", is_flag=True, help="Say when a step begins and ends.")
@click.pass_context
def commands(context: click.Context, verbose: bool) -> None:
    """Carbon fluxes between land and air.

    Learn from flux towers, predict where there are none. In Python: import xflux, then ds.flux on
    any xarray Dataset of towers or gridded drivers.
    """
    if verbose:
        context.with_resource(log_to_terminal())


for _command in (demo, check, train, evaluate, predict, models, card):
    commands.add_command(_command)


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

    Raises
    ------
    SystemExit
        With 0 after ``--help`` and ``--version``, with 2 where the arguments are wrong.

    Examples
    --------
    >>> main(["models", "--names"])
    daily
    monthly
    0
    """
    args = None if argv is None else list(argv)
    try:
        code = commands.main(args, prog_name=PROGRAM, standalone_mode=False)
    except Failed as error:
        error.show()
        return error.exit_code
    except click.ClickException as error:
        error.show()
        raise SystemExit(error.exit_code) from error
    if code is not None:
        raise SystemExit(code)
    return 0


if __name__ == "__main__":
    sys.exit(main())
