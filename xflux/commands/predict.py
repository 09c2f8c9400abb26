"""``python -m xflux predict``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

from xflux.commands import options
from xflux.commands.group import examples

if TYPE_CHECKING:
    import xarray as xr


@click.command(
    epilog=examples(
        [
            "python -m xflux predict drivers.nc -o fluxes.nc",
            "python -m xflux predict drivers.zarr -o fluxes.zarr --model carbon.safetensors",
            "python -m xflux predict 2024-*.nc -o fluxes.nc --characteristics land.nc --members",
            "python -m xflux predict march.zarr -o march-out.zarr --final-state march-state.zarr",
        ]
    ),
    short_help="Predict fluxes from drivers.",
)
@click.argument("drivers", nargs=-1, required=True)
@options.output("Where to write: .nc for netCDF, .zarr for a zarr store (path or URL).")
@options.model
@options.sha256
@click.option("--members", is_flag=True, help="Each member, in place of mean and spread.")
@click.option("--characteristics", metavar="PATH", help="Land cover and the like.")
@click.option("--initial-state", metavar="PATH", help="State that a run before left.")
@click.option("--final-state", metavar="PATH", help="Where to leave the state at the end (.zarr).")
@click.option("--device", default="cpu", show_default=True, metavar="DEVICE", help="cpu or cuda.")
@options.meaning
@options.overwrite
@options.quiet
def predict(
    drivers: tuple[str, ...],
    output: str,
    model: str | None,
    sha256: str | None,
    members: bool,
    characteristics: str | None,
    initial_state: str | None,
    final_state: str | None,
    device: str,
    meaning: Mapping[str, Any],
    overwrite: bool,
    quiet: bool,
) -> None:
    """Predict GPP, Reco and NEE from DRIVERS, a netCDF file or several, or a zarr store.

    A netCDF file is there whole or not at all. A zarr store is written block by block: after a
    kill the same line goes on.
    """
    from xflux.commands.opening import choose_model, flux, open_any, open_gridded

    to_zarr = _to_zarr(output)
    if final_state is not None and not to_zarr:
        raise click.UsageError("--final-state needs an --output that ends in .zarr")
    options.free(output, overwrite)
    ds = open_any(drivers)
    schema = flux(ds).schema(**meaning)
    chosen = None if model is None else choose_model(model, schema.time_step, sha256=sha256)
    land = None if characteristics is None else open_gridded([characteristics])
    state = None if initial_state is None else open_gridded([initial_state])
    progress = False if quiet else None
    if to_zarr:
        flux(ds).predict_to_zarr(
            output,
            chosen,
            mode="w" if overwrite else "w-",
            members=members,
            characteristics=land,
            device=device,
            initial_state=state,
            final_state=final_state,
            progress=progress,
            **meaning,
        )
    else:
        fluxes = flux(ds).predict(
            chosen,
            members=members,
            characteristics=land,
            device=device,
            initial_state=state,
            **meaning,
        )
        _write(fluxes, output, progress)
    click.echo(f"written: {output}")


def _to_zarr(output: str) -> bool:
    bare = output.rstrip("/")
    if bare.endswith(".zarr"):
        return True
    if bare.endswith((".nc", ".nc4")) and "://" not in bare:
        return False
    raise click.BadParameter(
        f"{output!r} ends neither in .nc nor in .zarr; a URL must end in .zarr",
        param_hint="--output",
    )


def _write(fluxes: xr.Dataset, output: str, progress: bool | None) -> None:
    from xflux.progress import watch_tasks
    from xflux.whole import write_netcdf

    with watch_tasks("predicting", progress):
        write_netcdf(fluxes, output)
