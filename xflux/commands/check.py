"""``python -m xflux check``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from xflux.commands import options
from xflux.commands.group import Failed, examples


@click.command(
    epilog=examples(
        [
            "python -m xflux check FLX_*.zip",
            "python -m xflux check drivers.zarr --sample 500",
            "python -m xflux check towers.nc --ignore 'few labels' -o findings.csv --strict",
        ]
    ),
    short_help="Look for faults in towers or drivers.",
)
@click.argument("data", nargs=-1, required=True)
@click.option("--sample", type=click.IntRange(1), help="Look at so many entities only.")
@click.option("--ignore", multiple=True, metavar="KIND", help="Leave out findings of a kind.")
@click.option("--strict", is_flag=True, help="Exit with 1 where there are errors.")
@options.output("Also write the findings as a table (.csv).", required=False)
@options.time_step
@options.meaning
@options.overwrite
@options.quiet
def check(
    data: tuple[str, ...],
    sample: int | None,
    ignore: tuple[str, ...],
    strict: bool,
    output: str | None,
    time_step: str | None,
    meaning: Mapping[str, Any],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Look for what is suspicious in DATA: tower files, netCDF or zarr; docs/check.md lists it."""
    from pathlib import Path

    from xflux.commands.opening import flux, open_any
    from xflux.whole import write_whole

    if output is not None:
        options.free(output, overwrite)
    ds = open_any(data, time_step=time_step, progress=False if quiet else None)
    report = flux(ds).check(
        **meaning,
        sample=sample,
        ignore=ignore,
    )
    click.echo(report)
    if output is not None:
        write_whole(Path(output), report.to_dataframe().to_csv(index=False).encode())
        click.echo(f"written: {output}")
    if strict and report.errors:
        raise Failed(f"xflux: errors in {' '.join(data)}")
