"""``python -m xflux evaluate``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from xflux.commands import options
from xflux.commands.group import examples

if TYPE_CHECKING:
    import xarray as xr

_COLUMNS = ("rmse", "r2", "nse", "bias", "mae")


@click.command(
    epilog=examples(
        [
            "python -m xflux evaluate FLX_*.zip --model carbon.safetensors",
            "python -m xflux evaluate towers.nc --by-scale -o scores.nc",
            "python -m xflux evaluate towers.nc --prediction fluxes.nc",
        ]
    ),
    short_help="Score a model or a prediction against towers.",
)
@click.argument("towers", nargs=-1, required=True)
@options.model
@options.sha256
@click.option("--prediction", metavar="PATH", help="Score this prediction in place of a model.")
@options.qc
@click.option("--by-scale", is_flag=True, help="Also by season, anomaly, and between towers.")
@options.output("Also write the scores of every tower (.nc).", required=False)
@options.time_step
@options.meaning
@options.overwrite
@options.quiet
def evaluate(
    towers: tuple[str, ...],
    model: str | None,
    sha256: str | None,
    prediction: str | None,
    qc: float,
    by_scale: bool,
    output: str | None,
    time_step: str | None,
    meaning: Mapping[str, Any],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Score a model, or a prediction made before, against the fluxes of TOWERS.

    A model that was trained on these towers looks better than it is elsewhere.
    """
    from xflux.commands.opening import choose_model, flux, open_any, open_gridded
    from xflux.whole import write_netcdf

    if model is not None and prediction is not None:
        raise click.UsageError("give --model or --prediction, not both")
    if output is not None:
        options.free(output, overwrite)
    ds = open_any(towers, time_step=time_step, progress=False if quiet else None)
    schema = flux(ds).schema(**meaning)
    what = (
        choose_model(model, schema.time_step, sha256=sha256)
        if prediction is None
        else open_gridded([prediction])
    )
    scores = flux(ds).evaluate(what, qc=qc, by_scale=by_scale, **meaning)
    click.echo(table(scores))
    if output is not None:
        write_netcdf(scores, output)
        click.echo(f"written: {output}")


def table(scores: xr.Dataset) -> str:
    """Scores of each target, over all steps together and as the mean over entities.

    Parameters
    ----------
    scores : xr.Dataset
        As `xflux.skill.evaluation.evaluate` returns it.
    """
    if "scale" in scores.dims:
        parts = (f"{scale}\n{table(scores.sel(scale=scale))}" for scale in scores.scale.values)
        return "\n\n".join(parts)
    rows = [f"{'':<28}" + "".join(f"{name.upper():>9}" for name in _COLUMNS)]
    for target in scores.target.values:
        count = int(scores.entities.sel(target=target))
        for ending, what in (("_pooled", "all steps"), ("_mean", f"mean of {count} entities")):
            values = (float(scores[name + ending].sel(target=target)) for name in _COLUMNS)
            row = f"{target:<5} {what:<22}" + "".join(f"{value:>9.3f}" for value in values)
            rows.append(row.replace("nan", "  -"))
    return "\n".join(rows)
