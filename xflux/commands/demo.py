"""``python -m xflux demo``."""

from __future__ import annotations

import click

from xflux.commands import options
from xflux.commands.group import examples


@click.command(
    epilog=examples(
        [
            "python -m xflux demo                              simulated towers, some minutes",
            "python -m xflux demo --data fluxnet2015-monthly   real towers, fetched once (17 MB)",
            "python -m xflux demo --members 2 --output maps    a smaller ensemble, into maps",
        ]
    ),
    short_help="Train, score, predict a world, write netCDF and maps.",
)
@click.option(
    "--data",
    default="simulated-towers",
    show_default=True,
    type=click.Choice(["simulated-towers", "fluxnet2015-monthly"]),
    help="Towers to learn from.",
)
@click.option(
    "--output", "-o", default="xflux-demo", show_default=True, metavar="DIR", help="Folder."
)
@options.members
@options.seed
@options.quiet
def demo(data: str, output: str, members: int, seed: int, quiet: bool) -> None:
    """Train an ensemble on towers, score it on towers kept out, and predict a simulated world.

    The world is predicted with it and with the bundled ensemble. Writes CF netCDF files and maps.
    """
    from xflux import demo as job

    job.run(data, output=output, members=members, seed=seed, progress=not quiet, say=click.echo)
